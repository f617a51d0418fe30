import { create, toBinary } from '@bufbuild/protobuf';
import { GroupSchema, TopicSchema } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import {
  LeasedSchema,
  ProducersExpiredSchema,
  ProgressSetSchema,
  ProgressStartedSchema,
  QueuesTrimmedSchema,
  SettledOutcome,
  SettledSchema,
} from '@ternmq/proto/gen/ternmq/log/v1/log_pb';
import { MessageSchema } from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import { createLogger, type Disk, type ManualClock, nodeDisk, type Random } from '@ternmq/runtime';
import { OffsetFinder } from '../../services/broker/src/delivery/offsets.ts';
import { DiskGuard } from '../../services/broker/src/disk-guard.ts';
import type { CommitLog } from '../../services/broker/src/log/commit-log.ts';
import { LOG_DEFAULTS } from '../../services/broker/src/log/log-options.ts';
import { Retention } from '../../services/broker/src/retention.ts';
import type { BrokerState } from '../../services/broker/src/state/broker-state.ts';
import type { TopicProgress } from '../../services/broker/src/state/groups.ts';
import { Table, tableEnd, tableStart } from '../../services/broker/src/state/keys.ts';
import { MESSAGE_AT, NO_HOST } from '../../services/broker/src/state/message-record.ts';
import { keyHashOfMessage, tagHashOfMessage } from '../../services/broker/src/state/message-tag.ts';
import { type OpenedState, openState } from '../../services/broker/src/state/open-state.ts';
import { CHUNK_ENTRIES, entryKeyHash, type Queue } from '../../services/broker/src/state/queue.ts';
import { StateLog } from '../../services/broker/src/state/state-log.ts';
import { StateWriter } from '../../services/broker/src/state/state-writer.ts';
import type { StateStore } from '../../services/broker/src/state/store.ts';
import type { Topic } from '../../services/broker/src/state/topics.ts';

const RETENTION_MS = 20_000;

/** How a rig is opened. */
export interface RigOptions {
  readonly folder: string;
  readonly clock: ManualClock;
  readonly openStore: (folder: string) => StateStore;
  readonly segmentBytes?: number;
  readonly disk?: Disk;
}

/** Log, state, store, writer and retention of a broker, without what serves clients. */
export class StateRig {
  readonly opened: OpenedState;
  readonly log: CommitLog;
  readonly state: BrokerState;
  readonly stateLog: StateLog;
  readonly writer: StateWriter;
  readonly retention: Retention;
  readonly guard: DiskGuard;

  private constructor(opened: OpenedState, guard: DiskGuard, clock: ManualClock) {
    const { log, state, store } = opened;
    this.opened = opened;
    this.log = log;
    this.state = state;
    this.guard = guard;
    this.stateLog = new StateLog(log, state, clock);
    const failed = (error: Error): void => {
      throw error;
    };
    this.writer = new StateWriter(opened.storePosition, { log, state, store, clock }, failed);
    log.observe({ advanced: () => this.stateLog.advanced(), failed });
    this.retention = new Retention(
      { retentionMs: RETENTION_MS, retentionBytes: Number.POSITIVE_INFINITY, intervalMs: 60_000 },
      {
        stateLog: this.stateLog,
        store,
        writer: this.writer,
        offsets: new OffsetFinder({ log, state }),
        guard,
        clock,
        logger: quiet,
      },
    );
  }

  static async open(options: RigOptions): Promise<StateRig> {
    const { folder, clock, openStore } = options;
    const disk = options.disk ?? nodeDisk;
    const opened = await openState(
      { ...LOG_DEFAULTS, folder, segmentBytes: options.segmentBytes ?? 64 << 10, slabs: 2 },
      { disk, clock, logger: quiet, openStore },
    );
    const guard = await DiskGuard.create(folder, { disk, clock, log: opened.log, logger: quiet });
    return new StateRig(opened, guard, clock);
  }

  async close(): Promise<void> {
    await this.retention.close();
    await this.writer.close();
    await this.crash();
  }

  /** Closes without writing the state to the store. */
  async crash(): Promise<void> {
    this.writer.abandon();
    this.guard.close();
    await this.log.close();
    await this.opened.store.close();
  }

  /** A message's bytes as they lie in the log. */
  async read(queue: Queue, offset: number): Promise<Buffer | undefined> {
    const { position, length } = this.state.locate(queue, offset);
    if (length === 0) return undefined;
    if (this.log.find(position, length) === undefined) await this.log.load(position, length);
    return this.log.find(position, length);
  }

  /**
   * Everything the state holds, comparable: rows of all small tables, and of every queue what its index says from its
   * begin on.
   */
  async dump(): Promise<Record<string, unknown>> {
    const { state } = this;
    const index: Record<string, unknown> = {};
    for (const topic of state.topics.all()) {
      for (const queue of topic.queues) {
        const entries: unknown[] = [];
        for (let offset = state.beginOf(queue); offset < queue.next; offset++) {
          const { position, length, tagHash } = state.locate(queue, offset);
          const chunk = state.chunk(queue, Math.floor(offset / CHUNK_ENTRIES));
          const keyHash = entryKeyHash(chunk, offset % CHUNK_ENTRIES);
          entries.push([offset, position, length, tagHash, keyHash]);
        }
        index[`${topic.id}/${queue.queueId}`] = entries;
      }
    }
    await this.writer.write();
    const rows: Record<string, string> = {};
    for (const table of [
      Table.TOPICS,
      Table.GROUPS,
      Table.QUEUES,
      Table.PROGRESS,
      Table.FLOORS,
      Table.RETRIES,
      Table.PRODUCERS,
      Table.RELOCATED,
    ]) {
      for (const { key, value } of this.opened.store.range(tableStart(table), tableEnd(table))) {
        rows[key.toString('hex')] = value.toString('hex');
      }
    }
    const { topics, groups, lastTimeMs, logStart } = state;
    const next = [topics.nextId, groups.nextId, groups.nextProgressId];
    return { rows, index, next, lastTimeMs, logStart };
  }
}

const quiet = createLogger({ level: 'silent' });

/** Does random things that a broker does, as records, and remembers what every message said. */
export class StateDriver {
  rig: StateRig;
  readonly #random: Random;
  readonly #clock: ManualClock;
  /** Bodies by topic, queue and offset. */
  readonly bodies = new Map<string, Buffer>();
  #names = 0;

  constructor(rig: StateRig, random: Random, clock: ManualClock) {
    this.rig = rig;
    this.#random = random;
    this.#clock = clock;
  }

  /** Does one thing. */
  step(): void {
    const { stateLog } = this.rig;
    const choice = this.#random.integer(100);
    if (choice < 3) this.#putTopic();
    else if (choice < 4) this.#deleteTopic();
    else if (choice < 6) this.#putGroup();
    else if (choice < 7 && this.#random.integer(4) === 0) this.#deleteGroup();
    else if (choice < 10) this.#startProgress();
    else if (choice < 50) this.#send();
    else if (choice < 65) this.#lease();
    else if (choice < 88) this.#settle();
    else if (choice < 90) this.#setProgress();
    else if (choice < 91) this.#trim();
    else if (choice < 96) this.#move();
    else if (choice < 97) {
      const producerIds = [BigInt(1 + this.#random.integer(3))];
      stateLog.change({
        case: 'producersExpired',
        value: create(ProducersExpiredSchema, { producerIds }),
      });
    } else this.#clock.advance(this.#random.integer(3000));
  }

  #pick<Item>(items: Iterable<Item>): Item | undefined {
    const all = [...items];
    return all[this.#random.integer(Math.max(1, all.length))];
  }

  #putTopic(): void {
    const { state, stateLog } = this.rig;
    const old = this.#random.integer(2) === 0 ? this.#pick(state.topics.all()) : undefined;
    if (old === undefined && state.topics.size > 5) return;
    const value = create(TopicSchema, {
      topicId: old?.id ?? state.topics.nextId,
      name: old?.name ?? `topic-${this.#names++}`,
      createdMs: BigInt(old?.createdMs ?? this.#clock.nowMs()),
      settings: {
        queues: (old?.settings.queues ?? 0) + 1 + this.#random.integer(2),
        retentionMs: 0n,
      },
    });
    stateLog.change({ case: 'topicPut', value });
  }

  #deleteTopic(): void {
    const topic = this.#pick(this.rig.state.topics.all());
    if (topic === undefined || this.#random.integer(3) > 0) return;
    this.rig.stateLog.change({
      case: 'topicDeleted',
      value: { $typeName: 'ternmq.log.v1.TopicDeleted', topicId: topic.id },
    });
  }

  #putGroup(): void {
    const { state, stateLog } = this.rig;
    if (state.groups.size > 3) return;
    const value = create(GroupSchema, {
      groupId: state.groups.nextId,
      name: `group-${this.#names++}`,
      createdMs: BigInt(this.#clock.nowMs()),
      settings: { attemptsMax: 3, retryDelaysMs: [100, 200], leaseMs: 5000 },
    });
    stateLog.change({ case: 'groupPut', value });
  }

  #deleteGroup(): void {
    const group = this.#pick(this.rig.state.groups.all());
    if (group === undefined) return;
    this.rig.stateLog.change({
      case: 'groupDeleted',
      value: { $typeName: 'ternmq.log.v1.GroupDeleted', groupId: group.id },
    });
  }

  #startProgress(): void {
    const { state, stateLog } = this.rig;
    const group = this.#pick(state.groups.all());
    const topic = this.#pick(state.topics.all());
    if (group === undefined || topic === undefined) return;
    if (state.groups.progressIn(group, topic.id, '') !== undefined) return;
    const value = create(ProgressStartedSchema, {
      progressId: state.groups.nextProgressId,
      groupId: group.id,
      topicId: topic.id,
      offsets: topic.queues.map(({ queueId, next }) => ({
        queueId,
        offset: BigInt(this.#random.integer(next + 1)),
      })),
    });
    stateLog.change({ case: 'progressStarted', value });
  }

  #message(): Buffer {
    const tag = ['', 'a', 'b'][this.#random.integer(3)] as string;
    const body = this.#random.bytes(1 + this.#random.integer(400));
    const orderingKey = ['', '', 'k', 'l'][this.#random.integer(4)] as string;
    return Buffer.from(toBinary(MessageSchema, create(MessageSchema, { body, tag, orderingKey })));
  }

  #send(): void {
    const { state, stateLog } = this.rig;
    const topic = this.#pick(state.topics.all());
    if (topic === undefined) return;
    const queue = this.#pick(topic.queues) as Queue;
    const producerId = this.#random.integer(4);
    const count = 1 + this.#random.integer(12);
    const timeMs = stateLog.timeMs();
    state.lastTimeMs = timeMs;
    for (let i = 0; i < count; i++) {
      const bytes = this.#message();
      this.bodies.set(`${topic.id}/${queue.queueId}/${queue.next}`, bytes);
      const sequence = producerId === 0 ? 0 : (queue.producers?.get(producerId)?.next ?? 0);
      const hash = tagHashOfMessage(bytes, 0, bytes.length);
      stateLog.appendMessage(
        queue,
        bytes,
        0,
        bytes.length,
        hash,
        keyHashOfMessage(bytes, 0, bytes.length),
        timeMs,
        producerId,
        sequence,
        NO_HOST,
      );
    }
    stateLog.arrived(queue);
    this.rig.log.requestFlush();
  }

  #progress(): { progress: TopicProgress; topic: Topic; queue: Queue } | undefined {
    const { state } = this.rig;
    const progress = this.#pick(state.groups.allProgress());
    const topic = progress === undefined ? undefined : state.topics.findById(progress.topicId);
    if (progress === undefined || topic === undefined) return undefined;
    return { progress, topic, queue: this.#pick(topic.queues) as Queue };
  }

  #lease(): void {
    const chosen = this.#progress();
    if (chosen === undefined) return;
    const { progress, queue } = chosen;
    const { queueId } = queue;
    const place = progress.queues[queueId];
    const now = this.rig.stateLog.timeMs();
    const [due] = place?.dueRetries(now, 1) ?? [];
    const first = due?.offset ?? place?.next ?? 0;
    const end =
      due === undefined ? Math.min(queue.next, first + 1 + this.#random.integer(9)) : first + 1;
    if (end <= first) return;
    const value = create(LeasedSchema, {
      consumerId: `consumer-${this.#random.integer(3)}`,
      deadlineMs: BigInt(now + 5000),
      streaming: this.#random.integer(2) === 0,
      ranges: [
        {
          progressId: progress.id,
          queueId,
          firstOffset: BigInt(first),
          endOffset: BigInt(end),
          attempt: (due?.attempt ?? 0) + 1,
          unmatched:
            due === undefined && this.#random.integer(3) === 0
              ? this.#random.bytes(2)
              : new Uint8Array(),
        },
      ],
    });
    this.rig.stateLog.change({ case: 'leased', value });
  }

  #settle(): void {
    const chosen = this.#progress();
    const place = chosen?.progress.queues[chosen.queue.queueId];
    if (chosen === undefined || place === undefined) return;
    const consumer = `consumer-${this.#random.integer(3)}`;
    const held = this.#pick(place.leasesOf(consumer, false));
    if (held === undefined) return;
    const first = held.first + this.#random.integer(held.end - held.first);
    const now = this.rig.stateLog.timeMs();
    const outcomes = [
      SettledOutcome.ACKNOWLEDGED,
      SettledOutcome.ACKNOWLEDGED,
      SettledOutcome.RETRY,
      SettledOutcome.EXTENDED,
      SettledOutcome.RETURNED,
      SettledOutcome.DROPPED,
    ];
    const value = create(SettledSchema, {
      ranges: [
        {
          progressId: chosen.progress.id,
          queueId: chosen.queue.queueId,
          firstOffset: BigInt(first),
          endOffset: BigInt(first + 1 + this.#random.integer(held.end - first)),
          leaseId: BigInt(held.leaseId),
          outcome: outcomes[this.#random.integer(outcomes.length)] as SettledOutcome,
          atMs: BigInt(now + this.#random.integer(3000)),
        },
      ],
    });
    this.rig.stateLog.change({ case: 'settled', value });
  }

  #setProgress(): void {
    const chosen = this.#progress();
    if (chosen === undefined) return;
    const { queueId, next } = chosen.queue;
    const offsets = [{ queueId, offset: BigInt(this.#random.integer(next + 1)) }];
    const value = create(ProgressSetSchema, { progressId: chosen.progress.id, offsets });
    this.rig.stateLog.change({ case: 'progressSet', value });
  }

  #trim(): void {
    const topic = this.#pick(this.rig.state.topics.all());
    if (topic === undefined) return;
    const { queueId, next } = this.#pick(topic.queues) as Queue;
    const begins = [{ queueId, offset: BigInt(this.#random.integer(next + 1)) }];
    const value = create(QueuesTrimmedSchema, { topicId: topic.id, begins });
    this.rig.stateLog.change({ case: 'queuesTrimmed', value });
  }

  #move(): void {
    const chosen = this.#progress();
    const place = chosen?.progress.queues[chosen.queue.queueId];
    const target = this.#pick(this.rig.state.topics.all());
    const [offset] = place?.unsettledOffsets() ?? [];
    if (chosen === undefined || target === undefined || offset === undefined) return;
    const queue = this.#pick(target.queues) as Queue;
    const bytes = this.#message();
    this.bodies.set(`${target.id}/${queue.queueId}/${queue.next}`, bytes);
    this.rig.stateLog.moveMessage(queue, bytes, {
      topic: chosen.topic.name,
      topicId: chosen.topic.id,
      queueId: chosen.queue.queueId,
      offset: BigInt(offset),
      group: 'group',
      groupId: chosen.progress.groupId,
      attempts: 3,
      reason: 'moved by a test',
      progressId: chosen.progress.id,
    });
  }

  /** What is wrong with what can be read; undefined when nothing is. */
  async wrong(): Promise<string | undefined> {
    const { rig } = this;
    for (const topic of rig.state.topics.all()) {
      for (const queue of topic.queues) {
        const offsets = new Set(queue.relocated?.keys());
        for (let o = rig.state.beginOf(queue); o < queue.next; o++) offsets.add(o);
        for (const offset of offsets) {
          const name = `${topic.id}/${queue.queueId}/${offset}`;
          const bytes = this.bodies.get(name) as Buffer;
          const record = await rig.read(queue, offset);
          const found = record?.subarray(MESSAGE_AT, MESSAGE_AT + bytes.length);
          if (found === undefined || !found.equals(bytes)) return `message ${name} cannot be read`;
        }
      }
    }
    return undefined;
  }
}
