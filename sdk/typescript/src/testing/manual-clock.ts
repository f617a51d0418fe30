// Time for tests: it stands still until it is advanced.

import type { Clock, Timer } from '../clock.ts';

interface ManualTimer extends Timer {
  dueMs: number;
  /** Undefined: once. */
  readonly everyMs: number | undefined;
  readonly callback: () => void;
}

/** A clock that a test turns by hand. */
export class ManualClock implements Clock {
  #nowMs = 0;
  readonly #timers = new Set<ManualTimer>();

  nowMs(): number {
    return Date.UTC(2026, 0, 1) + this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    return this.#add(delayMs, undefined, callback);
  }

  every(intervalMs: number, callback: () => void): Timer {
    return this.#add(intervalMs, intervalMs, callback);
  }

  #add(delayMs: number, everyMs: number | undefined, callback: () => void): Timer {
    const timer: ManualTimer = {
      dueMs: this.#nowMs + delayMs,
      everyMs,
      callback,
      cancel: () => this.#timers.delete(timer),
    };
    this.#timers.add(timer);
    return timer;
  }

  /** Timers that have not fired. */
  get pending(): number {
    return this.#timers.size;
  }

  /** Lets time pass; what falls due happens in order, and so does what follows from it. */
  async advance(ms: number): Promise<void> {
    const untilMs = this.#nowMs + ms;
    await turn();
    for (;;) {
      const due = [...this.#timers]
        .filter(({ dueMs }) => dueMs <= untilMs)
        .sort((one, other) => one.dueMs - other.dueMs)[0];
      if (due === undefined) break;
      this.#nowMs = Math.max(this.#nowMs, due.dueMs);
      if (due.everyMs === undefined) this.#timers.delete(due);
      else due.dueMs += due.everyMs;
      due.callback();
      await turn();
    }
    this.#nowMs = untilMs;
  }

  /** Lets time pass until a promise has settled, and at most so long. */
  async until<Value>(promise: Promise<Value>, msMax = 60_000): Promise<Value> {
    let settled = false;
    const settle = (): void => {
      settled = true;
    };
    promise.then(settle, settle);
    for (let ms = 0; !settled; ms += 10) {
      if (ms >= msMax) throw new Error(`nothing has come of it within ${msMax} ms`);
      await this.advance(10);
    }
    return promise;
  }
}

/** Resolves when everything that follows from what has happened so far has happened. */
export function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
