// Gives memory back after work. V8 collects the whole heap when more is allocated, so a service that has become idle
// would keep the garbage of its last work until there is new work.

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Clock, Timer } from '@ternmq/runtime';

const LOOK_EVERY_MS = 2000;
/** Largest share of one core that an idle service uses. */
const IDLE_SHARE = 0.05;
/** Memory that must be in the heap beyond what was live, for a collection to be worth its pause. */
const GARBAGE_BYTES_MIN = 32 << 20;

/** What the process uses. */
export interface Usage {
  /** Processor time since its start, in milliseconds. */
  cpuMs(): number;
  /** Memory that the heap takes from the system, in bytes. */
  heapBytes(): number;
  /** Collects the whole heap. */
  collect(): void;
}

/** Collects the heap once when the process has become idle. */
export class IdleCollector {
  readonly #usage: Usage;
  readonly #clock: Clock;
  readonly #timer: Timer;
  #cpuMs: number;
  #atMs: number;
  /** Size of the heap after the last collection. */
  #liveBytes = 0;

  constructor(usage: Usage, clock: Clock) {
    this.#usage = usage;
    this.#clock = clock;
    this.#cpuMs = usage.cpuMs();
    this.#atMs = clock.monotonicMs();
    this.#timer = clock.every(LOOK_EVERY_MS, () => this.#look());
  }

  #look(): void {
    const cpuMs = this.#usage.cpuMs();
    const atMs = this.#clock.monotonicMs();
    const idle = cpuMs - this.#cpuMs < (atMs - this.#atMs) * IDLE_SHARE;
    this.#cpuMs = cpuMs;
    this.#atMs = atMs;
    if (!idle || this.#usage.heapBytes() - this.#liveBytes < GARBAGE_BYTES_MIN) return;
    this.#usage.collect();
    this.#liveBytes = this.#usage.heapBytes();
  }

  /** Stops looking. */
  close(): void {
    this.#timer.cancel();
  }
}

/** What this process uses. */
export function processUsage(): Usage {
  // Only contexts that are made after the flag was set have the function.
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc') as (options: object) => void;
  return {
    cpuMs() {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1000;
    },
    heapBytes: () => process.memoryUsage().heapTotal,
    // The flavour that also gives the pages back that are almost empty.
    collect: () => gc({ type: 'major', flavor: 'last-resort' }),
  };
}
