// Sends messages. Batches by itself, waits when too much is under way, tries again, and sends nothing twice.

import { type Clock, randomBelow, type Timer } from './clock.ts';
import { abortedError, closedError, isMqError, MqError } from './errors.ts';
import type { Events } from './events.ts';
import { FrameSender } from './frame-sender.ts';
import type { OutgoingMessage, QueueId, Receipt, SendOutcome } from './message.ts';
import { ProduceLink } from './produce-link.ts';
import { queueOfKey, queueOfTurn } from './queue-choice.ts';
import { type Outgoing, QueueSender } from './queue-sender.ts';
import type { Routes } from './routes.ts';
import type { TopicHandle } from './topic-handle.ts';
import type { Channels } from './transport/channels.ts';
import type { Route, RouteQueue } from './transport/route.ts';
import { messageBytes } from './wire/frame.ts';

const BODY_BYTES_MAX = 4 << 20;
const SWEEP_MS = 100;
const RETRY_MS = 200;

/** How a producer sends. */
export interface ProducerOptions {
  /** Bytes of messages that may be under way; above it sending waits. Default: 4 MiB. */
  readonly inFlightBytesMax?: number;
  /** How long sending may take, all tries included, in milliseconds. Default: 10,000. */
  readonly deadlineMs?: number;
}

/** How one message is sent. */
export interface SendOptions {
  /** How long it may take, all tries included, in milliseconds. Default: the producer's. */
  readonly deadlineMs?: number;
  /** Stops waiting; a message that has left may be stored nevertheless. */
  readonly signal?: AbortSignal;
}

/** A message of a typed topic: the value instead of the body. */
export type OutgoingValue<Value> = Omit<OutgoingMessage, 'body'> & { readonly value: Value };

/** Sends messages; made by `Client.producer`. */
export class Producer implements AsyncDisposable {
  readonly #options: Required<ProducerOptions>;
  readonly #routes: Routes;
  readonly #channels: Channels;
  readonly #clock: Clock;
  readonly #events: Events;
  readonly #links = new Map<string, ProduceLink>();
  readonly #senders = new Map<string, QueueSender>();
  readonly #turns = new Map<string, number>();
  readonly #roomWaiters: (() => void)[] = [];
  readonly #sweep: Timer;
  #bytes = 0;
  /** Messages that wait for a route or for room. */
  #later = 0;
  #closed = false;
  /** Messages sent one-way that failed. */
  oneWayFailures = 0;

  constructor(
    options: ProducerOptions,
    modules: { routes: Routes; channels: Channels; clock: Clock; events: Events },
  ) {
    this.#options = { inFlightBytesMax: 4 << 20, deadlineMs: 10_000, ...options };
    this.#routes = modules.routes;
    this.#channels = modules.channels;
    this.#clock = modules.clock;
    this.#events = modules.events;
    this.#sweep = this.#clock.every(SWEEP_MS, () => {
      const nowMs = this.#clock.monotonicMs();
      for (const sender of this.#senders.values()) sender.expire(nowMs);
    });
  }

  /**
   * Sends a message; resolves when it is as durable as its broker demands. Throws MqError: the broker's reasons
   * (TOPIC_NOT_FOUND, BODY_TOO_LARGE, …), DEADLINE_EXCEEDED or BROKER_UNREACHABLE (not stored), OUTCOME_UNKNOWN.
   */
  send(topic: string, message: OutgoingMessage, options?: SendOptions): Promise<Receipt>;
  send<Value>(
    topic: TopicHandle<Value>,
    value: OutgoingValue<Value>,
    options?: SendOptions,
  ): Promise<Receipt>;
  send<Value>(
    topic: string | TopicHandle<Value>,
    message: OutgoingMessage | OutgoingValue<Value>,
    options: SendOptions = {},
  ): Promise<Receipt> {
    return typeof topic === 'string'
      ? this.#send(topic, message as OutgoingMessage, options)
      : this.#send(topic.name, encoded(topic, message as OutgoingValue<Value>), options);
  }

  /** Sends many messages; tells of each what became of it, in their order. Never throws for some of them. */
  async sendBatch(
    topic: string,
    messages: readonly OutgoingMessage[],
    options: SendOptions = {},
  ): Promise<SendOutcome[]> {
    const sent = await Promise.allSettled(
      messages.map((message) => this.#send(topic, message, options)),
    );
    return sent.map((one) =>
      one.status === 'fulfilled'
        ? { status: 'stored', receipt: one.value }
        : { status: 'failed', error: one.reason as Error },
    );
  }

  /** Sends a message and waits for nothing. A failure is counted and told as the event `sendFailed`. */
  sendOneWay(topic: string, message: OutgoingMessage): void {
    this.#send(topic, message, {}).catch((error: Error) => {
      this.oneWayFailures++;
      this.#events.emit({ type: 'sendFailed', topic, error });
    });
  }

  /**
   * For those who send so much that a promise for each message is too dear: sends whole frames to the queues of
   * a topic by turns.
   */
  async frames(topic: string): Promise<FrameSender> {
    const { deadlineMs } = this.#options;
    const { queues } = await this.#routes.find(topic, { deadlineMs }, true);
    return new FrameSender(
      topic,
      queues.map((queue) => ({ ...queue, link: this.#link(queue.address) })),
      this.#clock,
    );
  }

  #send(topic: string, message: OutgoingMessage, options: SendOptions): Promise<Receipt> {
    if (this.#closed) return Promise.reject(closedError('producer'));
    const { signal, deadlineMs = this.#options.deadlineMs } = options;
    if (signal?.aborted) return Promise.reject(abortedError(signal));
    const invalid = invalidBody(message);
    if (invalid !== undefined) return Promise.reject(invalid);
    const untilMs = this.#clock.monotonicMs() + deadlineMs;
    const route = this.#routes.known(topic);
    const room = this.#bytes < this.#options.inFlightBytesMax && this.#roomWaiters.length === 0;
    if (room && route !== undefined && route.queues.length > 0) {
      return this.#enqueue(topic, route, message, untilMs, signal);
    }
    this.#later++;
    return this.#sendLater(topic, message, untilMs, signal).finally(() => {
      this.#later--;
      this.#roomWaiters.shift()?.();
    });
  }

  async #sendLater(
    topic: string,
    message: OutgoingMessage,
    untilMs: number,
    signal: AbortSignal | undefined,
  ): Promise<Receipt> {
    const leftMs = (): number => untilMs - this.#clock.monotonicMs();
    const route = await this.#routes.find(topic, { deadlineMs: leftMs(), signal }, true);
    while (this.#bytes >= this.#options.inFlightBytesMax) await this.#room(leftMs(), signal);
    return this.#enqueue(topic, route, message, untilMs, signal);
  }

  /** Resolves when something that was under way has ended. */
  #room(leftMs: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const finish = (error?: MqError): void => {
        timer.cancel();
        signal?.removeEventListener('abort', abort);
        const index = this.#roomWaiters.indexOf(wake);
        if (index >= 0) this.#roomWaiters.splice(index, 1);
        if (error === undefined) resolve();
        else reject(error);
      };
      const wake = (): void => finish();
      const abort = (): void => finish(abortedError(signal as AbortSignal));
      const timer = this.#clock.setTimer(Math.max(0, leftMs), () =>
        finish(
          new MqError(
            'DEADLINE_EXCEEDED',
            'too many bytes were under way for the whole time; send slower, or allow more with inFlightBytesMax',
            { retryable: true },
          ),
        ),
      );
      signal?.addEventListener('abort', abort);
      this.#roomWaiters.push(wake);
    });
  }

  #enqueue(
    topic: string,
    route: Route,
    message: OutgoingMessage,
    untilMs: number,
    signal: AbortSignal | undefined,
  ): Promise<Receipt> {
    return new Promise((resolve, reject) => {
      const bytes = messageBytes(message);
      this.#bytes += bytes;
      const finish = (): void => {
        this.#bytes -= bytes;
        signal?.removeEventListener('abort', abort);
        this.#roomWaiters.shift()?.();
      };
      const abort = (): void => {
        if (item.done) return;
        item.done = true;
        finish();
        reject(abortedError(signal as AbortSignal));
      };
      const item: Outgoing = {
        message,
        bytes,
        untilMs,
        pinned: message.orderingKey !== undefined || message.queue !== undefined,
        alone: false,
        done: false,
        stored: (receipt) => {
          finish();
          resolve(receipt);
        },
        failed: (error) => {
          finish();
          reject(error);
        },
      };
      signal?.addEventListener('abort', abort);
      try {
        this.#sender(topic, this.#choose(topic, route, message)).add(item);
      } catch (error) {
        item.done = true;
        item.failed(isMqError(error) ? error : new MqError('INVALID_OPTION', String(error)));
      }
    });
  }

  #choose(topic: string, route: Route, message: OutgoingMessage): RouteQueue {
    const { queues } = route;
    if (message.queue !== undefined) {
      const wanted: QueueId =
        typeof message.queue === 'function' ? message.queue(queues) : message.queue;
      const queue = queues.find(
        ({ broker, queueId }) => broker === wanted.broker && queueId === wanted.queueId,
      );
      if (queue !== undefined) return queue;
      throw new MqError(
        'QUEUE_NOT_FOUND',
        `topic ${topic} has no queue ${wanted.queueId} on broker ${wanted.broker}`,
      );
    }
    if (message.orderingKey !== undefined && message.orderingKey !== '') {
      return queueOfKey(queues, message.orderingKey);
    }
    // Messages of one run of code stay together, as one frame; the next run takes the next queue.
    let turn = this.#turns.get(topic);
    if (turn === undefined) {
      turn = randomBelow(queues.length);
      this.#turns.set(topic, turn);
    }
    this.#turnSoon(topic);
    return queueOfTurn(
      queues,
      turn,
      (address) => this.#links.get(address)?.lastError !== undefined,
    );
  }

  readonly #turning = new Set<string>();

  #turnSoon(topic: string): void {
    if (this.#turning.has(topic)) return;
    this.#turning.add(topic);
    queueMicrotask(() => {
      this.#turning.delete(topic);
      this.#turns.set(topic, (this.#turns.get(topic) ?? 0) + 1);
    });
  }

  #sender(topic: string, { broker, queueId, address }: RouteQueue): QueueSender {
    const key = `${topic} ${broker} ${queueId} ${address}`;
    let sender = this.#senders.get(key);
    if (sender === undefined) {
      sender = new QueueSender(
        { topic, broker, queueId },
        {
          link: this.#link(address),
          nowMs: () => this.#clock.nowMs(),
          retryLater: (one) => {
            this.#clock.setTimer(RETRY_MS, () => one.retry());
          },
        },
      );
      this.#senders.set(key, sender);
    }
    return sender;
  }

  #link(address: string): ProduceLink {
    let link = this.#links.get(address);
    if (link === undefined) {
      const modules = { clock: this.#clock, events: this.#events };
      link = new ProduceLink(this.#channels.get(address), modules, {
        down: () => this.#moveFrom(address),
        drained: () => {},
      });
      this.#links.set(address, link);
    }
    return link;
  }

  /** A broker cannot be reached: what has not left for it, and need not go there, goes to others. */
  #moveFrom(address: string): void {
    const reachable = (one: RouteQueue): boolean =>
      one.address !== address && this.#links.get(one.address)?.lastError === undefined;
    const senders = [...this.#senders.values()].filter(({ link }) => link.address === address);
    const movable = senders.filter(({ topic }) =>
      this.#routes.known(topic)?.queues.some(reachable),
    );
    if (movable.length === 0) return;
    this.#links.get(address)?.takeUnsent();
    for (const sender of senders) {
      const items = sender.takeMovable();
      const route = this.#routes.known(sender.topic);
      for (const item of items) {
        const queue =
          route === undefined ? undefined : this.#choose(sender.topic, route, item.message);
        (queue === undefined ? sender : this.#sender(sender.topic, queue)).add(item);
      }
      sender.retry();
    }
  }

  /** Waits until everything under way has its outcome, but at most so long, and closes the connections. */
  async close(options: { readonly drainMs?: number } = {}): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const untilMs = this.#clock.monotonicMs() + (options.drainMs ?? this.#options.deadlineMs);
    while (this.#bytes + this.#later > 0 && this.#clock.monotonicMs() < untilMs) {
      await this.#room(untilMs - this.#clock.monotonicMs(), undefined).catch(() => {});
    }
    for (const sender of this.#senders.values()) sender.expire(Number.POSITIVE_INFINITY);
    this.#sweep.cancel();
    for (const link of this.#links.values()) link.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function encoded<Value>(topic: TopicHandle<Value>, message: OutgoingValue<Value>): OutgoingMessage {
  const { value, ...rest } = message;
  const key = topic.key?.(value);
  const keys = key === undefined ? rest.keys : [key, ...(rest.keys ?? [])];
  return { ...rest, body: topic.body.encode(value), ...(keys === undefined ? {} : { keys }) };
}

function invalidBody({ body }: OutgoingMessage): MqError | undefined {
  const length = typeof body === 'string' ? Buffer.byteLength(body) : body.length;
  if (length === 0) {
    return new MqError('BODY_EMPTY', 'the message has an empty body; give it at least one byte');
  }
  if (length > BODY_BYTES_MAX) {
    return new MqError(
      'BODY_TOO_LARGE',
      `the body has ${length} bytes, and may have 4 MiB (4194304)`,
    );
  }
  return undefined;
}
