// Delivered messages as an async iterator. It ends when it is closed or its signal aborts, never by a connection that
// breaks; it throws when the broker refuses the subscription.

import type { DeliveredMessage } from './delivered-message.ts';
import type { MqError } from './errors.ts';

interface Waiting<Value> {
  readonly message: DeliveredMessage<Value>;
  readonly credit: () => void;
}

/** The messages of a subscription, one after the other. */
export class MessageStream<Value>
  implements AsyncIterableIterator<DeliveredMessage<Value>>, AsyncDisposable
{
  readonly #waiting: Waiting<Value>[] = [];
  #wake: (() => void) | undefined;
  #error: MqError | undefined;
  #closed = false;
  /** Set by the consumer: ends the streams. */
  onClose: () => Promise<void> = async () => {};

  constructor(signal: AbortSignal | undefined) {
    if (signal?.aborted) this.#closed = true;
    signal?.addEventListener('abort', () => void this.close(), { once: true });
  }

  /** Takes a delivered message; `credit` is called when the application gets it. */
  add(message: DeliveredMessage<Value>, credit: () => void): void {
    if (this.#closed) {
      message.giveBack();
      return;
    }
    this.#waiting.push({ message, credit });
    this.#wake?.();
  }

  /** The broker refuses the subscription. */
  fail(error: MqError): void {
    this.#error = error;
    this.#wake?.();
  }

  /** The next message; waits for it. */
  async next(): Promise<IteratorResult<DeliveredMessage<Value>>> {
    for (;;) {
      if (this.#closed) return { done: true, value: undefined };
      const next = this.#waiting.shift();
      if (next !== undefined) {
        next.credit();
        return { done: false, value: next.message };
      }
      if (this.#error !== undefined) throw this.#error;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
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
    for (const { message } of this.#waiting.splice(0)) message.giveBack();
    this.#wake?.();
    await this.onClose();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
