// Sends messages. Batches by itself, waits when too much is under way, tries again, and sends nothing twice.

import {
  assertCompression,
  type Compression,
  compressed,
  type EncodedMessage,
} from './body-encoding.ts';
import { type CallOptions, CallTime } from './call-time.ts';
import { type Clock, randomBelow, type Timer } from './clock.ts';
import { isDelayed } from './delay.ts';
import { abortedError, closedError, isMqError, MqError, noMaster } from './errors.ts';
import type { Events } from './events.ts';
import { FrameSender } from './frame-sender.ts';
import type { OutgoingMessage, QueueId, Receipt, SendOutcome } from './message.ts';
import { messageFault } from './message-check.ts';
import { Outgoing } from './outgoing.ts';
import { ProduceLink } from './produce-link.ts';
import { queueOfKey, queueOfPriority, queueOfTurn } from './queue-choice.ts';
import { QueueSender } from './queue-sender.ts';
import { recallMessage } from './recall.ts';
import type { ReceivedMessage } from './received-message.ts';
import {
  type OutgoingReply,
  REPLY_TIMEOUT_MS,
  type Reply,
  type RequestOptions,
  requestReply,
  sendReply,
} from './request-reply.ts';
import { RouteWait } from './route-wait.ts';
import type { Routes } from './routes.ts';
import { SendWindow } from './send-window.ts';
import type { TopicHandle } from './topic-handle.ts';
import { type TransactionChecker, TransactionWatch } from './transaction-watch.ts';
import { runTransaction, type Transaction } from './transactions.ts';
import type { Channels } from './transport/channels.ts';
import type { Route, RouteQueue } from './transport/route.ts';
import { messageBytes } from './wire/frame.ts';

const SWEEP_MS = 100;
const RETRY_MS = 200;
const COMPRESSION_BYTES_MIN = 4096;

/** How a producer sends. */
export interface ProducerOptions {
  /** Bytes of messages that may be under way; above it sending waits. Default: 4 MiB. */
  readonly inFlightBytesMax?: number;
  /** How long sending may take, all tries included, in milliseconds. Default: 10,000. */
  readonly deadlineMs?: number;
  /**
   * Compresses bodies, where that makes them smaller; consumers of this SDK get them as they were. `zstd` needs Node 22.15
   * on both sides. Not for `frames`. Default: none.
   */
  readonly compression?: Compression;
  /** Smaller bodies are not compressed, in bytes. Default: 4096. */
  readonly compressionBytesMin?: number;
  /**
   * The producers that may be asked for the outcome of a transaction that this one began, 1 to 127 characters of
   * `[%|a-zA-Z0-9_-]`. Needed for transactions.
   */
  readonly group?: string;
  /** Tells the outcome of transactions that producers of the group began and did not decide. */
  readonly checkTransaction?: TransactionChecker;
}

/** How one message is sent. */
export interface SendOptions extends CallOptions {
  /** How long it may take, all tries included, in milliseconds. Default: the producer's. */
  readonly deadlineMs?: number;
  /** Stops waiting; a message that has left may be stored nevertheless. */
  readonly signal?: AbortSignal | undefined;
}

/** A message of a typed topic: the value instead of the body. */
export type OutgoingValue<Value> = Omit<OutgoingMessage, 'body'> & { readonly value: Value };

/** What the producer knows of a topic that it sends to. */
interface TopicState {
  /** Which queue is next. */
  turn: number;
  readonly senders: QueueSender[];
  /** Stops hearing of the topic's route. */
  readonly forget: () => void;
}

/** Sends messages; made by `Client.producer`. */
export class Producer implements AsyncDisposable {
  readonly #options: ProducerOptions & {
    readonly inFlightBytesMax: number;
    readonly deadlineMs: number;
  };
  readonly #routes: Routes;
  readonly #channels: Channels;
  readonly #clock: Clock;
  readonly #events: Events;
  readonly #window: SendWindow;
  readonly #transactionWatch: TransactionWatch | undefined;
  /** By broker group. */
  readonly #links = new Map<string, ProduceLink>();
  readonly #frameLinks = new Map<string, ProduceLink>();
  /** Where each broker group is, as the routes of the topics say. */
  readonly #addresses = new Map<string, string>();
  readonly #senders = new Map<string, QueueSender>();
  readonly #topics = new Map<string, TopicState>();
  readonly #turning = new Set<string>();
  /** Broker groups that have left a route in this turn. */
  readonly #leaving = new Set<string>();
  readonly #routeWait: RouteWait;
  readonly #sweep: Timer;
  readonly #closing = new AbortController();
  /** Messages without an outcome. */
  #open = 0;
  #idle: (() => void) | undefined;
  #closed: Promise<void> | undefined;
  /** Messages sent one-way that failed. */
  oneWayFailures = 0;

  constructor(
    options: ProducerOptions,
    modules: { routes: Routes; channels: Channels; clock: Clock; events: Events },
  ) {
    this.#options = { inFlightBytesMax: 4 << 20, deadlineMs: 10_000, ...options };
    if (options.compression !== undefined) assertCompression(options.compression);
    this.#routes = modules.routes;
    this.#channels = modules.channels;
    this.#clock = modules.clock;
    this.#events = modules.events;
    this.#window = new SendWindow(this.#options.inFlightBytesMax, (item) => this.#start(item));
    this.#routeWait = new RouteWait(
      { routes: this.#routes, clock: this.#clock, closing: this.#closing.signal },
      (item) => this.#window.enter(item),
    );
    const { group, checkTransaction } = options;
    if (checkTransaction !== undefined) {
      if (group === undefined) throw noGroup();
      this.#transactionWatch = new TransactionWatch(group, checkTransaction, modules);
    }
    this.#sweep = this.#clock.every(SWEEP_MS, () => this.#expire(this.#clock.monotonicMs()));
  }

  /**
   * Sends a message; resolves when it is as durable as its broker demands. Throws MqError: the broker's reasons
   * (TOPIC_NOT_FOUND, BODY_TOO_LARGE, DISK_FULL, …), DEADLINE_EXCEEDED or BROKER_UNREACHABLE (not stored),
   * OUTCOME_UNKNOWN, and ALREADY_STORED: stored, but where is not known any more.
   */
  send(topic: string, message: OutgoingMessage, options?: SendOptions): Promise<Receipt>;
  send<Value>(
    topic: TopicHandle<Value>,
    value: OutgoingValue<Value>,
    options?: SendOptions,
  ): Promise<Receipt>;
  send(
    topic: string | TopicHandle<unknown>,
    message: OutgoingMessage | OutgoingValue<unknown>,
    options: SendOptions = {},
  ): Promise<Receipt> {
    return this.#sendTo(topic, message, options);
  }

  /** Sends many messages; tells of each what became of it, in their order. Never throws for some of them. */
  async sendBatch(
    topic: string,
    messages: readonly OutgoingMessage[],
    options: SendOptions = {},
  ): Promise<SendOutcome[]> {
    const sent = await Promise.allSettled(
      messages.map((message) => this.#sendTo(topic, message, options)),
    );
    return sent.map((one) =>
      one.status === 'fulfilled'
        ? { status: 'stored', receipt: one.value }
        : { status: 'failed', error: one.reason as Error },
    );
  }

  /** Sends a message and waits for nothing. A failure is counted and told as the event `sendFailed`. */
  sendOneWay(topic: string, message: OutgoingMessage): void;
  sendOneWay<Value>(topic: TopicHandle<Value>, message: OutgoingValue<Value>): void;
  sendOneWay(
    topic: string | TopicHandle<unknown>,
    message: OutgoingMessage | OutgoingValue<unknown>,
  ): void {
    const name = typeof topic === 'string' ? topic : topic.name;
    this.#sendTo(topic, message, {}).catch((error: Error) => {
      if (isMqError(error, 'ALREADY_STORED')) return;
      this.oneWayFailures++;
      this.#events.emit({ type: 'sendFailed', topic: name, error });
    });
  }

  /**
   * Sends messages of one topic together with work of the caller: they are stored first, nobody sees them while the work
   * runs, and they are delivered when it returns; when it throws they are dropped, and its error is thrown on. A producer
   * that dies meanwhile leaves the outcome to `checkTransaction` of its group; what nobody can tell is rolled back.
   *
   * @param messages one message, or up to 1024 that go to one queue: that of the first
   * @param work returning commits, throwing rolls back
   * @returns what the work returned
   * @throws MqError TRANSACTION_ENDED when the broker had given the transaction up before the work was done;
   *   OUTCOME_UNKNOWN when it cannot be reached
   */
  async transaction<Value>(
    topic: string,
    messages: OutgoingMessage | readonly OutgoingMessage[],
    work: (transaction: Transaction) => Promise<Value> | Value,
    options: SendOptions = {},
  ): Promise<Value> {
    if (this.#closed !== undefined) throw closedError('producer');
    const { group } = this.#options;
    if (group === undefined) throw noGroup();
    const { deadlineMs = this.#options.deadlineMs, signal } = options;
    const list = Array.isArray(messages) ? messages : [messages as OutgoingMessage];
    const [first] = list;
    if (first === undefined) throw new MqError('INVALID_OPTION', 'a transaction has no message');
    for (const message of list) {
      const fault = messageFault(message);
      if (fault !== undefined) throw fault;
      if (isDelayed(message)) {
        throw new MqError('INVALID_OPTION', 'a message of a transaction cannot be delayed');
      }
    }
    const call = { deadlineMs, ...(signal === undefined ? {} : { signal }) };
    const route = await this.#routes.find(topic, call, true);
    const queue = this.#choose(route, first);
    const modules = { channels: this.#channels, clock: this.#clock, events: this.#events };
    const encoded = list.map((message) => this.#encode(message));
    return runTransaction({ topic, queue, group }, encoded, work, call, modules);
  }

  /**
   * Takes a delayed message back before it is delivered.
   *
   * @param messageId of the receipt
   * @throws MqError NOT_WAITING when it was delivered or recalled before, NOT_DELAYED when it is no delayed message
   */
  recall(messageId: string, options: SendOptions = {}): Promise<void> {
    const { deadlineMs = this.#options.deadlineMs, signal } = options;
    const modules = { routes: this.#routes, channels: this.#channels };
    return recallMessage(messageId, modules, {
      deadlineMs,
      ...(signal === undefined ? {} : { signal }),
    });
  }

  /**
   * Sends a message and waits for an answer of whoever consumes it. The message is stored as any other; the broker that
   * keeps it hands the answer over, and forgets that it was asked for when it stops.
   *
   * @param options.timeoutMs how long the answer may take, in milliseconds, at most 10 minutes. Default: 3,000
   * @throws MqError REPLY_TIMEOUT when nobody answered in time; the message is stored. It is not sent again when the
   *   connection breaks, for nobody knows then whether it was answered
   */
  async request(
    topic: string,
    message: OutgoingMessage,
    options: RequestOptions = {},
  ): Promise<Reply> {
    if (this.#closed !== undefined) throw closedError('producer');
    const fault = messageFault(message);
    if (fault !== undefined) throw fault;
    const { timeoutMs = REPLY_TIMEOUT_MS, signal } = options;
    const time = new CallTime(this.#clock, { deadlineMs: timeoutMs, signal });
    const queue = this.#choose(await this.#routes.find(topic, time, true), message);
    const place = { topic, queueId: queue.queueId, channel: this.#channels.get(queue.address) };
    return requestReply(place, this.#encode(message), time, this.#clock.nowMs());
  }

  /**
   * Answers a request.
   *
   * @param to the message that asks, or its `replyTo`
   * @throws MqError NO_REPLY_WANTED when it asks for no answer, REPLY_NOT_AWAITED when nobody waits for it any more
   */
  async reply(
    to: ReceivedMessage | string,
    answer: OutgoingReply,
    options: SendOptions = {},
  ): Promise<void> {
    if (this.#closed !== undefined) throw closedError('producer');
    const fault = messageFault(answer);
    if (fault !== undefined) throw fault;
    const { deadlineMs = this.#options.deadlineMs, signal } = options;
    const replyTo = typeof to === 'string' ? to : to.replyTo;
    const time = new CallTime(this.#clock, { deadlineMs, signal });
    const modules = { routes: this.#routes, channels: this.#channels };
    return sendReply(replyTo, this.#encode(answer), modules, time, this.#clock.nowMs());
  }

  /**
   * For those who send so much that a promise for each message is too dear: sends whole frames to the queues of
   * a topic by turns.
   *
   * @param options how long finding them may take
   */
  async frames(topic: string, options: SendOptions = {}): Promise<FrameSender> {
    if (this.#closed !== undefined) throw closedError('producer');
    const { deadlineMs = this.#options.deadlineMs, signal } = options;
    const { queues } = await this.#routes.find(topic, { deadlineMs, signal }, true);
    if (queues.length === 0) throw noMaster(topic);
    this.#topic(topic);
    return new FrameSender(
      topic,
      queues.map((queue) => ({ ...queue, link: this.#frameLink(queue) })),
      { deadlineMs: this.#options.deadlineMs },
      this.#clock,
    );
  }

  #sendTo(
    topic: string | TopicHandle<unknown>,
    message: OutgoingMessage | OutgoingValue<unknown>,
    options: SendOptions,
  ): Promise<Receipt> {
    try {
      return typeof topic === 'string'
        ? this.#send(topic, message as OutgoingMessage, options)
        : this.#send(topic.name, valued(topic, message as OutgoingValue<unknown>), options);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #send(topic: string, message: OutgoingMessage, options: SendOptions): Promise<Receipt> {
    if (this.#closed !== undefined) throw closedError('producer');
    const { signal, deadlineMs = this.#options.deadlineMs } = options;
    if (signal?.aborted) throw abortedError(signal);
    const fault = messageFault(message);
    if (fault !== undefined) throw fault;
    const untilMs = this.#clock.monotonicMs() + deadlineMs;
    const encoded = this.#encode(message);
    const bytes = messageBytes(encoded);
    const item = new Outgoing(topic, encoded, { bytes, untilMs, signal }, (one) => {
      this.#window.leave(one);
      if (--this.#open === 0) this.#idle?.();
    });
    this.#open++;
    if (!this.#routeWait.takes(item)) this.#window.enter(item);
    return item.receipt;
  }

  #encode(message: OutgoingMessage): EncodedMessage {
    const { compression, compressionBytesMin = COMPRESSION_BYTES_MIN } = this.#options;
    return compression === undefined
      ? message
      : compressed(message, compression, compressionBytesMin);
  }

  /** A message is let in: chooses its queue and hands it over. */
  #start(item: Outgoing): void {
    try {
      const route = this.#routes.known(item.topic);
      if (route === undefined) throw noMaster(item.topic);
      this.#sender(route, this.#choose(route, item.message), item).add(item);
    } catch (error) {
      item.failed(isMqError(error) ? (error as MqError) : selectorFailed(error));
    }
  }

  /** The queue of a message; its broker group may be away, when the message has to go there or there is no other. */
  #choose({ topic, queues, places }: Route, message: OutgoingMessage): RouteQueue {
    if (message.queue !== undefined) {
      const wanted: QueueId =
        typeof message.queue === 'function' ? message.queue(places) : message.queue;
      const queue = places.find(
        ({ broker, queueId }) => broker === wanted.broker && queueId === wanted.queueId,
      );
      if (queue !== undefined) return queue;
      throw new MqError(
        'QUEUE_NOT_FOUND',
        `topic ${topic} has no queue ${wanted.queueId} on broker ${wanted.broker}`,
      );
    }
    if (message.orderingKey !== undefined && message.orderingKey !== '') {
      return queueOfKey(places, message.orderingKey);
    }
    const state = this.#topic(topic);
    // Messages of one run of code stay together, as one frame; the next run takes the next queue.
    if (!this.#turning.has(topic)) {
      this.#turning.add(topic);
      queueMicrotask(() => {
        this.#turning.delete(topic);
        state.turn++;
      });
    }
    const next = queueOfTurn(
      queues.length > 0 ? queues : places,
      state.turn,
      ({ broker }) => this.#links.get(broker)?.avoided === true,
    );
    const { priority } = message;
    return priority === undefined ? next : queueOfPriority(places, next, priority);
  }

  #topic(topic: string): TopicState {
    let state = this.#topics.get(topic);
    if (state === undefined) {
      const forget = this.#routes.listen(topic, (route) => this.#learn(route));
      state = { turn: randomBelow(1024), senders: [], forget };
      this.#topics.set(topic, state);
    }
    return state;
  }

  /**
   * A broker group that has moved, because another of its members leads, is written to at its new address at once. What
   * need not go to one that has left the route goes to others; the rest waits for it.
   */
  #learn({ topic, queues }: Route): void {
    const named = new Set<string>();
    for (const { broker, address } of queues) {
      named.add(broker);
      const before = this.#addresses.get(broker);
      if (before === undefined || before === address) continue;
      this.#addresses.set(broker, address);
      this.#links.get(broker)?.moved();
      this.#frameLinks.get(broker)?.moved();
    }
    for (const sender of this.#topic(topic).senders) {
      const away = !named.has(sender.broker);
      if (sender.away && !away) sender.away = false;
      else if (away && (!sender.away || sender.waits)) {
        sender.away = true;
        this.#leave(sender.broker);
      }
    }
  }

  /** Routes of many topics change together: once for all of them. */
  #leave(broker: string): void {
    if (this.#leaving.size === 0) {
      queueMicrotask(() => {
        for (const each of this.#leaving) this.#moveFrom(each);
        this.#leaving.clear();
      });
    }
    this.#leaving.add(broker);
  }

  /** Delayed messages travel apart: the broker numbers them apart from those of their queue. */
  #sender(route: Route, queue: RouteQueue, { message }: Outgoing): QueueSender {
    const { topic } = route;
    const { broker, queueId } = queue;
    const key = `${topic} ${broker} ${queueId}${isDelayed(message) ? ' delayed' : ''}`;
    let sender = this.#senders.get(key);
    if (sender === undefined) {
      sender = new QueueSender(
        { topic, broker, queueId },
        {
          link: this.#link(queue),
          nowMs: () => this.#clock.nowMs(),
          refusedForNow: (one) => this.#rest(one),
        },
      );
      sender.away = !route.queues.some((one) => one.broker === broker);
      this.#senders.set(key, sender);
      this.#topic(topic).senders.push(sender);
    }
    return sender;
  }

  #link(queue: RouteQueue): ProduceLink {
    let link = this.#links.get(queue.broker);
    if (link === undefined) {
      link = this.#newLink(queue, () => this.#moveFrom(queue.broker));
      this.#links.set(queue.broker, link);
    }
    return link;
  }

  /** Whole frames stay on their queue, and so travel on a stream of their own. */
  #frameLink(queue: RouteQueue): ProduceLink {
    let link = this.#frameLinks.get(queue.broker);
    if (link === undefined) {
      link = this.#newLink(queue, () => {});
      this.#frameLinks.set(queue.broker, link);
    }
    return link;
  }

  #newLink({ broker, address }: RouteQueue, down: () => void): ProduceLink {
    if (!this.#addresses.has(broker)) this.#addresses.set(broker, address);
    const channel = () => this.#channels.get(this.#addresses.get(broker) as string);
    return new ProduceLink(channel, { clock: this.#clock, events: this.#events }, down);
  }

  /** A broker has refused for now: after a pause its messages go to others, or once more to it. */
  #rest(sender: QueueSender): void {
    sender.link.avoid();
    this.#clock.setTimer(RETRY_MS, () => {
      // The connection was lost meanwhile, and that has moved what was to be moved.
      if (!sender.resting) return;
      this.#give(sender, sender.takeMovable());
      sender.retry();
    });
  }

  /** A broker cannot be reached: what has not left for it, and need not go there, goes to others. */
  #moveFrom(broker: string): void {
    const senders = [...this.#senders.values()].filter((sender) => sender.broker === broker);
    if (!senders.some(({ topic, away }) => away || this.#elsewhere(topic, broker))) return;
    this.#links.get(broker)?.takeUnsent();
    // All are taken before one is given: what is given may leave at once, and must not be taken back.
    const taken = senders.map((sender) => ({ sender, items: sender.takeMovable() }));
    for (const { sender, items } of taken) this.#give(sender, items);
    for (const sender of senders) sender.retry();
  }

  #elsewhere(topic: string, broker: string): boolean {
    const queues = this.#routes.known(topic)?.queues ?? [];
    return queues.some(
      (queue) => queue.broker !== broker && this.#links.get(queue.broker)?.avoided !== true,
    );
  }

  /** Messages of a sender go to the queue that is right for them now. */
  #give(sender: QueueSender, items: readonly Outgoing[]): void {
    const route = this.#routes.known(sender.topic);
    for (const item of items) {
      const next =
        route === undefined ? sender : this.#sender(route, this.#choose(route, item.message), item);
      next.add(item);
    }
  }

  #expire(nowMs: number): void {
    for (const item of this.#window.waiting()) {
      if (item.untilMs <= nowMs) item.failed(noRoom());
    }
    this.#routeWait.expire(nowMs);
    for (const sender of this.#senders.values()) sender.expire(nowMs);
    for (const link of this.#links.values()) link.forgetAbandoned();
  }

  /**
   * Waits until everything under way has its outcome, but at most so long, and closes the connections.
   *
   * @param options.drainMs in milliseconds. Default: the producer's deadline
   */
  close(options: { readonly drainMs?: number } = {}): Promise<void> {
    this.#closed ??= this.#close(options.drainMs ?? this.#options.deadlineMs);
    return this.#closed;
  }

  async #close(drainMs: number): Promise<void> {
    if (this.#open > 0 && drainMs > 0) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = this.#clock.setTimer(drainMs, resolve);
      this.#idle = resolve;
      await promise;
      timer.cancel();
    }
    this.#sweep.cancel();
    this.#transactionWatch?.close();
    this.#closing.abort();
    this.#expire(Number.POSITIVE_INFINITY);
    for (const link of [...this.#links.values(), ...this.#frameLinks.values()]) link.close();
    for (const { forget } of this.#topics.values()) forget();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function noGroup(): MqError {
  return new MqError(
    'INVALID_OPTION',
    'transactions need the producer option `group`: whom the broker may ask for their outcome',
  );
}

function noRoom(): MqError {
  return new MqError(
    'DEADLINE_EXCEEDED',
    'too many bytes were under way for the whole time; send slower, or allow more with inFlightBytesMax',
    { retryable: true },
  );
}

function selectorFailed(cause: unknown): MqError {
  return new MqError('INVALID_OPTION', 'the message could not be given to a queue', { cause });
}

function valued<Value>(topic: TopicHandle<Value>, message: OutgoingValue<Value>): OutgoingMessage {
  const { value, ...rest } = message;
  const key = topic.key?.(value);
  const keys = key === undefined ? rest.keys : [key, ...(rest.keys ?? [])];
  return { ...rest, body: topic.body.encode(value), ...(keys === undefined ? {} : { keys }) };
}
