// Which slaves have told what consumers have settled there while the group had no master. One that begins to lead serves
// consumers when all have, so that they do not get again what they have settled; for one that is gone, too, it does not wait long.

import type { Clock, Timer } from '@ternmq/runtime';

const WAIT_MS_MAX = 2000;

/** The reports of the slaves of a broker that begins to lead. */
export class SlaveReports {
  /** Resolves when all have reported, or time is up. */
  readonly all: Promise<void>;
  readonly #missing: Set<number>;
  readonly #timer: Timer | undefined;
  readonly #done: () => void;

  /** @param ids the slaves that may have served consumers */
  constructor(ids: readonly number[], clock: Clock) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.all = promise;
    this.#done = resolve;
    this.#missing = new Set(ids);
    if (ids.length === 0) resolve();
    else this.#timer = clock.setTimer(WAIT_MS_MAX, resolve);
  }

  /** A slave has told everything. */
  heard(id: number): void {
    if (!this.#missing.delete(id) || this.#missing.size > 0) return;
    this.close();
  }

  /** Nobody waits any more. */
  close(): void {
    this.#timer?.cancel();
    this.#done();
  }
}
