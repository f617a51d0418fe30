// One consumer's stream to one broker: what it delivers, what was settled of it, and the credit that is left.
//
// Credit goes back to the broker as the application takes messages; settlements and credit of one turn of the event
// loop travel together. When the stream breaks it is opened again; leases of what was delivered before stay good
// for the broker's grace and beyond, and may be settled on the new stream.
//
// Invariant: credit that the broker has + what was delivered and not yet taken <= prefetch, whatever streams it came
// on, but for the last message, which may go past the bytes.

import { BackOff, type Clock, type Timer } from './clock.ts';
import { isMqError, MqError } from './errors.ts';
import type { Events } from './events.ts';
import type { RetriedStretch } from './key-order.ts';
import type { StartPoint } from './message.ts';
import { SettlementList } from './settlement-list.ts';
import type { ByteStream, Channel } from './transport/channel.ts';
import { broker } from './transport/methods.ts';
import { encodeOpening, type SubscriptionChoice } from './transport/subscription-opening.ts';
import { type DeliveredFrame, readDelivery } from './wire/delivery.ts';
import { encodeSubscribeRequest, type Settlement } from './wire/subscribe-request.ts';

/** What is subscribed to, and how. */
export interface LinkSubscription {
  readonly group: string;
  readonly consumerId: string;
  readonly broadcasting: boolean;
  /** Absent: as the group is. */
  readonly ordered: boolean | undefined;
  readonly leaseMs: number;
  readonly from: StartPoint;
  readonly subscriptions: readonly SubscriptionChoice[];
  /** What may be delivered and not yet taken. */
  readonly prefetch: { readonly messages: number; readonly bytes: number };
}

/** Told what comes. */
export interface SubscriptionObserver {
  /** Messages were delivered. Takes all of them, or none and throws MALFORMED_RESPONSE. */
  delivered(frame: DeliveredFrame, link: SubscriptionLink): void;
  /** The broker has taken messages of an ordered group for failed. */
  retried?(stretches: readonly RetriedStretch[], link: SubscriptionLink): void;
  /** A stream is open; what was on its way on an older one is lost. */
  opened?(link: SubscriptionLink): void;
  /** The broker refuses the subscription for good. */
  refused(error: MqError): void;
}

/** Errors that trying again does not mend. */
const FATAL = new Set([
  'SUBSCRIPTION_MISMATCH',
  'INVALID_TAG_EXPRESSION',
  'INVALID_CONSUMER_ID',
  'INVALID_SUBSCRIPTION',
  'INVALID_LEASE',
  'INVALID_FIELD',
  'GROUP_NOT_FOUND',
  'GROUP_ORDER_MISMATCH',
  'INVALID_SQL_EXPRESSION',
  'REPLACED',
]);
/** How long the broker may take to answer the end of a stream, in milliseconds. */
const END_MS_MAX = 1000;
/** Most settlements that wait for a stream; older ones are given up, and their messages come again. */
const SETTLEMENTS_MAX = 10_000;

/** A consumer's stream to one broker. */
export class SubscriptionLink {
  /** The broker group. */
  readonly broker: string;
  readonly #channel: Channel;
  readonly #subscription: LinkSubscription;
  readonly #clock: Clock;
  readonly #events: Events;
  readonly #observer: SubscriptionObserver;
  readonly #backOff = new BackOff(50, 5000);
  readonly #topics = new Map<number, string>();
  #stream: ByteStream | undefined;
  #reconnect: Timer | undefined;
  #creditMessages = 0;
  #creditBytes = 0;
  /** What was delivered and the application has not taken yet. */
  #heldMessages = 0;
  #heldBytes = 0;
  readonly #settlements = new SettlementList(SETTLEMENTS_MAX);
  #scheduled = false;
  /** The stream takes nothing more for now; what is to be said waits here, where it can still be joined. */
  #clogged = false;
  /** The broker has answered on the stream. What is said before may be lost, so it is not said. */
  #standing = false;
  /** The last stream was given up because of what came on it. */
  #faulty = false;
  /** Goes on instead of this link. */
  #successor: SubscriptionLink | undefined;
  #closed = false;
  readonly #ended = Promise.withResolvers<void>();

  constructor(
    brokerName: string,
    channel: Channel,
    subscription: LinkSubscription,
    modules: { clock: Clock; events: Events },
    observer: SubscriptionObserver,
  ) {
    this.broker = brokerName;
    this.#channel = channel;
    this.#subscription = subscription;
    this.#clock = modules.clock;
    this.#events = modules.events;
    this.#observer = observer;
    this.#open();
  }

  /** Address of the broker. */
  get address(): string {
    return this.#channel.address;
  }

  /** The name of a topic number. */
  topicOf(topicId: number): string {
    return this.#topics.get(topicId) ?? '';
  }

  #open(): void {
    this.#reconnect = undefined;
    if (this.#closed) return;
    const stream = this.#channel.bytes(broker.subscribe, {
      message: (bytes) => this.#take(bytes),
      drained: () => {
        this.#clogged = false;
        this.#flushSoon();
      },
      ended: (error) => this.#lost(stream, error),
    });
    this.#stream = stream;
    this.#clogged = false;
    this.#standing = false;
    this.#creditMessages = 0;
    this.#creditBytes = 0;
    const { messages, bytes } = this.#subscription.prefetch;
    const credit = {
      messages: Math.max(0, messages - this.#heldMessages),
      bytes: Math.max(0, bytes - this.#heldBytes),
    };
    stream.write(encodeOpening(this.#subscription, credit));
  }

  #take(bytes: Buffer): void {
    try {
      this.#taken(readDelivery(bytes));
    } catch (error) {
      if (!isMqError(error, 'MALFORMED_RESPONSE')) throw error;
      // What was not taken of it is delivered again, on another stream.
      this.#faulty = true;
      this.#stream?.cancel();
    }
  }

  #taken(frame: DeliveredFrame): void {
    const { records, topics, failures } = frame;
    if (!this.#standing) {
      this.#standing = true;
      this.#flushSoon();
    }
    for (const { topic, topicId } of topics) this.#topics.set(topicId, topic);
    if (topics.length > 0) {
      if (!this.#faulty) this.#backOff.reset();
      this.#events.emit({ type: 'connected', address: this.address });
      this.#observer.opened?.(this);
    }
    if (frame.retried.length > 0) this.#observer.retried?.(frame.retried, this);
    for (const { reason, message } of failures) {
      const error = new MqError(reason, message);
      const topic = this.#subscription.subscriptions[0]?.topic ?? '';
      this.#events.emit({ type: 'settleFailed', topic, error });
    }
    if (records.length === 0) return;
    let bytes = 0;
    for (const { start, end } of records) bytes += end - start;
    this.#heldMessages += records.length;
    this.#heldBytes += bytes;
    try {
      this.#observer.delivered(frame, this);
    } catch (error) {
      this.#heldMessages -= records.length;
      this.#heldBytes -= bytes;
      throw error;
    }
    this.#faulty = false;
  }

  /** The application has taken messages: as many more may come. */
  credit(messages: number, bytes: number): void {
    this.#heldMessages -= messages;
    this.#heldBytes -= bytes;
    if (this.#closed) return;
    this.#creditMessages += messages;
    this.#creditBytes += bytes;
    this.#flushSoon();
  }

  /** Settles messages. */
  settle(settlement: Settlement): void {
    if (this.#successor !== undefined) {
      this.#successor.settle(settlement);
      return;
    }
    this.#settlements.add(settlement);
    this.#flushSoon();
  }

  #flushSoon(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.flush();
    });
  }

  /** Sends credit and settlements. */
  flush(): void {
    if (this.#stream === undefined || this.#clogged || !this.#standing) return;
    if (this.#settlements.empty && this.#creditMessages === 0 && this.#creditBytes === 0) return;
    const bytes = encodeSubscribeRequest(
      this.#creditMessages,
      this.#creditBytes,
      this.#settlements.take(),
    );
    this.#creditMessages = 0;
    this.#creditBytes = 0;
    this.#clogged = !this.#stream.write(bytes);
  }

  #lost(stream: ByteStream, error: MqError | undefined): void {
    if (this.#stream !== stream) return;
    this.#stream = undefined;
    if (this.#closed) {
      this.#ended.resolve();
      return;
    }
    this.#events.emit({
      type: 'disconnected',
      address: this.address,
      ...(error === undefined ? {} : { error }),
    });
    if (error !== undefined && FATAL.has(error.code)) {
      this.#closed = true;
      this.#ended.resolve();
      this.#observer.refused(error);
      return;
    }
    this.#reconnect = this.#clock.setTimer(this.#backOff.next(), () => this.#open());
  }

  /** Sends what is left to say and ends the stream: the broker frees what is still leased. Resolves when it has. */
  close(): Promise<void> {
    if (this.#closed) return this.#ended.promise;
    // The last words are few, and wait in the stream where it is clogged, or does not stand yet.
    this.#clogged = false;
    this.#standing = true;
    this.flush();
    this.#closed = true;
    this.#reconnect?.cancel();
    if (this.#stream === undefined) this.#ended.resolve();
    else {
      this.#stream.end();
      const timer = this.#clock.setTimer(END_MS_MAX, () => {
        this.#stream?.cancel();
        this.#ended.resolve();
      });
      void this.#ended.promise.then(() => timer.cancel());
    }
    return this.#ended.promise;
  }

  /**
   * Another stream of this consumer to the same broker group goes on instead. It takes over the leases, so this one is
   * not ended but left; what is still settled here goes there.
   */
  leaveTo(successor: SubscriptionLink): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#successor = successor;
    for (const settlement of this.#settlements.take()) successor.settle(settlement);
    this.#reconnect?.cancel();
    const stream = this.#stream;
    this.#stream = undefined;
    stream?.cancel();
    this.#ended.resolve();
  }
}
