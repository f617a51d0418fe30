// Consumes as a member of a group: a handler for each message, an async iterator, or single batches.

import type { Clock } from './clock.ts';
import { newConsumerId } from './consumer-id.ts';
import { DeliveredMessage, leaseFinder } from './delivered-message.ts';
import { abortedError, closedError, MqError } from './errors.ts';
import type { Events } from './events.ts';
import { FrameConsumer, type FrameHandler } from './frame-consumer.ts';
import { HandlerRun, type MessageHandler } from './handler-run.ts';
import type { RetriedStretch } from './key-order.ts';
import type { StartPoint, SubscriptionFilter } from './message.ts';
import { MessageStream } from './message-stream.ts';
import { receiveBatch } from './receive.ts';
import type { Routes } from './routes.ts';
import type { SubscriptionLink } from './subscription-link.ts';
import { SubscriptionSet } from './subscription-set.ts';
import type { TopicHandle } from './topic-handle.ts';
import type { Channels } from './transport/channels.ts';
import { UnarySettler } from './unary-settler.ts';
import { type Wanted, wantedOf } from './wanted.ts';
import type { DeliveredFrame } from './wire/delivery.ts';
import { recordPlace } from './wire/record-place.ts';

/** How a consumer consumes. */
export interface ConsumerOptions {
  /** Where a group that has no progress yet starts. Default: `last`, behind the newest message. */
  readonly from?: StartPoint;
  /** One member of the group gets a message, or every one. Default: `clustering`. */
  readonly mode?: 'clustering' | 'broadcasting';
  /**
   * Messages with the same ordering key are handled one after the other, across all members of the group; a failed one holds
   * back its own key only. `true` or `false` counts on the group being so: a new group becomes it, another one is refused
   * (GROUP_ORDER_MISMATCH). With `run`, `runFrames` and `receive`. Default: a new group is not ordered, an old one as it is.
   */
  readonly ordered?: boolean;
  /** Handlers that run at the same time. Default: 16. */
  readonly concurrency?: number;
  /** What may be delivered ahead of the handlers, in each broker's stream. Default: 512 messages, 8 MiB. */
  readonly prefetch?: { readonly messages?: number; readonly bytes?: number };
  /** How long a message may stay unsettled, in milliseconds, 1 s to 12 h. Default: the group's (60 s). */
  readonly leaseMs?: number;
  /** Names the consumer in its group. Default: the client's name and a random part; set it for broadcasting. */
  readonly consumerId?: string;
}

/** What consumers use. */
export interface ConsumerModules {
  readonly routes: Routes;
  readonly channels: Channels;
  readonly clock: Clock;
  readonly events: Events;
  /** Names the client. */
  readonly clientId: string;
}

/** The options with their defaults. */
export interface ConsumerSettings {
  readonly group: string;
  readonly from: StartPoint;
  readonly broadcasting: boolean;
  readonly ordered: boolean | undefined;
  readonly concurrency: number;
  readonly prefetch: { readonly messages: number; readonly bytes: number };
  readonly leaseMs: number;
  readonly consumerId: string;
}

const DEFAULT_PREFETCH = { messages: 512, bytes: 8 << 20 };
/** A lease that the group decides is extended as if it were this long, in milliseconds. */
const LEASE_MS_ASSUMED = 60_000;

/** A member of a consumer group; made by `Client.consumer`. */
export class Consumer implements AsyncDisposable {
  readonly #settings: ConsumerSettings;
  readonly #modules: ConsumerModules;
  readonly #topics = new Map<string, Wanted>();
  readonly #handles = new Map<string, TopicHandle<unknown>>();
  readonly #closers = new Set<(drainMs: number) => Promise<void>>();
  readonly #settler: UnarySettler;
  #receiveTurn = 0;
  #running = false;
  #closed: Promise<void> | undefined;

  constructor(group: string, options: ConsumerOptions, modules: ConsumerModules) {
    this.#settings = {
      group,
      from: options.from ?? 'last',
      broadcasting: options.mode === 'broadcasting',
      ordered: options.ordered,
      concurrency: options.concurrency ?? 16,
      prefetch: { ...DEFAULT_PREFETCH, ...options.prefetch },
      leaseMs: options.leaseMs ?? 0,
      consumerId: options.consumerId ?? newConsumerId(modules.clientId),
    };
    this.#modules = modules;
    this.#settler = new UnarySettler(group, modules);
  }

  /** The name of this consumer in its group. */
  get consumerId(): string {
    return this.#settings.consumerId;
  }

  /**
   * Wants a topic's messages; before `run`, `stream` or `receive`.
   *
   * All members of a group must want the same.
   *
   * @param filter which of them; all when absent
   */
  subscribe<Value>(topic: string | TopicHandle<Value>, filter: SubscriptionFilter = '*'): this {
    if (this.#running) {
      throw new MqError(
        'ALREADY_RUNNING',
        'subscribe before the consumer runs, or make another one',
      );
    }
    const name = typeof topic === 'string' ? topic : topic.name;
    this.#topics.set(name, wantedOf(filter));
    if (typeof topic !== 'string') this.#handles.set(name, topic as TopicHandle<unknown>);
    return this;
  }

  /**
   * Calls a handler for every message. Returning acknowledges, throwing asks for another delivery after the group's
   * back-off, `RetryAfter` after a given time, `Reject` gives the message up. Leases are extended while the handler
   * works.
   */
  run<Value = unknown>(handler: MessageHandler<Value>): HandlerRun<Value> {
    this.#start();
    const run = new HandlerRun<Value>(handler, {
      concurrency: this.#settings.concurrency,
      leaseMs: this.#settings.leaseMs || LEASE_MS_ASSUMED,
      ordered: this.#settings.ordered ?? false,
      clock: this.#modules.clock,
      events: this.#modules.events,
    });
    const set = this.#open((message, credit) => {
      run.add(message as DeliveredMessage<Value>, credit);
    }, run);
    run.onClose = async (drainMs) => {
      await run.drain(drainMs);
      await set.close();
    };
    this.#closers.add((drainMs) => run.close({ drainMs }));
    return run;
  }

  /**
   * The messages one after the other; settle each with `ack()`, `retry()` or `reject()`. Leases are extended while
   * messages wait here for their turn; who works longer on one than the lease lasts calls `extend`.
   */
  stream<Value = unknown>(
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): MessageStream<Value> {
    if (this.#settings.ordered) {
      throw new MqError(
        'INVALID_OPTION',
        'an ordered consumer cannot stream: what is settled late would come out of order; use run or receive',
      );
    }
    this.#start();
    const stream = new MessageStream<Value>({
      signal: options.signal,
      leaseMs: this.#settings.leaseMs || LEASE_MS_ASSUMED,
      clock: this.#modules.clock,
    });
    const set = this.#open((message, credit) => {
      stream.add(message as DeliveredMessage<Value>, credit);
    }, stream);
    stream.onClose = () => set.close();
    this.#closers.add(() => stream.close());
    return stream;
  }

  /**
   * A batch of messages, or none when nothing has come in time. Settle each.
   *
   * @param options.max most messages. Default: 32
   * @param options.waitMs how long to wait for the first one, in milliseconds. Default: 5,000
   */
  async receive<Value = unknown>(
    options: {
      readonly max?: number;
      readonly waitMs?: number;
      readonly signal?: AbortSignal | undefined;
    } = {},
  ): Promise<DeliveredMessage<Value>[]> {
    if (this.#closed !== undefined) throw closedError('consumer');
    if (options.signal?.aborted) throw abortedError(options.signal);
    return receiveBatch<Value>({
      settings: this.#settings,
      topics: this.#topics,
      handles: this.#handles as ReadonlyMap<string, TopicHandle<Value>>,
      modules: this.#modules,
      settler: this.#settler,
      turn: this.#receiveTurn++,
      max: options.max ?? 32,
      waitMs: options.waitMs ?? 5000,
      signal: options.signal,
    });
  }

  /**
   * For those who take so much that an object for each message is too dear: calls with every delivered frame, and
   * acknowledges it when the call returns.
   */
  runFrames(handler: FrameHandler): FrameConsumer {
    this.#start();
    const frames = new FrameConsumer(handler);
    const set = new SubscriptionSet(this.#settings, this.#topics, this.#modules, {
      delivered: (frame, link) => frames.take(frame, link),
      refused: (error) => frames.fail(error),
    });
    frames.onClose = () => set.close();
    this.#closers.add(() => frames.close());
    return frames;
  }

  #start(): void {
    if (this.#closed !== undefined) throw closedError('consumer');
    if (this.#running) {
      throw new MqError('ALREADY_RUNNING', 'a consumer runs once; make another one');
    }
    if (this.#topics.size === 0) {
      throw new MqError('INVALID_OPTION', 'subscribe to a topic before the consumer runs');
    }
    this.#running = true;
  }

  #open(
    take: (message: DeliveredMessage, credit: () => void) => void,
    target: {
      fail(error: MqError): void;
      retried?(broker: string, stretches: readonly RetriedStretch[]): void;
      opened?(broker: string): void;
    },
  ): SubscriptionSet {
    return new SubscriptionSet(this.#settings, this.#topics, this.#modules, {
      delivered: (frame, link) => this.#deliver(frame, link, take),
      retried: (stretches, link) => target.retried?.(link.broker, stretches),
      opened: (link) => target.opened?.(link.broker),
      refused: (error) => target.fail(error),
    });
  }

  #deliver(
    frame: DeliveredFrame,
    link: SubscriptionLink,
    take: (message: DeliveredMessage, credit: () => void) => void,
  ): void {
    const find = leaseFinder(frame.leases);
    const settle = link.settle.bind(link);
    const delivered = frame.records.map((slice) => {
      const { topicId, queueId, offset } = recordPlace(slice);
      const bytes = slice.end - slice.start;
      const lease = find(topicId, queueId, offset);
      if (lease === undefined) return { bytes };
      const topic = link.topicOf(topicId);
      const place = { topic, broker: link.broker, attempt: lease.attempt };
      const handle = this.#handles.get(topic);
      return { bytes, message: new DeliveredMessage(slice, place, lease, settle, handle) };
    });
    for (const { bytes, message } of delivered) {
      // Without a lease it is not this consumer's; its credit goes back.
      if (message === undefined) link.credit(1, bytes);
      else take(message, () => link.credit(1, bytes));
    }
  }

  /**
   * Stops deliveries, lets handlers finish, settles, and hands the rest back.
   *
   * @param options.drainMs how long handlers may take, in milliseconds. Default: 10,000
   */
  close(options: { readonly drainMs?: number } = {}): Promise<void> {
    this.#closed ??= this.#close(options.drainMs ?? 10_000);
    return this.#closed;
  }

  async #close(drainMs: number): Promise<void> {
    await Promise.all([...this.#closers].map((close) => close(drainMs)));
    await this.#settler.drain(drainMs);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
