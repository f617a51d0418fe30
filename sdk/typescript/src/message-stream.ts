// Delivered messages as an async iterator. It ends when it is closed or its signal aborts, never by a connection that
// breaks; it throws when the broker refuses the subscription.

import type { Clock, Timer } from './clock.ts';
import type { DeliveredMessage } from './delivered-message.ts';
import type { MqError } from './errors.ts';
import { addByPriority, type Waiting } from './waiting-list.ts';

/** The messages of a subscription, one after the other. */
export class MessageStream<Value>
  implements AsyncIterableIterator<DeliveredMessage<Value>>, AsyncDisposable
{
  readonly #waiting: Waiting<Value>[] = [];
  /** Calls of `next` that wait, in order. */
  #readers: (() => void)[] = [];
  readonly #extender: Timer;
  readonly #signal: AbortSignal | undefined;
  readonly #abort = (): void => void this.close();
  #error: MqError | undefined;
  #closed = false;
  /** Set by the consumer: ends the streams. */
  onClose: () => Promise<void> = async () => {};

  /** @param options.leaseMs how long the lease of a message lasts, in milliseconds */
  constructor(options: { signal: AbortSignal | undefined; leaseMs: number; clock: Clock }) {
    const { signal, leaseMs, clock } = options;
    // What waits for its turn shall not go to another consumer meanwhile.
    this.#extender = clock.every(leaseMs / 3, () => {
      for (const { message } of this.#waiting) message.extend(leaseMs);
    });
    this.#signal = signal;
    signal?.addEventListener('abort', this.#abort, { once: true });
    // Closed once the consumer has set `onClose`.
    if (signal?.aborted) queueMicrotask(this.#abort);
  }

  /** Takes a delivered message; `credit` is called when the application gets it. */
  add(message: DeliveredMessage<Value>, credit: () => void): void {
    if (this.#closed) {
      message.giveBack();
      return;
    }
    addByPriority(this.#waiting, { message, credit });
    this.#readers.shift()?.();
  }

  /** The broker refuses the subscription. */
  fail(error: MqError): void {
    this.#error = error;
    this.#wakeAll();
  }

  #wakeAll(): void {
    const readers = this.#readers;
    this.#readers = [];
    for (const wake of readers) wake();
  }

  /** The next message; waits for it. */
  async next(): Promise<IteratorResult<DeliveredMessage<Value>>> {
    for (;;) {
      if (this.#closed || this.#signal?.aborted) return { done: true, value: undefined };
      const next = this.#waiting.shift();
      if (next !== undefined) {
        next.credit();
        return { done: false, value: next.message };
      }
      if (this.#error !== undefined) {
        const error = this.#error;
        await this.close();
        throw error;
      }
      await new Promise<void>((resolve) => {
        this.#readers.push(resolve);
      });
    }
  }

  /** Ends the iteration, as leaving a `for await` loop does. */
  async return(): Promise<IteratorResult<DeliveredMessage<Value>>> {
    await this.close();
    return { done: true, value: undefined };
  }

  /** Hands back what was not taken and ends the streams; what was taken can no longer be settled here. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#extender.cancel();
    this.#signal?.removeEventListener('abort', this.#abort);
    for (const { message } of this.#waiting.splice(0)) message.giveBack();
    this.#wakeAll();
    await this.onClose();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
