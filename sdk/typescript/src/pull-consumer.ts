// Reads queues by offset, with the offsets in the application's hands. Changes nothing on the broker, but for offsets
// that are committed for a group.

import { type CallOptions, CallTime } from './call-time.ts';
import { type Clock, pause, randomBelow } from './clock.ts';
import { abortedError, closedError, isMqError, MqError } from './errors.ts';
import type { QueueId, StartPoint } from './message.ts';
import { ReceivedMessage } from './received-message.ts';
import type { Routes } from './routes.ts';
import type { TopicHandle } from './topic-handle.ts';
import type { Channels } from './transport/channels.ts';
import { broker } from './transport/methods.ts';
import { targetOf } from './transport/subscription-opening.ts';
import { readPull } from './wire/delivery.ts';

/** What a broker's answer may take beyond the time that it shall wait, in milliseconds. */
const CALL_MS = 5000;
const LONG_POLL_MS = 5000;
const RETRY_MS = 200;
const BYTES_MAX = 1 << 20;
/** How long the advice to read from a slave is not taken after one has failed, in milliseconds. */
const SLAVE_FAILED_MS = 30_000;

/** A queue of a topic. */
export interface TopicQueue extends QueueId {
  readonly topic: string;
}

/** Keeps, in the application's hands, how far each queue was read. */
export interface OffsetStore {
  /** The offset that `store` was given last for a queue; undefined when it never was. */
  load(queue: TopicQueue): number | undefined | Promise<number | undefined>;
  /** Keeps the offset that is to be read next. */
  store(queue: TopicQueue, offset: number): void | Promise<void>;
}

/** How a pull consumer reads. */
export interface PullConsumerOptions {
  /** Which messages, by tag. Default: `*`. */
  readonly tags?: string;
  /** An SQL-92 condition over properties, TAGS and KEYS that the messages meet besides. */
  readonly sql?: string;
  /**
   * Where the application itself keeps how far it is: `assignTopic` goes on from there, and `commit()` stores it. So each
   * member of a broadcast may keep its own progress, without a group.
   */
  readonly offsets?: OffsetStore;
}

interface Position {
  readonly queue: TopicQueue;
  /** Of the broker group's master. */
  address: string;
  offset: number;
  paused: boolean;
  /** Where the queue is read, as long as that is not the master. */
  slave?: string | undefined;
  /** Monotonic time before which it is read from no slave that the master names. */
  notFromSlaveUntilMs?: number;
  /** What the application's store has. */
  stored?: number;
}

/** How many messages to wait for, and how long. */
export interface PollOptions {
  /** Most messages. Default: 32. */
  readonly max?: number;
  /**
   * How long to wait for the first one, in milliseconds; brokers that do not answer can take 5 s more. Default: 5,000.
   */
  readonly waitMs?: number;
  /** Ends the call early, with the error ABORTED. */
  readonly signal?: AbortSignal | undefined;
}

/** Reads queues by offset; made by `Client.pullConsumer`. */
export class PullConsumer implements AsyncDisposable {
  readonly #options: PullConsumerOptions;
  readonly #routes: Routes;
  readonly #channels: Channels;
  readonly #clock: Clock;
  readonly #positions = new Map<string, Position>();
  readonly #handles = new Map<string, TopicHandle<unknown>>();
  readonly #closing = new AbortController();
  /** Topics that are read with their offsets in the application's hands: also the queues that they get later. */
  readonly #followed = new Map<string, () => void>();
  /** Those of them whose route has changed. */
  readonly #grown = new Set<string>();
  #turn = 0;

  constructor(
    options: PullConsumerOptions,
    modules: { routes: Routes; channels: Channels; clock: Clock },
  ) {
    this.#options = options;
    this.#routes = modules.routes;
    this.#channels = modules.channels;
    this.#clock = modules.clock;
  }

  /** Reads these queues from these offsets, and no others any more. */
  async assign(
    queues: readonly (TopicQueue & { readonly offset: number })[],
    options: CallOptions = {},
  ): Promise<void> {
    const time = new CallTime(this.#clock, options);
    const found = await Promise.all(
      queues.map(async ({ topic, broker: name, queueId, offset }) => ({
        queue: { topic, broker: name, queueId },
        address: await this.#address({ topic, broker: name, queueId }, time),
        offset,
        paused: false,
      })),
    );
    this.#positions.clear();
    for (const topic of this.#followed.keys()) this.#unfollow(topic);
    for (const position of found) this.#positions.set(queueKey(position.queue), position);
  }

  /** Reads one more queue from an offset on, once it is resumed. For those who are assigned queues one by one. */
  include(
    queue: TopicQueue,
    from: { readonly address: string; readonly offset: number },
    handle?: TopicHandle<unknown>,
  ): void {
    if (handle !== undefined) this.#handles.set(queue.topic, handle);
    this.#positions.set(queueKey(queue), { queue, ...from, paused: true });
  }

  /** Does not read a queue any more; what was being read of it is dropped. */
  exclude(queue: TopicQueue): void {
    this.#positions.delete(queueKey(queue));
  }

  /**
   * Reads all queues that a topic has now, from a place on, beside what is read already. With the option `offsets` it
   * goes on where that says in the queues that it knows; what retention has taken meanwhile is passed over. Queues that
   * the topic gets later are then read too, from their first message on, within 5 s.
   */
  async assignTopic<Value>(
    topic: string | TopicHandle<Value>,
    from: StartPoint = 'first',
    options: CallOptions = {},
  ): Promise<TopicQueue[]> {
    const time = new CallTime(this.#clock, options);
    const name = typeof topic === 'string' ? topic : topic.name;
    if (typeof topic !== 'string') this.#handles.set(name, topic as TopicHandle<unknown>);
    const { queues } = await this.#routes.find(name, time);
    const addresses = new Map(queues.map((queue) => [queue.broker, queue.address]));
    const assigned: TopicQueue[] = [];
    for (const [brokerName, address] of addresses) {
      const { offsets } = await this.#channels
        .get(address)
        .unary(broker.queryOffset, { topic: name, target: targetOf(from) }, time);
      for (const { queueId, offset } of offsets) {
        const queue = { topic: name, broker: brokerName, queueId };
        const position = { queue, address, offset: Number(offset), paused: false };
        await this.#goOn(position, time);
        this.#positions.set(queueKey(queue), position);
        assigned.push(queue);
      }
    }
    if (this.#options.offsets !== undefined && !this.#followed.has(name)) {
      const grown = (): void => void this.#grown.add(name);
      this.#followed.set(name, this.#routes.listen(name, grown));
      // What came since the queues were asked for.
      grown();
    }
    return assigned;
  }

  /** Moves a position to where the application's store says; it stays when that does not know the queue. */
  async #goOn(position: Position, time: CallTime): Promise<void> {
    const kept = await this.#options.offsets?.load(position.queue);
    if (kept === undefined) return;
    const begin = await this.#offsetAt(position, 'first', time);
    const end = await this.#offsetAt(position, 'last', time);
    // Behind the end: the topic was deleted and created anew.
    position.offset = kept >= begin && kept <= end ? kept : begin;
  }

  /** Reads the queues that followed topics have got. */
  async #takeGrown(time: CallTime): Promise<void> {
    for (const topic of this.#grown) {
      for (const { broker: name, queueId, address } of this.#routes.known(topic)?.queues ?? []) {
        const queue = { topic, broker: name, queueId };
        if (this.#positions.has(queueKey(queue))) continue;
        const position = { queue, address, offset: 0, paused: false };
        await this.#goOn(position, time);
        if (this.#followed.has(topic)) this.#positions.set(queueKey(queue), position);
      }
      this.#grown.delete(topic);
    }
  }

  #unfollow(topic: string): void {
    this.#followed.get(topic)?.();
    this.#followed.delete(topic);
    this.#grown.delete(topic);
  }

  /** The queues that are read. */
  get assigned(): TopicQueue[] {
    return [...this.#positions.values()].map(({ queue }) => queue);
  }

  /** The offset that is read next. Throws QUEUE_NOT_ASSIGNED. */
  position(queue: TopicQueue): number {
    return this.#position(queue).offset;
  }

  /** Reads on from an offset, or from a place in the queue. */
  async seek(queue: TopicQueue, to: number | StartPoint, options: CallOptions = {}): Promise<void> {
    const position = this.#position(queue);
    position.offset =
      typeof to === 'number'
        ? to
        : await this.#offsetAt(position, to, new CallTime(this.#clock, options));
  }

  /** As `seek` to an offset, at once. Throws QUEUE_NOT_ASSIGNED. */
  move(queue: TopicQueue, offset: number): void {
    this.#position(queue).offset = offset;
  }

  /** The offset of the first message that a queue got at or after a time; behind the newest when there is none. */
  offsetForTime(queue: TopicQueue, time: Date, options: CallOptions = {}): Promise<number> {
    return this.#offsetAt(this.#position(queue), time, new CallTime(this.#clock, options));
  }

  /** Does not read these queues until `resume`. */
  pause(queues: readonly TopicQueue[]): void {
    for (const queue of queues) this.#position(queue).paused = true;
  }

  /** Reads these queues again. */
  resume(queues: readonly TopicQueue[]): void {
    for (const queue of queues) this.#position(queue).paused = false;
  }

  /** Messages of the assigned queues by turns, or none when nothing has come in time. */
  async poll<Value = unknown>(options: PollOptions = {}): Promise<ReceivedMessage<Value>[]> {
    const { max = 32, waitMs = LONG_POLL_MS, signal } = options;
    const untilMs = this.#clock.monotonicMs() + waitMs;
    const closing = this.#closing.signal;
    const either = signal === undefined ? closing : AbortSignal.any([signal, closing]);
    if (closing.aborted) throw closedError('pull consumer');
    const time = new CallTime(this.#clock, { deadlineMs: waitMs + CALL_MS, signal: either });
    for (;;) {
      if (closing.aborted) throw closedError('pull consumer');
      if (signal?.aborted) throw abortedError(signal);
      if (this.#grown.size > 0) await this.#takeGrown(time);
      const active = [...this.#positions.values()].filter(({ paused }) => !paused);
      if (active.length === 0) {
        throw new MqError('NOTHING_ASSIGNED', 'assign queues before polling, or resume some');
      }
      // All queues are asked at once without waiting; only when none has anything one of them is waited on.
      for (let step = 0; step < active.length; step++) {
        const position = active[this.#turn++ % active.length] as Position;
        const messages = await this.#read<Value>(position, max, 0, time);
        if (messages.length > 0) return messages;
        if (time.deadlineMs === 0) return [];
      }
      const leftMs = untilMs - this.#clock.monotonicMs();
      if (leftMs <= 0) return [];
      const messages = await this.#waitForAny<Value>(active, max, leftMs, time);
      if (messages.length > 0) return messages;
      if (this.#clock.monotonicMs() >= untilMs) return [];
    }
  }

  /** Long-polls all queues at once; the first that has something wins, and the others read nothing. */
  async #waitForAny<Value>(
    active: readonly Position[],
    max: number,
    waitMs: number,
    { deadlineMs, signal }: CallTime,
  ): Promise<ReceivedMessage<Value>[]> {
    const won = new AbortController();
    const signals = signal === undefined ? [won.signal] : [signal, won.signal];
    const time = new CallTime(this.#clock, { deadlineMs, signal: AbortSignal.any(signals) });
    let first: ReceivedMessage<Value>[] = [];
    const wins = (): boolean => {
      if (won.signal.aborted) return false;
      won.abort();
      return true;
    };
    const reads = await Promise.allSettled(
      active.map(async (position) => {
        const wait = Math.min(LONG_POLL_MS, waitMs);
        const messages = await this.#read<Value>(position, max, wait, time, wins).catch((error) => {
          if (won.signal.aborted) return [];
          throw error;
        });
        if (messages.length > 0) first = messages;
      }),
    );
    // What was read is given out even when another queue has failed meanwhile: its position has moved.
    const failed = reads.find((read) => read.status === 'rejected');
    if (first.length === 0 && failed !== undefined) throw failed.reason;
    return first;
  }

  /** @param takes may the position move behind these messages? When not, none were read */
  async #read<Value>(
    position: Position,
    max: number,
    waitMs: number,
    time: CallTime,
    takes: () => boolean = () => true,
  ): Promise<ReceivedMessage<Value>[]> {
    const { queue, offset } = position;
    const { topic, queueId, broker: brokerName } = queue;
    let bytes: Buffer;
    try {
      bytes = await this.#channels.get(position.slave ?? position.address).unaryBytes(
        broker.pull,
        {
          topic,
          queueId,
          offset: BigInt(offset),
          messagesMax: Math.min(4096, max),
          bytesMax: BYTES_MAX,
          waitMs: Math.floor(waitMs),
          tags: this.#options.tags ?? '',
          sql: this.#options.sql ?? '',
        },
        time.atMost(waitMs + CALL_MS),
      );
    } catch (error) {
      if (!isMqError(error) || time.signal?.aborted) throw error;
      if (position.slave !== undefined) {
        // Whatever it says, the master may know better.
        position.slave = undefined;
        position.notFromSlaveUntilMs = this.#clock.monotonicMs() + SLAVE_FAILED_MS;
      } else if (!error.retryable) throw error;
      else position.slave = this.#slaveOf(position);
      // The broker is away: it may come back, or elsewhere.
      await pause(this.#clock, Math.min(RETRY_MS, time.deadlineMs), time.signal);
      position.address = await this.#address(queue, time).catch(() => position.address);
      return [];
    }
    // Meanwhile the application may have moved the position, stopped the queue or taken it away: then nothing was read.
    const current = this.#positions.get(queueKey(queue)) === position;
    if (!current || position.paused || position.offset !== offset) return [];
    const { records, nextOffset, readAt } = readPull(bytes);
    if (records.length > 0 && !takes()) return [];
    position.offset = nextOffset;
    if (readAt !== '') this.#goTo(position, readAt);
    const handle = this.#handles.get(topic) as TopicHandle<Value> | undefined;
    const place = { topic, broker: brokerName, attempt: 1 };
    return records.map((slice) => new ReceivedMessage<Value>(slice, place, handle));
  }

  /** Who has the queue while the master is away: it says what the master had confirmed, and when the master is there again. */
  #slaveOf({ queue, notFromSlaveUntilMs = 0 }: Position): string | undefined {
    if (this.#clock.monotonicMs() < notFromSlaveUntilMs) return undefined;
    const groups = this.#routes.known(queue.topic)?.groups ?? [];
    const slaves = groups.find(({ broker: name }) => name === queue.broker)?.slaves ?? [];
    return slaves[randomBelow(slaves.length)];
  }

  /** Reads a queue elsewhere from now on: a slave sends back to the master. */
  #goTo(position: Position, readAt: string): void {
    const { slave, notFromSlaveUntilMs = 0 } = position;
    const takesAdvice = this.#clock.monotonicMs() >= notFromSlaveUntilMs;
    position.slave = slave === undefined && takesAdvice ? readAt : undefined;
  }

  /**
   * The messages one after the other; ends when the consumer is closed or the signal aborts. A queue's position is
   * behind the message that was given last, so that `commit` in the loop keeps what was worked on, and no more.
   */
  async *messages<Value = unknown>(
    options: Pick<PollOptions, 'signal'> = {},
  ): AsyncGenerator<ReceivedMessage<Value>> {
    const over = (): boolean => this.#closing.signal.aborted || options.signal?.aborted === true;
    while (!over()) {
      const batch = await this.poll<Value>({ max: 256, ...options }).catch((error: unknown) => {
        if (over()) return [];
        throw error;
      });
      const [first] = batch;
      const position = first && this.#positions.get(queueKey(first));
      if (position !== undefined) yield* this.#oneByOne(position, batch, over);
    }
  }

  /** Gives a batch of one queue, up to where the application seeks, pauses or takes the queue away. */
  *#oneByOne<Value>(
    position: Position,
    batch: readonly ReceivedMessage<Value>[],
    over: () => boolean,
  ): Generator<ReceivedMessage<Value>> {
    const behindBatch = position.offset;
    let expected = batch[0]?.offset ?? behindBatch;
    position.offset = expected;
    for (const message of batch) {
      const current = this.#positions.get(queueKey(message)) === position && !position.paused;
      if (!current || position.offset !== expected || over()) return;
      expected = message.offset + 1;
      position.offset = expected;
      yield message;
    }
    if (position.offset === expected) position.offset = behindBatch;
  }

  /** Keeps the positions of all queues in the application's store. Throws INVALID_OPTION without the option `offsets`. */
  commit(): Promise<void>;
  /** Keeps the positions of all queues as progress of a group, on the brokers; to its members that is a reset. */
  commit(group: string, options?: CallOptions): Promise<void>;
  async commit(group?: string, options: CallOptions = {}): Promise<void> {
    if (group === undefined) return this.#store();
    const time = new CallTime(this.#clock, options);
    const commits = new Map<string, { address: string; topic: string; offsets: Position[] }>();
    for (const position of this.#positions.values()) {
      const key = `${position.queue.topic} ${position.address}`;
      const entry = commits.get(key) ?? {
        address: position.address,
        topic: position.queue.topic,
        offsets: [],
      };
      entry.offsets.push(position);
      commits.set(key, entry);
    }
    for (const { address, topic, offsets } of commits.values()) {
      const list = offsets.map(({ queue, offset }) => ({
        queueId: queue.queueId,
        offset: BigInt(offset),
      }));
      await this.#channels
        .get(address)
        .unary(broker.commitOffset, { group, topic, offsets: list }, time);
    }
  }

  async #store(): Promise<void> {
    const { offsets } = this.#options;
    if (offsets === undefined) {
      throw new MqError(
        'INVALID_OPTION',
        'say which group to commit for, or make the consumer with the option offsets',
      );
    }
    for (const position of [...this.#positions.values()]) {
      if (position.stored === position.offset) continue;
      const { offset } = position;
      await offsets.store(position.queue, offset);
      position.stored = offset;
    }
  }

  /** Reads on where a group's progress stands; queues without progress stay where they are. */
  async seekToCommitted(group: string, options: CallOptions = {}): Promise<void> {
    const time = new CallTime(this.#clock, options);
    const topics = new Set([...this.#positions.values()].map(({ queue }) => queue.topic));
    for (const topic of topics) {
      const positions = [...this.#positions.values()].filter(({ queue }) => queue.topic === topic);
      for (const address of new Set(positions.map((one) => one.address))) {
        const { queues } = await this.#channels
          .get(address)
          .unary(broker.getOffset, { group, topic }, time)
          .catch((error: unknown) => {
            if (isMqError(error, 'GROUP_NOT_FOUND')) return { queues: [] };
            throw error;
          });
        for (const position of positions) {
          const progress = queues.find(({ queueId }) => queueId === position.queue.queueId);
          if (position.address === address && progress !== undefined) {
            position.offset = Number(progress.floorOffset);
          }
        }
      }
    }
  }

  async #offsetAt({ queue, address }: Position, to: StartPoint, time: CallTime): Promise<number> {
    const { topic, queueId } = queue;
    const { offsets } = await this.#channels
      .get(address)
      .unary(broker.queryOffset, { topic, queueId, target: targetOf(to) }, time);
    return Number(offsets[0]?.offset ?? 0n);
  }

  async #address({ topic, broker: name, queueId }: TopicQueue, time: CallTime): Promise<string> {
    const { queues } = await this.#routes.find(topic, time);
    const queue = queues.find((one) => one.broker === name && one.queueId === queueId);
    if (queue !== undefined) return queue.address;
    throw new MqError(
      'QUEUE_NOT_FOUND',
      `topic ${topic} has no queue ${queueId} on broker ${name}`,
    );
  }

  #position(queue: TopicQueue): Position {
    const position = this.#positions.get(queueKey(queue));
    if (position !== undefined) return position;
    throw new MqError(
      'QUEUE_NOT_ASSIGNED',
      `queue ${queue.queueId} of ${queue.topic} on ${queue.broker} is not read; assign it first`,
    );
  }

  /** Stops reading. */
  close(): void {
    for (const topic of this.#followed.keys()) this.#unfollow(topic);
    this.#closing.abort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }
}

/** Names a queue among all. */
export function queueKey({ topic, broker: name, queueId }: TopicQueue): string {
  return `${topic} ${name} ${queueId}`;
}
