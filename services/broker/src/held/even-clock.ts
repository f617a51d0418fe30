// The time that messages which wait follow: the wall clock of the broker's start, and then what has really passed. A wall
// clock that is set while the broker runs delivers nothing early, and nothing late.

import type { Clock } from '@ternmq/runtime';

/** Time that passes evenly. */
export class EvenClock {
  readonly #clock: Clock;
  readonly #startMs: number;
  readonly #startedMs: number;

  /** @param newestMs time of the newest record in the log: time does not go back over a restart */
  constructor(clock: Clock, newestMs: number) {
    this.#clock = clock;
    this.#startMs = Math.max(clock.nowMs(), newestMs);
    this.#startedMs = clock.monotonicMs();
  }

  /** Now, in whole milliseconds since the Unix epoch. */
  nowMs(): number {
    return this.#startMs + Math.floor(this.#clock.monotonicMs() - this.#startedMs);
  }
}
