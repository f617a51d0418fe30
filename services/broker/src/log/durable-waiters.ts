// Who waits until the log is durable up to a position.

interface Waiter {
  readonly position: number;
  resolve(): void;
  reject(error: Error): void;
}

/** Calls that wait for the log. */
export class DurableWaiters {
  #waiters: Waiter[] = [];

  /** Does anyone wait? */
  get some(): boolean {
    return this.#waiters.length > 0;
  }

  /** Resolves when `reached` was called with this position or one behind it. */
  add(position: number): Promise<void> {
    return new Promise((resolve, reject) => this.#waiters.push({ position, resolve, reject }));
  }

  /** The log is durable up to a position. */
  reached(position: number): void {
    if (this.#waiters.length === 0) return;
    const waiting: Waiter[] = [];
    for (const waiter of this.#waiters) {
      if (waiter.position <= position) waiter.resolve();
      else waiting.push(waiter);
    }
    this.#waiters = waiting;
  }

  /** The log will never be durable any further. */
  fail(error: Error): void {
    for (const waiter of this.#waiters) waiter.reject(error);
    this.#waiters = [];
  }
}
