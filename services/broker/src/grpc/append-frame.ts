// Takes a frame of messages into the log: checks it whole, finds its queue, drops what a producer sends for the
// second time, and appends the rest.

import { fromBinary } from '@bufbuild/protobuf';
import { TransactionBeginningSchema } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import type { Clock } from '@ternmq/runtime';
import { isTopicName } from '../catalog/names.ts';
import type { TopicCatalog } from '../catalog/topic-catalog.ts';
import { HELD_TOPIC } from '../state/held-table.ts';
import { fnv1a } from '../state/message-tag.ts';
import { queueOfPriority } from '../state/priority.ts';
import type { Queue } from '../state/queue.ts';
import { findRepeated } from '../state/repeats.ts';
import type { StateLog } from '../state/state-log.ts';
import { isSystemTopic, type Topic } from '../state/topics.ts';
import type { TimerRelease } from '../timers/timer-release.ts';
import { TRANSACTION_MESSAGES_MAX, type Transactions } from '../transactions/transactions.ts';
import type { Acknowledged } from './acknowledgements.ts';
import { DroppedRun } from './dropped-run.ts';
import { type FramePart, FrameParts, placeIn } from './frame-parts.ts';
import type { Refusal } from './frame-refusal.ts';
import { FrameScanner } from './frame-scanner.ts';
import { wrongKind } from './message-kind.ts';

/** Says whether messages are taken at all now. */
export interface SendGate {
  /** When the senders of a topic are answered; what is usual when there is none. */
  askedBy(topic: Topic | undefined): Acknowledged;
  /** Why messages that are answered then are not taken; undefined when they are. */
  refusal(asked: Acknowledged): Refusal | undefined;
}

/** When a producer may be asked first for the outcome of a transaction, in milliseconds. */
const CHECK_MS_MIN = 1000;
const CHECK_MS_MAX = 3_600_000;
/** Most bytes that wait for the end of the turn before they are written. */
const UNWRITTEN_BYTES_MAX = 512 << 10;

const NOT_IDEMPOTENT: Refusal = {
  reason: 'MALFORMED_FRAME',
  message: 'a frame with producer_id must have queue_id: sequences count within one queue',
};
const GAP: Refusal = {
  reason: 'SEQUENCE_GAP',
  message:
    'frames of this producer that come before this one are missing; send with a new producer_id',
};
const TOO_OLD: Refusal = {
  reason: 'SEQUENCE_TOO_OLD',
  message: 'the frame was stored before, and its offsets are no longer known',
};

const MIXED: Refusal = {
  reason: 'MIXED_FRAME',
  message: 'a frame has delayed messages and others; send them in frames of their own',
};

const INVALID_GROUP: Refusal = {
  reason: 'INVALID_GROUP',
  message: 'a producer group has 1 to 127 characters of [%|a-zA-Z0-9_-]',
};
const INVALID_TRANSACTION: Refusal = {
  reason: 'INVALID_TRANSACTION',
  message: `a transaction has 1 to ${TRANSACTION_MESSAGES_MAX} messages without delays and producer_id, and first_check_ms of 1 s to 1 h`,
};

function wrongQueue(topic: Topic, least: number, most: number): Refusal {
  const { name, queues } = topic;
  return {
    reason: 'WRONG_PRIORITY_QUEUE',
    message:
      least === most
        ? `messages of this priority belong in queue ${least} of ${name}, which has ${queues.length}; send them there`
        : `messages of different queues of ${name} are in one frame; send each priority in a frame of its own`,
  };
}

/** What became of a frame; the fields hold until the next frame. */
export class FrameAppender {
  readonly scanner = new FrameScanner();
  readonly #stateLog: StateLog;
  readonly #catalog: TopicCatalog;
  readonly #gate: SendGate;
  readonly #clock: Clock;
  readonly #timers: TimerRelease;
  readonly #transactions: Transactions;
  /** The turn's time, read from the clock once. */
  #timeMs = 0;
  topic: Topic | undefined;
  queue: Queue | undefined;
  /** Offset of the frame's first message. */
  baseOffset = 0;
  /** Only when the messages are not next to each other in the queue. */
  parts: readonly FramePart[] | undefined;
  /** When its sender is answered, also of a refusal. */
  asked: Acknowledged;

  constructor(modules: {
    stateLog: StateLog;
    catalog: TopicCatalog;
    gate: SendGate;
    clock: Clock;
    timers: TimerRelease;
    transactions: Transactions;
  }) {
    this.#stateLog = modules.stateLog;
    this.#catalog = modules.catalog;
    this.#gate = modules.gate;
    this.#clock = modules.clock;
    this.#timers = modules.timers;
    this.#transactions = modules.transactions;
    this.asked = this.#gate.askedBy(undefined);
  }

  /**
   * Appends a frame; returns why it is refused, or undefined. It is stored for good when the log has come to `log.next` in
   * the way that is asked for.
   *
   * @param bornHost 16 bytes: where the frame came from
   */
  append(bytes: Buffer, bornHost: Buffer): Refusal | undefined {
    const { scanner } = this;
    this.topic = undefined;
    this.queue = undefined;
    this.parts = undefined;
    this.baseOffset = 0;
    this.asked = this.#gate.askedBy(undefined);
    const refusal = scanner.scan(bytes) ?? this.#choose(bytes);
    if (refusal !== undefined) return refusal;
    if (scanner.transactionAt >= 0) {
      return this.#gate.refusal(this.asked) ?? this.#beginTransaction(bytes, bornHost);
    }
    if (scanner.delayed > 0) return this.#delay(bytes, bornHost);
    const queue = this.queue as unknown as Queue;
    const skip = scanner.producerId === 0 ? 0 : this.#alreadyStored(queue);
    if (typeof skip !== 'number') return skip;
    if (skip === scanner.count) return undefined;
    const closed = this.#closedTo(skip);
    if (closed !== undefined) return closed;
    if (queue.deduplicated) this.#appendFirst(queue, skip, bytes, bornHost);
    else this.#appendFrom(queue, skip, bytes, bornHost);
    return undefined;
  }

  /**
   * Why nothing is taken now. What is stored already, even in part, is not refused: its producer would send all of it again,
   * as something new.
   *
   * @param skip messages of the frame that are stored already
   */
  #closedTo(skip: number): Refusal | undefined {
    return skip > 0 ? undefined : this.#gate.refusal(this.asked);
  }

  /** Finds the frame's topic and queue. */
  #choose(bytes: Buffer): Refusal | undefined {
    const { scanner } = this;
    const name = bytes.toString('latin1', scanner.topicAt, scanner.topicEnd);
    const topic = this.#catalog.find(name) ?? this.#create(name);
    if ('reason' in topic) return topic;
    this.asked = this.#gate.askedBy(topic);
    const queues = topic.queues.length;
    const wrong = wrongKind(topic, scanner);
    if (wrong !== undefined) return wrong;
    let { queueId } = scanner;
    if (queueId < 0) {
      if (scanner.producerId !== 0) return NOT_IDEMPOTENT;
      queueId = this.#queueOf(bytes, topic);
    }
    if (scanner.prioritized > 0) {
      const least = queueOfPriority(scanner.priorityMin, queues);
      const most = queueOfPriority(scanner.priorityMax, queues);
      if (least !== queueId || most !== queueId) return wrongQueue(topic, least, most);
    }
    const queue = topic.queues[queueId];
    if (queue === undefined) {
      return {
        reason: 'QUEUE_NOT_FOUND',
        message: `topic ${name} has the queues 0 to ${queues - 1} on this broker, and no ${queueId}`,
      };
    }
    this.topic = topic;
    this.queue = queue;
    return undefined;
  }

  /** The queue of a frame that names none. */
  #queueOf(bytes: Buffer, topic: Topic): number {
    const { orderingKeyAt, orderingKeyEnd, prioritized, priorityMin } = this.scanner;
    const queues = topic.queues.length;
    if (prioritized > 0) return queueOfPriority(priorityMin, queues);
    if (orderingKeyEnd === orderingKeyAt) return topic.turn++ % queues;
    return fnv1a(bytes, orderingKeyAt, orderingKeyEnd) % queues;
  }

  /** Stores delayed messages where they wait. */
  #delay(bytes: Buffer, bornHost: Buffer): Refusal | undefined {
    const { count, dues, delayed } = this.scanner;
    if (delayed < count) return MIXED;
    const refusal =
      this.#timers.check(dues, count) ??
      this.#hold(bytes, bornHost, (i) => this.#timers.dueMs(dues[i] as number));
    this.#timers.added();
    return refusal;
  }

  /** Stores messages that wait for the end of the transaction that begins with them. */
  #beginTransaction(bytes: Buffer, bornHost: Buffer): Refusal | undefined {
    const { transactionAt, transactionEnd, producerId, delayed, count } = this.scanner;
    const said = fromBinary(
      TransactionBeginningSchema,
      bytes.subarray(transactionAt, transactionEnd),
    );
    const { producerGroup, firstCheckMs } = said;
    if (!isTopicName(producerGroup)) return INVALID_GROUP;
    const checkFits =
      firstCheckMs === 0 || (firstCheckMs >= CHECK_MS_MIN && firstCheckMs <= CHECK_MS_MAX);
    if (producerId !== 0 || delayed > 0 || count > TRANSACTION_MESSAGES_MAX || !checkFits) {
      return INVALID_TRANSACTION;
    }
    this.#transactions.assertRoom();
    const { id } = this.topic as Topic;
    const refusal = this.#hold(bytes, bornHost, () => 0);
    if (refusal !== undefined) return refusal;
    this.#transactions.begin(this.baseOffset, count, id, producerGroup, firstCheckMs);
    return undefined;
  }

  /**
   * Stores messages where they wait. Sequences count in that queue: a producer id is for such frames alone.
   *
   * @param dueMs when the message of an index is due; 0 when it is not due by itself
   */
  #hold(bytes: Buffer, bornHost: Buffer, dueMs: (index: number) => number): Refusal | undefined {
    const { count, starts, lengths, producerId, sequence } = this.scanner;
    const { id: topicId } = this.topic as Topic;
    const { queueId } = this.queue as Queue;
    const topic = this.#catalog.system(HELD_TOPIC);
    const queue = topic.queues[0] as Queue;
    this.topic = topic;
    this.queue = queue;
    const skip = producerId === 0 ? 0 : this.#alreadyStored(queue);
    if (typeof skip !== 'number') return skip;
    const closed = this.#closedTo(skip);
    if (closed !== undefined) return closed;
    if (skip === 0) this.baseOffset = queue.next;
    const { log } = this.#stateLog;
    const before = log.next;
    const timeMs = this.#turnTimeMs();
    try {
      for (let i = skip; i < count; i++) {
        this.#stateLog.appendHeld(
          queue,
          bytes,
          starts[i] as number,
          lengths[i] as number,
          { topicId, queueId, dueMs: dueMs(i) },
          timeMs,
          producerId,
          producerId === 0 ? 0 : sequence + i,
          bornHost,
        );
      }
    } finally {
      this.#appended(queue, topic, count - skip, before);
    }
    return undefined;
  }

  #create(name: string): Topic | Refusal {
    if (!isTopicName(name)) {
      return {
        reason: 'INVALID_TOPIC',
        message: 'a topic has 1 to 127 characters of [%|a-zA-Z0-9_-]',
      };
    }
    if (!this.#catalog.createsAutomatically || isSystemTopic(name)) {
      return {
        reason: 'TOPIC_NOT_FOUND',
        message: `there is no topic ${name}; create it with 'tern topic create ${name}'`,
      };
    }
    return this.#gate.refusal(this.asked) ?? this.#catalog.createDefault(name);
  }

  /**
   * How many messages at the frame's start are stored already, with `baseOffset` and `parts` set for them; or why
   * the frame cannot be taken.
   */
  #alreadyStored(queue: Queue): number | Refusal {
    const { sequence, producerId, count } = this.scanner;
    const producer = queue.producers?.get(producerId);
    const next = producer?.next ?? 0;
    if (sequence === next) return 0;
    if (sequence > next || producer === undefined) return GAP;
    const stored = Math.min(count, next - sequence);
    const parts = new FrameParts();
    for (let i = 0; i < stored; i++) {
      const repeated = producer.findRepeated(sequence + i);
      if (repeated !== undefined) {
        parts.add(i, repeated.queueId, repeated.offset, true);
        continue;
      }
      const offset = producer.find(sequence + i);
      if (offset === undefined) return TOO_OLD;
      parts.add(i, queue.queueId, offset, false);
    }
    if (stored < count && !queue.deduplicated) parts.add(stored, queue.queueId, queue.next, false);
    this.#answer(queue, parts);
    return stored;
  }

  /** Where the frame's messages are. */
  #answer(queue: Queue, { all }: FrameParts): void {
    const [first] = all;
    this.baseOffset = first?.offset ?? 0;
    const plain = all.length === 1 && first?.queueId === queue.queueId && !first.duplicate;
    this.parts = plain ? undefined : all;
  }

  /** As `#appendFrom`, without the messages that repeat others: they are answered with the places of those. */
  #appendFirst(queue: Queue, skip: number, bytes: Buffer, bornHost: Buffer): void {
    const { starts, lengths, tagHashes, keyHashes, keyCounts } = this.scanner;
    const { count, producerId, sequence } = this.scanner;
    const topic = this.topic as Topic;
    const { log, state } = this.#stateLog;
    const parts = new FrameParts();
    for (let i = 0; i < skip; i++) {
      const { queueId, offset, duplicate } = placeIn(this.#partsOf(queue), i);
      parts.add(i, queueId, offset, duplicate);
    }
    const dropped = new DroppedRun(this.#stateLog, queue, producerId);
    const timeMs = this.#turnTimeMs();
    const before = log.next;
    let stored = 0;
    try {
      for (let i = skip; i < count; i++) {
        const start = starts[i] as number;
        const length = lengths[i] as number;
        const hasKeys = (keyCounts[i] as number) > 0;
        const first = hasKeys
          ? findRepeated(state, topic, bytes, start, start + length, timeMs)
          : undefined;
        if (first !== undefined) {
          parts.add(i, first.queueId, first.offset, true);
          if (producerId !== 0) dropped.add(sequence + i, first);
          continue;
        }
        dropped.end();
        parts.add(i, queue.queueId, queue.next, false);
        this.#stateLog.appendMessage(
          queue,
          bytes,
          start,
          length,
          tagHashes[i] as number,
          keyHashes[i] as number,
          timeMs,
          producerId,
          producerId === 0 ? 0 : sequence + i,
          bornHost,
          hasKeys,
        );
        stored++;
      }
      dropped.end();
      this.#answer(queue, parts);
    } finally {
      this.#appended(queue, topic, stored, before);
    }
  }

  /** What `#alreadyStored` has found. */
  #partsOf(queue: Queue): readonly FramePart[] {
    const { queueId } = queue;
    return this.parts ?? [{ firstIndex: 0, queueId, offset: this.baseOffset, duplicate: false }];
  }

  #appendFrom(queue: Queue, skip: number, bytes: Buffer, bornHost: Buffer): void {
    const { scanner } = this;
    const { starts, lengths, tagHashes, keyHashes, keyCounts } = scanner;
    const { count, producerId, sequence } = scanner;
    const { log } = this.#stateLog;
    if (skip === 0) this.baseOffset = queue.next;
    const timeMs = this.#turnTimeMs();
    const before = log.next;
    try {
      for (let i = skip; i < count; i++) {
        this.#stateLog.appendMessage(
          queue,
          bytes,
          starts[i] as number,
          lengths[i] as number,
          tagHashes[i] as number,
          keyHashes[i] as number,
          timeMs,
          producerId,
          producerId === 0 ? 0 : sequence + i,
          bornHost,
          (keyCounts[i] as number) > 0,
        );
      }
    } finally {
      this.#appended(queue, this.topic as Topic, count - skip, before);
    }
  }

  /** The turn's time. */
  #turnTimeMs(): number {
    if (this.#timeMs === 0) {
      this.#timeMs = this.#stateLog.timeMs();
      this.#stateLog.state.lastTimeMs = this.#timeMs;
      this.#clock.defer(() => {
        this.#timeMs = 0;
      });
    }
    return this.#timeMs;
  }

  /**
   * A run of messages is in the log. A disk that fills up in the middle refuses the frame; what is in the log already
   * must still be told, and is known by its sequences when the frame is sent again.
   */
  #appended(queue: Queue, topic: Topic, messages: number, before: number): void {
    const { log } = this.#stateLog;
    this.#stateLog.arrived(queue);
    log.requestFlush();
    topic.messagesIn += messages;
    topic.bytesIn += log.next - before;
    if (log.unwrittenBytes > UNWRITTEN_BYTES_MAX) log.flush();
  }
}
