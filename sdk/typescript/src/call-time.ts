// The time that a call may take, whatever it is made of: each step gets what is left of it.

import type { Clock } from './clock.ts';
import { abortedError } from './errors.ts';

const DEADLINE_MS = 10_000;

/** How long a call may take. */
export interface CallOptions {
  /** All steps and tries included, in milliseconds. Default: 10,000. */
  readonly deadlineMs?: number;
  /** Ends the call early, with the error ABORTED. */
  readonly signal?: AbortSignal | undefined;
}

/** What is left of a call's time; may be given to every step as its limits. */
export class CallTime {
  readonly signal: AbortSignal | undefined;
  readonly #clock: Clock;
  readonly #untilMs: number;

  /** Begins now. Throws ABORTED. */
  constructor(clock: Clock, { deadlineMs = DEADLINE_MS, signal }: CallOptions) {
    if (signal?.aborted) throw abortedError(signal);
    this.signal = signal;
    this.#clock = clock;
    this.#untilMs = clock.monotonicMs() + deadlineMs;
  }

  /** Milliseconds that are left; 0 when the time is up. */
  get deadlineMs(): number {
    return Math.max(0, this.#untilMs - this.#clock.monotonicMs());
  }

  /** What is left, and at most so many milliseconds of it. */
  atMost(ms: number): { readonly deadlineMs: number; readonly signal: AbortSignal | undefined } {
    return { deadlineMs: Math.min(ms, this.deadlineMs), signal: this.signal };
  }
}
