// Lets a broker's state live a random life.

import { create, toBinary } from '@bufbuild/protobuf';
import {
  type Acknowledgement,
  GroupSchema,
  TopicSchema,
  TransactionState,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import {
  FilterSetSchema,
  HeldDroppedSchema,
  LeasedSchema,
  MembersSeenSchema,
  ProducersExpiredSchema,
  ProgressEndedSchema,
  ProgressSetSchema,
  ProgressStartedSchema,
  QueuesTrimmedSchema,
  RepeatsDroppedSchema,
  SettledOutcome,
  SettledSchema,
  TransactionCheckedSchema,
  TransactionEndedSchema,
  TransactionSchema,
  TransactionsForgottenSchema,
} from '@ternmq/proto/gen/ternmq/log/v1/log_pb';
import { MessageSchema } from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import type { ManualClock, Random } from '@ternmq/runtime';
import { HELD_MS, STOPPED_MS } from '../../services/broker/src/progress/retry-table.ts';
import type { TopicProgress } from '../../services/broker/src/state/groups.ts';
import { HELD_TOPIC } from '../../services/broker/src/state/held-table.ts';
import { MESSAGE_AT, NO_HOST } from '../../services/broker/src/state/message-record.ts';
import { keyHashOfMessage, tagHashOfMessage } from '../../services/broker/src/state/message-tag.ts';
import type { Queue } from '../../services/broker/src/state/queue.ts';
import { settledElsewhere } from '../../services/broker/src/state/settled-elsewhere.ts';
import type { Topic } from '../../services/broker/src/state/topics.ts';

import type { StateRig } from './state-rig.ts';

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
    const choice = this.#random.integer(126);
    if (choice >= 100) {
      if (choice >= 123) this.#resend();
      else if (choice >= 120) this.#lookAfterMembers();
      else if (choice < 107) this.#hold();
      else if (choice < 112) this.#release();
      else this.#transaction();
      return;
    }
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
    } else if (choice < 98) this.#dropRepeats();
    else this.#clock.advance(this.#random.integer(3000));
  }

  #pick<Item>(items: Iterable<Item>): Item | undefined {
    const all = [...items];
    return all[this.#random.integer(Math.max(1, all.length))];
  }

  /** The topics that messages are sent to. */
  #topics(): Topic[] {
    return [...this.rig.state.topics.all()].filter(({ name }) => name !== HELD_TOPIC);
  }

  #hold(): void {
    const topic = this.#pick(this.#topics());
    if (topic === undefined) return;
    const producerId = this.#random.integer(3);
    const count = 1 + this.#random.integer(60);
    // Some are due long after their segment has gone.
    const aheadMs = this.#random.integer(8) === 0 ? 10_000_000 : 20_000;
    this.#holdMessages(topic, count, producerId, () => this.#random.integer(aheadMs) + 1);
  }

  /** @param ahead in how many milliseconds each is due; undefined when it is not due by itself */
  #holdMessages(
    topic: Topic,
    count: number,
    producerId: number,
    ahead: (() => number) | undefined,
  ): void {
    const { state, stateLog } = this.rig;
    if (state.held.queue === undefined) {
      const settings = { queues: 1 };
      const value = create(TopicSchema, {
        topicId: state.topics.nextId,
        name: HELD_TOPIC,
        settings,
      });
      stateLog.change({ case: 'topicPut', value });
    }
    const queue = state.held.queue as Queue;
    const timeMs = stateLog.timeMs();
    state.lastTimeMs = timeMs;
    for (let i = 0; i < count; i++) {
      const bytes = this.#message();
      this.bodies.set(`${queue.topicId}/0/${queue.next}`, bytes);
      const held = {
        topicId: topic.id,
        queueId: this.#random.integer(topic.queues.length),
        dueMs: ahead === undefined ? 0 : timeMs + ahead(),
      };
      const sequence = producerId === 0 ? 0 : (queue.producers?.get(producerId)?.next ?? 0);
      stateLog.appendHeld(
        queue,
        bytes,
        0,
        bytes.length,
        held,
        timeMs,
        producerId,
        sequence,
        NO_HOST,
      );
    }
    stateLog.arrived(queue);
    this.rig.log.requestFlush();
  }

  /** Begins a transaction, or goes on with an old one. */
  #transaction(): void {
    const { state, stateLog } = this.rig;
    const old = this.#pick(state.transactions.all());
    const topic = this.#pick(this.#topics());
    if (old === undefined || this.#random.integer(3) === 0) {
      if (topic === undefined) return;
      const messages = 1 + this.#random.integer(4);
      this.#holdMessages(topic, messages, 0, undefined);
      const firstOffset = BigInt((state.held.queue?.next ?? 0) - messages);
      const value = create(TransactionSchema, {
        firstOffset,
        messages,
        producerGroup: 'group',
        topicId: topic.id,
        begunMs: BigInt(stateLog.timeMs()),
        state: TransactionState.OPEN,
      });
      stateLog.change({ case: 'transactionBegun', value });
      return;
    }
    const firstOffset = BigInt(old.first);
    if (old.state !== TransactionState.OPEN) {
      const left = Array.from({ length: old.messages }, (_, i) => old.first + i);
      const waiting = left.filter((offset) => state.held.isPending(offset));
      if (waiting.length > 0 && topic !== undefined) this.#releaseOne(topic, waiting[0] as number);
      else if (waiting.length === 0) {
        const value = create(TransactionsForgottenSchema, { firstOffsets: [firstOffset] });
        stateLog.change({ case: 'transactionsForgotten', value });
      }
      return;
    }
    const choice = this.#random.integer(3);
    if (choice === 0) {
      const nextCheckMs = BigInt(stateLog.timeMs() + 1000);
      const value = create(TransactionCheckedSchema, { firstOffset, nextCheckMs });
      stateLog.change({ case: 'transactionChecked', value });
      return;
    }
    const ended = [TransactionState.COMMITTED, TransactionState.ROLLED_BACK][choice - 1];
    const value = create(TransactionEndedSchema, {
      firstOffset,
      cause: 'a test',
      ...(ended === undefined ? {} : { state: ended }),
    });
    stateLog.change({ case: 'transactionEnded', value });
  }

  #releaseOne(topic: Topic, offset: number): void {
    const { state, stateLog } = this.rig;
    const heldQueue = state.held.queue as Queue;
    const bytes = this.bodies.get(`${heldQueue.topicId}/0/${offset}`) as Buffer;
    const queue = this.#pick(topic.queues) as Queue;
    this.bodies.set(`${topic.id}/${queue.queueId}/${queue.next}`, bytes);
    stateLog.releaseMessage(queue, bytes, stateLog.timeMs(), NO_HOST, heldQueue, offset);
    stateLog.arrived(queue);
  }

  /** Releases or recalls what is due. */
  #release(): void {
    const { state, stateLog } = this.rig;
    const { held } = state;
    const timeMs = stateLog.timeMs();
    const topic = this.#pick(this.#topics());
    for (let i = 0; i < 90 && held.firstDueMs() <= timeMs; i++) {
      const offset = held.take();
      if (topic === undefined || this.#random.integer(10) === 0) {
        const value = create(HeldDroppedSchema, { offsets: [BigInt(offset)] });
        stateLog.change({ case: 'heldDropped', value });
      } else {
        this.#releaseOne(topic, offset);
      }
    }
    this.rig.log.requestFlush();
  }

  #putTopic(): void {
    const { state, stateLog } = this.rig;
    const old = this.#random.integer(2) === 0 ? this.#pick(this.#topics()) : undefined;
    if (old === undefined && state.topics.size > 5) return;
    const value = create(TopicSchema, {
      topicId: old?.id ?? state.topics.nextId,
      name: old?.name ?? `topic-${this.#names++}`,
      createdMs: BigInt(old?.createdMs ?? this.#clock.nowMs()),
      deduplicatedSinceMs: BigInt(old?.deduplicatedSinceMs ?? this.#clock.nowMs()),
      settings: {
        ...(old === undefined
          ? this.#uses()
          : {
              deduplicationWindowMs: BigInt(old.settings.deduplicationWindowMs),
              compacted: old.settings.compacted,
            }),
        queues: (old?.settings.queues ?? 0) + 1 + this.#random.integer(2),
        retentionMs: 0n,
        acknowledgement: this.#random.integer(4) as Acknowledgement,
      },
    });
    stateLog.change({ case: 'topicPut', value });
  }

  /** What a topic notes the newest messages of keys for. */
  #uses(): { deduplicationWindowMs: bigint; compacted: boolean } {
    const windowMs = [0, 0, 4000][this.#random.integer(3)] as number;
    return {
      deduplicationWindowMs: BigInt(windowMs),
      compacted: this.#random.integer(3) === 0,
    };
  }

  /** Messages of a producer are dropped because they repeat others. */
  #dropRepeats(): void {
    const { stateLog } = this.rig;
    const topic = this.#pick(this.#topics());
    const queue = this.#pick(topic?.queues ?? []);
    const producerId = 1 + this.#random.integer(3);
    if (topic === undefined || queue === undefined) return;
    const value = create(RepeatsDroppedSchema, {
      topicId: topic.id,
      queueId: queue.queueId,
      producerId: BigInt(producerId),
      sequence: BigInt(queue.producers?.get(producerId)?.next ?? 0),
      count: 1 + this.#random.integer(3),
      firstQueueId: this.#random.integer(topic.queues.length),
      firstOffset: BigInt(this.#random.integer(100)),
    });
    stateLog.change({ case: 'repeatsDropped', value });
  }

  #deleteTopic(): void {
    const topic = this.#pick(this.#topics());
    if (topic === undefined || this.#random.integer(3) > 0) return;
    this.rig.stateLog.change({
      case: 'topicDeleted',
      value: { $typeName: 'ternmq.log.v1.TopicDeleted', topicId: topic.id },
    });
  }

  #putGroup(): void {
    const { state, stateLog } = this.rig;
    const old = this.#random.integer(2) === 0 ? this.#pick(state.groups.all()) : undefined;
    if (old === undefined && state.groups.size > 3) return;
    const value = create(GroupSchema, {
      groupId: old?.id ?? state.groups.nextId,
      name: old?.name ?? `group-${this.#names++}`,
      createdMs: BigInt(old?.createdMs ?? this.#clock.nowMs()),
      settings: {
        attemptsMax: 3,
        retryDelaysMs: [100, 200],
        leaseMs: 5000,
        ordered: this.#random.integer(2) === 0,
      },
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
    const consumerId = ['', '', 'member-1', 'member-2'][this.#random.integer(4)] as string;
    if (state.groups.progressIn(group, topic.id, consumerId) !== undefined) return;
    const value = create(ProgressStartedSchema, {
      progressId: state.groups.nextProgressId,
      groupId: group.id,
      topicId: topic.id,
      consumerId,
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
    const orderingKey = ['', '', 'k', `l${this.#random.integer(20)}`][this.#random.integer(4)];
    const keys = [[], [], ['a'], [`b${this.#random.integer(20)}`, 'c']][this.#random.integer(4)];
    const message = create(MessageSchema, {
      body,
      tag,
      keys: keys ?? [],
      orderingKey: orderingKey ?? '',
    });
    return Buffer.from(toBinary(MessageSchema, message));
  }

  #send(): void {
    const { state, stateLog } = this.rig;
    const topic = this.#pick(this.#topics());
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
        true,
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
    // What waits for its key is handed out when the key lets it, and not when it is due.
    const dueBy = this.#random.integer(3) === 0 ? HELD_MS : now;
    const [due] = place?.dueRetries(dueBy, 1) ?? [];
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
          ...(due === undefined ? this.#passedOver() : {}),
        },
      ],
    });
    this.rig.stateLog.change({ case: 'leased', value });
  }

  /** Some messages that the filter does not match, and some others that wait for their ordering keys. */
  #passedOver(): { unmatched: Uint8Array; held: Uint8Array } {
    const none = new Uint8Array();
    const unmatched = this.#random.integer(3) === 0 ? this.#random.bytes(2) : none;
    if (this.#random.integer(3) > 0) return { unmatched, held: none };
    const held = this.#random.bytes(2).map((bits, index) => bits & ~(unmatched[index] ?? 0));
    return { unmatched, held };
  }

  /** Releases what is stopped, or settles what is leased. */
  #settle(): void {
    const chosen = this.#progress();
    const place = chosen?.progress.queues[chosen.queue.queueId];
    if (chosen === undefined || place === undefined) return;
    const stopped = this.#pick(place.stopped());
    if (stopped !== undefined && this.#random.integer(2) === 0) {
      const range = {
        progressId: chosen.progress.id,
        queueId: chosen.queue.queueId,
        firstOffset: BigInt(stopped.offset),
        endOffset: BigInt(stopped.offset + 1),
        outcome: SettledOutcome.RESUMED,
        atMs: BigInt(this.rig.stateLog.timeMs()),
      };
      const value = create(SettledSchema, { ranges: [range] });
      this.rig.stateLog.change({ case: 'settled', value });
      return;
    }
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
    const outcome = outcomes[this.#random.integer(outcomes.length)] as SettledOutcome;
    const waits = outcome === SettledOutcome.RETRY || outcome === SettledOutcome.RETURNED;
    const forKey = waits && this.#random.integer(3) === 0;
    const keptMs = outcome === SettledOutcome.RETRY ? STOPPED_MS : HELD_MS;
    const value = create(SettledSchema, {
      ranges: [
        {
          progressId: chosen.progress.id,
          queueId: chosen.queue.queueId,
          firstOffset: BigInt(first),
          endOffset: BigInt(first + 1 + this.#random.integer(held.end - first)),
          leaseId: BigInt(held.leaseId),
          outcome,
          atMs: BigInt(forKey ? keptMs : now + this.#random.integer(3000)),
        },
      ],
    });
    this.rig.stateLog.change({ case: 'settled', value });
  }

  #setProgress(): void {
    const chosen = this.#progress();
    if (chosen === undefined) return;
    const { queueId, next } = chosen.queue;
    const offset = this.#random.integer(next + 1);
    if (next % 3 === 0 && offset > 4) {
      // Settled elsewhere, but for some in between.
      const bounds = [0, offset >> 1, offset - 1, offset];
      const value = settledElsewhere(chosen.progress.id, queueId, bounds);
      this.rig.stateLog.change({ case: 'progressMerged', value });
      return;
    }
    const offsets = [{ queueId, offset: BigInt(offset) }];
    const progressId = chosen.progress.id;
    // By a member that pulls, or by somebody else.
    const generation = BigInt(this.#random.integer(2) * (2 ** 32 + this.#random.integer(2 ** 40)));
    const value = create(ProgressSetSchema, { progressId, offsets, generation });
    this.rig.stateLog.change({ case: 'progressSet', value });
  }

  #trim(): void {
    const topic = this.#pick(this.#topics());
    if (topic === undefined) return;
    const { queueId, next } = this.#pick(topic.queues) as Queue;
    const begins = [{ queueId, offset: BigInt(this.#random.integer(next + 1)) }];
    const value = create(QueuesTrimmedSchema, { topicId: topic.id, begins });
    this.rig.stateLog.change({ case: 'queuesTrimmed', value });
  }

  #move(): void {
    const chosen = this.#progress();
    const place = chosen?.progress.queues[chosen.queue.queueId];
    const target = this.#pick(this.#topics());
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

  /** Sends some message of a topic to another one, as if it were a dead letter that is sent again. */
  #resend(): void {
    const source = this.#pick(this.#topics());
    const target = this.#pick(this.#topics());
    if (source === undefined || target === undefined) return;
    const from = this.#pick(source.queues) as Queue;
    if (from.next === 0) return;
    const queue = this.#pick(target.queues) as Queue;
    const bytes = this.#message();
    this.bodies.set(`${target.id}/${queue.queueId}/${queue.next}`, bytes);
    this.rig.stateLog.moveMessage(queue, bytes, {
      topic: source.name,
      topicId: source.id,
      queueId: from.queueId,
      offset: BigInt(this.#random.integer(from.next)),
      group: 'group',
      groupId: 1,
      attempts: 3,
      reason: 'sent again by a test',
      progressId: 0,
    });
  }

  /** Sees broadcasting members, or forgets one. */
  #lookAfterMembers(): void {
    const { state, stateLog } = this.rig;
    const members = [...state.groups.allProgress()].filter(({ consumerId }) => consumerId !== '');
    const [filtering] = members;
    if (filtering !== undefined) {
      const what = { tags: this.#pick(['', 'a', 'a || b']) ?? '', sql: '' };
      const value = create(FilterSetSchema, { progressId: filtering.id, ...what });
      stateLog.change({ case: 'filterSet', value });
    }
    if (this.#random.integer(4) > 0) {
      const progressIds = members.filter(() => this.#random.integer(2) === 0).map(({ id }) => id);
      const value = create(MembersSeenSchema, { progressIds });
      stateLog.change({ case: 'membersSeen', value });
      return;
    }
    const gone = this.#pick(members);
    if (gone === undefined) return;
    const value = create(ProgressEndedSchema, { progressIds: [gone.id] });
    stateLog.change({ case: 'progressEnded', value });
  }

  /** What is wrong with what can be read; undefined when nothing is. */
  async wrong(): Promise<string | undefined> {
    const { rig } = this;
    for (const topic of rig.state.topics.all()) {
      for (const queue of topic.queues) {
        const offsets = new Set(queue.relocated?.keys());
        if (queue.sparse) rig.state.held.forEachPending((offset) => offsets.add(offset));
        else for (let o = rig.state.beginOf(queue); o < queue.next; o++) offsets.add(o);
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
