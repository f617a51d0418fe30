// Runs a handler over delivered messages, several at a time.

import type { Clock, Timer } from './clock.ts';
import type { DeliveredMessage } from './delivered-message.ts';
import type { MqError } from './errors.ts';
import type { Events } from './events.ts';
import { KeyOrder, type RetriedStretch } from './key-order.ts';
import { addByPriority, type Waiting } from './waiting-list.ts';

/** Works on a message. Returning acknowledges it, throwing asks for another delivery. */
export type MessageHandler<Value> = (
  message: DeliveredMessage<Value>,
  context: {
    /** Aborts when the consumer is closed and its time to drain is over. */
    readonly signal: AbortSignal;
  },
) => Promise<void> | void;

/** The broker takes no longer delay: 40 days, in milliseconds. */
const DELAY_MS_MAX = 40 * 24 * 3_600_000;

/** Thrown by a handler: deliver the message again after a given time, whatever the group's back-off is. */
export class RetryAfter extends Error {
  readonly delayMs: number;

  /** @param delayMs in milliseconds, 0 (at once) to 40 days. Throws RangeError */
  constructor(delayMs: number, message = `deliver again after ${delayMs} ms`) {
    if (!(delayMs >= 0 && delayMs <= DELAY_MS_MAX)) {
      throw new RangeError(`a delay of ${delayMs} ms is not within 0 and 40 days`);
    }
    super(message);
    this.name = 'RetryAfter';
    this.delayMs = delayMs;
  }
}

/** Thrown by a handler: give the message up; it moves to the group's dead-letter topic. */
export class Reject extends Error {
  constructor(reason: string) {
    super(reason);
    this.name = 'Reject';
  }
}

/** How handlers are run. */
export interface HandlerOptions {
  /** Handlers that run at the same time. */
  readonly concurrency: number;
  readonly leaseMs: number;
  /** One handler at a time for each ordering key. */
  readonly ordered: boolean;
  readonly clock: Clock;
  readonly events: Events;
}

/** A running handler. */
export class HandlerRun<Value> implements AsyncDisposable {
  readonly #handler: MessageHandler<Value>;
  readonly #options: HandlerOptions;
  readonly #order: KeyOrder<Waiting<Value>> | undefined;
  readonly #waiting: Waiting<Value>[] = [];
  readonly #working = new Set<DeliveredMessage<Value>>();
  readonly #abort = new AbortController();
  readonly #extender: Timer;
  readonly #ended = Promise.withResolvers<void>();
  #closing: Promise<void> | undefined;
  #idle: (() => void) | undefined;
  /** Set by the consumer: drains and ends the streams. */
  onClose: (drainMs: number) => Promise<void> = async () => {};

  constructor(handler: MessageHandler<Value>, options: HandlerOptions) {
    this.#handler = handler;
    this.#options = options;
    this.#order = options.ordered ? new KeyOrder() : undefined;
    this.#extender = options.clock.every(options.leaseMs / 3, () => this.#extend());
    // Whoever does not wait for the end shall not be stopped by its error.
    this.#ended.promise.catch(() => {});
  }

  /** Resolves when the run was closed; rejects when the broker refuses the subscription. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** Takes a delivered message; `credit` is called when it is taken up. */
  add(message: DeliveredMessage<Value>, credit: () => void): void {
    if (this.#closing !== undefined) {
      message.giveBack();
      return;
    }
    const place = this.#order?.add(message, { message, credit }) ?? 'next';
    if (place === 'dropped') credit();
    if (place !== 'next') return;
    addByPriority(this.#waiting, { message, credit });
    this.#next();
  }

  /** A broker has answered that messages failed. */
  retried(broker: string, stretches: readonly RetriedStretch[]): void {
    for (const stretch of stretches) this.#order?.answered(broker, stretch);
  }

  /** There is a new stream to a broker. */
  opened(broker: string): void {
    this.#order?.reopened(broker);
  }

  #next(): void {
    while (this.#working.size < this.#options.concurrency && this.#closing === undefined) {
      const next = this.#waiting.shift();
      if (next === undefined) break;
      this.#working.add(next.message);
      next.credit();
      void this.#work(next.message);
    }
    if (this.#working.size === 0) this.#idle?.();
  }

  async #work(message: DeliveredMessage<Value>): Promise<void> {
    try {
      await this.#handler(message, { signal: this.#abort.signal });
      message.ack();
    } catch (error) {
      const name = error instanceof Error ? error.name : '';
      // To the broker 0 is the group's back-off.
      if (name === 'RetryAfter')
        message.retry(Math.max(1, Math.ceil((error as RetryAfter).delayMs)));
      else if (name === 'Reject') message.reject((error as Error).message);
      else {
        message.retry();
        this.#options.events.emit({ type: 'handlerFailed', topic: message.topic, error });
      }
    }
    this.#working.delete(message);
    if (this.#order !== undefined) this.#goOn(this.#order, message);
    this.#next();
  }

  /** What comes next of a message's ordering key. */
  #goOn(order: KeyOrder<Waiting<Value>>, message: DeliveredMessage<Value>): void {
    if (message.retried) {
      for (const { credit } of order.failed(message)) credit();
      return;
    }
    const next = order.done(message);
    if (next === undefined) return;
    if (this.#closing === undefined) this.#waiting.push(next);
    else next.message.giveBack();
  }

  /** Leases of everything that is held here are extended, also of what waits for its turn. */
  #extend(): void {
    const { leaseMs } = this.#options;
    for (const message of this.#working) message.extend(leaseMs);
    for (const { message } of this.#waiting) message.extend(leaseMs);
    for (const { message } of this.#order?.waiting() ?? []) message.extend(leaseMs);
  }

  /** The broker refuses the subscription. */
  fail(error: MqError): void {
    this.#ended.reject(error);
    void this.close({ drainMs: 0 });
  }

  /** Hands back what waits, and lets handlers finish for so many milliseconds. */
  async drain(drainMs: number): Promise<void> {
    const unworked = this.#waiting.splice(0).concat(this.#order?.clear() ?? []);
    for (const { message } of unworked) message.giveBack();
    if (this.#working.size === 0) return;
    await new Promise<void>((resolve) => {
      const timer = this.#options.clock.setTimer(drainMs, () => {
        this.#abort.abort();
        resolve();
      });
      this.#idle = () => {
        timer.cancel();
        resolve();
      };
    });
  }

  /** Stops deliveries, lets handlers finish, and hands the rest back. */
  close(options: { readonly drainMs?: number } = {}): Promise<void> {
    if (this.#closing === undefined) {
      const closing = Promise.withResolvers<void>();
      this.#closing = closing.promise;
      this.onClose(options.drainMs ?? 10_000).then(() => {
        this.#extender.cancel();
        this.#ended.resolve();
        closing.resolve();
      }, closing.reject);
    }
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
