// The SDK's only source of time, and of the randomness that goes with waiting.

/** Something that will happen later. */
export interface Timer {
  /** It shall not happen any more. */
  cancel(): void;
}

/** Time, and waiting for it. */
export interface Clock {
  /** Wall time in milliseconds since 1970 UTC. */
  nowMs(): number;
  /** Milliseconds since an arbitrary start; never goes back. */
  monotonicMs(): number;
  /** Calls back once after a delay in milliseconds. */
  setTimer(delayMs: number, callback: () => void): Timer;
  /** Calls back again and again, with a pause in milliseconds. */
  every(intervalMs: number, callback: () => void): Timer;
}

/**
 * The machine's clock. A timer keeps the process alive: somebody waits for what it will bring. What is done again and
 * again does not.
 */
export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  setTimer(delayMs, callback) {
    const timer = setTimeout(callback, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
  every(intervalMs, callback) {
    const timer = setInterval(callback, intervalMs).unref();
    return { cancel: () => clearInterval(timer) };
  },
};

/** Resolves after a delay in milliseconds, or at once when the signal aborts. */
export function pause(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = (): void => {
      timer.cancel();
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = clock.setTimer(delayMs, done);
    signal?.addEventListener('abort', done);
  });
}

/** Pauses between tries: they grow from try to try, and differ from client to client. */
export class BackOff {
  #nextMs: number;
  readonly #firstMs: number;
  readonly #maxMs: number;

  constructor(firstMs = 50, maxMs = 5000) {
    this.#firstMs = firstMs;
    this.#maxMs = maxMs;
    this.#nextMs = firstMs;
  }

  /** The pause before the next try, in milliseconds. */
  next(): number {
    const pauseMs = this.#nextMs * (0.5 + Math.random() / 2);
    this.#nextMs = Math.min(this.#maxMs, this.#nextMs * 2);
    return pauseMs;
  }

  /** A try has succeeded. */
  reset(): void {
    this.#nextMs = this.#firstMs;
  }
}

/** A whole number from 0 to below `count`, any of them alike. */
export function randomBelow(count: number): number {
  return Math.floor(Math.random() * count);
}

/** The moment so many milliseconds from now, as gRPC takes it. */
export function deadlineIn(ms: number): Date {
  return new Date(Date.now() + ms);
}
