// Who is alive, from what was heard and when. Reads no clock: `nowMs` is monotonic time.
//
//              registered              stream ended, or silent for SUSPECT_SHARE of the timeout
//   (unknown) ------------> live -----------------------------------------------> suspect
//                            ^                      heard again                      |
//                            +-------------------------------------------------------+
//   (unknown) <------------ live or suspect, silent for the timeout
//
// A process that did not run for a while (stopped, starved, its machine suspended) has heard nothing
// meanwhile and knows nothing about the others: such a pause does not count as their silence.

import { BrokerState } from '@ternmq/proto/gen/ternmq/nameserver/v1/nameserver_pb';

/** Part of the timeout after which a silent broker is suspect. */
const SUSPECT_SHARE = 0.5;

/** What the passing of time has changed. */
export interface Expired {
  /** Brokers that have become suspect. */
  readonly suspect: readonly string[];
  /** Brokers that are gone; they are forgotten. */
  readonly gone: readonly string[];
}

interface Entry {
  heardMs: number;
  state: BrokerState;
}

/** The life signs of brokers. */
export class BrokerLiveness {
  readonly #timeoutMs: number;
  readonly #tickMs: number;
  readonly #entries = new Map<string, Entry>();
  #tickedMs: number | undefined;

  /** @param options timeoutMs silence after which a broker is gone; tickMs how often tick is called */
  constructor(options: { readonly timeoutMs: number; readonly tickMs: number }) {
    this.#timeoutMs = options.timeoutMs;
    this.#tickMs = options.tickMs;
  }

  /** A broker gave a sign of life on an open stream. Returns whether its state has changed. */
  heard(key: string, nowMs: number): boolean {
    const entry = this.#entries.get(key);
    if (entry === undefined) {
      this.#entries.set(key, { heardMs: nowMs, state: BrokerState.LIVE });
      return true;
    }
    entry.heardMs = nowMs;
    return this.#move(entry, BrokerState.LIVE);
  }

  /** A broker's stream has ended. Returns whether its state has changed. */
  disconnected(key: string): boolean {
    const entry = this.#entries.get(key);
    return entry !== undefined && this.#move(entry, BrokerState.SUSPECT);
  }

  /** A broker has left. */
  forget(key: string): void {
    this.#entries.delete(key);
  }

  /** The state of a broker; UNSPECIFIED when it is not known. */
  state(key: string): BrokerState {
    return this.#entries.get(key)?.state ?? BrokerState.UNSPECIFIED;
  }

  /** Time since a broker was last heard, in milliseconds. */
  silenceMs(key: string, nowMs: number): number {
    const entry = this.#entries.get(key);
    return entry === undefined ? 0 : nowMs - entry.heardMs;
  }

  /** Lets time pass. */
  tick(nowMs: number): Expired {
    this.#excusePause(nowMs);
    const suspect: string[] = [];
    const gone: string[] = [];
    for (const [key, entry] of this.#entries) {
      const silenceMs = nowMs - entry.heardMs;
      if (silenceMs >= this.#timeoutMs) {
        this.#entries.delete(key);
        gone.push(key);
      } else if (silenceMs >= this.#timeoutMs * SUSPECT_SHARE) {
        if (this.#move(entry, BrokerState.SUSPECT)) suspect.push(key);
      }
    }
    return { suspect, gone };
  }

  #excusePause(nowMs: number): void {
    const lateMs = nowMs - (this.#tickedMs ?? nowMs) - this.#tickMs;
    this.#tickedMs = nowMs;
    if (lateMs <= this.#tickMs) return;
    for (const entry of this.#entries.values()) {
      entry.heardMs = Math.min(nowMs, entry.heardMs + lateMs);
    }
  }

  #move(entry: Entry, state: BrokerState): boolean {
    if (entry.state === state) return false;
    entry.state = state;
    return true;
  }
}
