// The only source of time. Code that waits or asks for the time gets a Clock, so that tests and the
// simulation can turn it by hand.

import { performance } from 'node:perf_hooks';
import { assert } from './errors.ts';

/** Something that will happen later. */
export interface Timer {
  /** It shall not happen any more; harmless when it has happened or was cancelled. */
  cancel(): void;
}

/** Time, and waiting for it. Timers never keep the process alive. */
export interface Clock {
  /** Wall time in milliseconds since 1970 UTC; may jump in both directions. */
  nowMs(): number;
  /** Milliseconds since an arbitrary start, with fractions; never goes back. For measuring spans. */
  monotonicMs(): number;
  /** Calls back once after the delay (milliseconds, any length). */
  setTimer(delayMs: number, callback: () => void): Timer;
  /** Calls back once at the end of this turn of the event loop, after the input that has arrived. */
  defer(callback: () => void): void;
  /** Calls back again and again (milliseconds, more than 0), the first time after one interval. */
  every(intervalMs: number, callback: () => void): Timer;
  /** Resolves after the delay (milliseconds); rejects with the signal's reason when it aborts first. */
  sleep(delayMs: number, signal?: AbortSignal): Promise<void>;
}

/** As Clock.sleep, on the timers of a clock. */
export function sleepOn(
  clock: Pick<Clock, 'setTimer'>,
  delayMs: number,
  signal?: AbortSignal,
): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const abort = (): void => {
      timer.cancel();
      reject(signal?.reason);
    };
    const timer = clock.setTimer(delayMs, () => {
      signal?.removeEventListener('abort', abort);
      resolve();
    });
    signal?.addEventListener('abort', abort, { once: true });
  });
}

/** The longest delay that Node's timers can hold; they fire a longer one at once. */
const NODE_DELAY_MS_MAX = 2 ** 31 - 1;

/** The machine's clock. */
export const systemClock: Clock = {
  nowMs: Date.now,
  monotonicMs: () => performance.now(),

  setTimer(delayMs, callback) {
    let remainingMs = delayMs;
    let handle: NodeJS.Timeout;
    const arm = (): void => {
      const stepMs = Math.min(remainingMs, NODE_DELAY_MS_MAX);
      remainingMs -= stepMs;
      handle = setTimeout(remainingMs > 0 ? arm : callback, stepMs).unref();
    };
    arm();
    return { cancel: () => clearTimeout(handle) };
  },

  defer(callback) {
    setImmediate(callback);
  },

  every(intervalMs, callback) {
    assert(
      intervalMs > 0 && intervalMs <= NODE_DELAY_MS_MAX,
      `an interval of ${intervalMs} ms is out of bounds`,
    );
    const handle = setInterval(callback, intervalMs).unref();
    return { cancel: () => clearInterval(handle) };
  },

  sleep(delayMs, signal) {
    return sleepOn(systemClock, delayMs, signal);
  },
};

interface ManualTimer {
  dueMs: number;
  /** Timers that are due at the same time fire in the order in which they were set. */
  order: number;
  callback: () => void;
}

/** A clock that stands still until it is advanced. */
export class ManualClock implements Clock {
  #nowMs: number;
  #elapsedMs = 0;
  #order = 0;
  readonly #timers = new Set<ManualTimer>();

  /** @param startMs wall time to start at, in milliseconds since 1970 UTC */
  constructor(startMs = Date.UTC(2026, 0, 1)) {
    this.#nowMs = startMs;
  }

  nowMs(): number {
    return this.#nowMs;
  }

  monotonicMs(): number {
    return this.#elapsedMs;
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    const timer = {
      dueMs: this.#elapsedMs + Math.max(0, delayMs),
      order: this.#order++,
      callback,
    };
    this.#timers.add(timer);
    return { cancel: () => this.#timers.delete(timer) };
  }

  /** The end of a turn is no matter of time: it comes by itself. */
  defer(callback: () => void): void {
    setImmediate(callback);
  }

  every(intervalMs: number, callback: () => void): Timer {
    assert(intervalMs > 0, `an interval of ${intervalMs} ms is out of bounds`);
    let timer: Timer;
    const fire = (): void => {
      timer = this.setTimer(intervalMs, fire);
      callback();
    };
    timer = this.setTimer(intervalMs, fire);
    return { cancel: () => timer.cancel() };
  }

  sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
    return sleepOn(this, delayMs, signal);
  }

  /** Number of timers that wait. */
  get pending(): number {
    return this.#timers.size;
  }

  /**
   * Lets time pass and fires what falls due, in order, also what is set meanwhile; each callback sees the
   * time at which it was due. Promises settle only after the caller gives way.
   */
  advance(ms: number): void {
    assert(ms >= 0, 'time does not go back');
    const endMs = this.#elapsedMs + ms;
    for (let timer = this.#next(endMs); timer !== undefined; timer = this.#next(endMs)) {
      this.#timers.delete(timer);
      this.#moveTo(timer.dueMs);
      timer.callback();
    }
    this.#moveTo(endMs);
  }

  /** Sets the wall time, as an operator would; what waits is not concerned. */
  setWall(nowMs: number): void {
    this.#nowMs = nowMs;
  }

  #next(endMs: number): ManualTimer | undefined {
    let first: ManualTimer | undefined;
    for (const timer of this.#timers) {
      if (timer.dueMs > endMs) continue;
      const earlier =
        first === undefined ||
        timer.dueMs < first.dueMs ||
        (timer.dueMs === first.dueMs && timer.order < first.order);
      if (earlier) first = timer;
    }
    return first;
  }

  #moveTo(elapsedMs: number): void {
    this.#nowMs += elapsedMs - this.#elapsedMs;
    this.#elapsedMs = elapsedMs;
  }
}
