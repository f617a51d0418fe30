// One consumer's stream to one broker: what it delivers, what was settled of it, and the credit that is left.
//
// Credit goes back to the broker as the application takes messages; settlements and credit of one turn of the event
// loop travel together. When the stream breaks it is opened again; leases of what was delivered before stay good
// for the broker's grace and beyond, and may be settled on the new stream.

import { BackOff, type Clock, type Timer } from './clock.ts';
import { MqError } from './errors.ts';
import type { Events } from './events.ts';
import type { StartPoint } from './message.ts';
import type { ByteStream, Channel } from './transport/channel.ts';
import { broker } from './transport/methods.ts';
import { encodeOpening, type SubscriptionChoice } from './transport/subscription-opening.ts';
import { type DeliveredFrame, readDelivery } from './wire/delivery.ts';
import { encodeSubscribeRequest, SettleAction, type Settlement } from './wire/subscribe-request.ts';

/** What is subscribed to, and how. */
export interface LinkSubscription {
  readonly group: string;
  readonly consumerId: string;
  readonly broadcasting: boolean;
  readonly leaseMs: number;
  readonly from: StartPoint;
  readonly subscriptions: readonly SubscriptionChoice[];
  /** What may be delivered and not yet taken. */
  readonly prefetch: { readonly messages: number; readonly bytes: number };
}

/** Told what comes. */
export interface SubscriptionObserver {
  /** Messages were delivered. */
  delivered(frame: DeliveredFrame, link: SubscriptionLink): void;
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
  #settlements: Settlement[] = [];
  #scheduled = false;
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
      drained: () => this.#flushSoon(),
      ended: (error) => this.#lost(stream, error),
    });
    this.#stream = stream;
    this.#creditMessages = 0;
    this.#creditBytes = 0;
    stream.write(encodeOpening(this.#subscription, this.#subscription.prefetch));
    if (this.#settlements.length > 0) this.#flushSoon();
  }

  #take(bytes: Buffer): void {
    let frame: DeliveredFrame;
    try {
      frame = readDelivery(bytes);
    } catch {
      // Nothing of it was taken: it is delivered again.
      this.#stream?.cancel();
      return;
    }
    for (const { topic, topicId } of frame.topics) {
      this.#backOff.reset();
      this.#topics.set(topicId, topic);
    }
    if (frame.topics.length > 0) this.#events.emit({ type: 'connected', address: this.address });
    for (const { reason, message } of frame.failures) {
      const error = new MqError(reason, message);
      const topic = this.#subscription.subscriptions[0]?.topic ?? '';
      this.#events.emit({ type: 'settleFailed', topic, error });
    }
    if (frame.records.length > 0) this.#observer.delivered(frame, this);
  }

  /** The application has taken messages: as many more may come. */
  credit(messages: number, bytes: number): void {
    this.#creditMessages += messages;
    this.#creditBytes += bytes;
    this.#flushSoon();
  }

  /** Settles messages; acknowledgements that follow each other under one lease become one. */
  settle(settlement: Settlement): void {
    const last = this.#settlements.at(-1);
    const continues =
      last !== undefined &&
      settlement.action === SettleAction.ACKNOWLEDGE &&
      last.action === SettleAction.ACKNOWLEDGE &&
      last.leaseId === settlement.leaseId &&
      last.topicId === settlement.topicId &&
      last.queueId === settlement.queueId &&
      last.end === settlement.first;
    if (continues) last.end = settlement.end;
    else this.#settlements.push(settlement);
    if (this.#settlements.length > SETTLEMENTS_MAX) this.#settlements.shift();
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
    const settlements = this.#settlements;
    if (this.#stream === undefined) return;
    if (settlements.length === 0 && this.#creditMessages === 0 && this.#creditBytes === 0) return;
    this.#settlements = [];
    const bytes = encodeSubscribeRequest(this.#creditMessages, this.#creditBytes, settlements);
    this.#creditMessages = 0;
    this.#creditBytes = 0;
    this.#stream.write(bytes);
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
}
