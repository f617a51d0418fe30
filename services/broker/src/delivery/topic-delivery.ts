// Hands the messages of one topic to the consumers of one group, or to one broadcasting member. It exists as
// long as there is a consumer; the progress outlives it.
//
// A queue is "ready" while it may have something that was never delivered. A frame is filled from retries that
// are due, then from ready queues by turns, and goes to the next consumer by turns that has credit. Where queues stand
// for priorities, both are taken from the most urgent queue, and then from the next. What must be read from the disk
// first is read in the background, and then the queue is ready again; nothing is leased before its bytes are at hand.

import { create } from '@bufbuild/protobuf';
import {
  type LeasedRange,
  LeasedRangeSchema,
  LeasedSchema,
  SettledOutcome,
  SettledSchema,
} from '@ternmq/proto/gen/ternmq/log/v1/log_pb';
import { type Clock, type Logger, TernError } from '@ternmq/runtime';
import type { CommitLog } from '../log/commit-log.ts';
import { queueProgress, type TopicProgress } from '../state/groups.ts';
import { nextKept } from '../state/kept-messages.ts';
import { isByPriority } from '../state/priority.ts';
import type { Queue, QueueReader } from '../state/queue.ts';
import { addReader, removeReader, type StateLog } from '../state/state-log.ts';
import type { Topic } from '../state/topics.ts';
import type { Collector } from './collect.ts';
import { type Consumer, hasCredit } from './consumer.ts';
import { dropMessage } from './drop-message.ts';
import { encodeLeases, type LeasedStretch } from './lease-bytes.ts';
import type { MessageFilter } from './message-filter.ts';
import { OrderedQueue } from './ordered-queue.ts';

const FRAME_MESSAGES_MAX = 256;
const FRAME_BYTES_MAX = 256 << 10;
/** Offsets in a row that are gone, from which on they are passed over with a record of their own. */
const GAP_MIN = 1024;
/** Pause after the disk has failed to read. */
const READ_RETRY_MS = 1000;
/** So that one consumer of several does not get everything that has arrived. */
const SHARED_FRAME_MESSAGES_MAX = 32;

const NO_MARKS = new Uint8Array();

interface Frame {
  readonly parts: Buffer[];
  readonly stretches: LeasedStretch[];
  readonly ranges: LeasedRange[];
  messages: number;
  bytes: number;
}

/** What a frame may hold; the first message may be larger. */
interface Limits {
  readonly messagesMax: number;
  readonly bytesMax: number;
}

function isFull(frame: Frame, { messagesMax, bytesMax }: Limits): boolean {
  return frame.messages >= messagesMax || frame.bytes >= bytesMax;
}

/** Delivers one topic to one group. */
export class TopicDelivery implements QueueReader {
  readonly topic: Topic;
  readonly progress: TopicProgress;
  readonly filter: MessageFilter;
  readonly #stateLog: StateLog;
  readonly #log: CommitLog;
  readonly #collector: Collector;
  readonly #clock: Clock;
  readonly #logger: Logger;
  /** By turns: who was served last is at the end. */
  readonly #consumers = new Set<Consumer>();
  /** Queues that may have something new, the one served last at the end. */
  readonly #ready = new Set<Queue>();
  /** Queues that have messages waiting for a retry. */
  readonly #retrying = new Set<number>();
  /** Queues that a background read goes on for. */
  readonly #loading = new Set<Queue>();
  /** By queue id; undefined when the group is not ordered. */
  readonly #ordered: OrderedQueue[] | undefined;
  #watched: Queue[] = [];
  #pumping = false;
  /** Who waits until nothing is read from the disk any more. */
  #loadWaiters: (() => void)[] = [];

  constructor(
    options: { topic: Topic; progress: TopicProgress; filter: MessageFilter; ordered: boolean },
    modules: { stateLog: StateLog; collector: Collector; clock: Clock; logger: Logger },
  ) {
    this.topic = options.topic;
    this.progress = options.progress;
    this.filter = options.filter;
    this.#stateLog = modules.stateLog;
    this.#log = modules.stateLog.log;
    this.#collector = modules.collector;
    this.#clock = modules.clock;
    this.#logger = modules.logger;
    this.#ordered = options.ordered ? [] : undefined;
    this.watch();
  }

  /** Consumers that are attached. */
  get consumers(): ReadonlySet<Consumer> {
    return this.#consumers;
  }

  /** Reads every queue that the topic has now. */
  watch(): void {
    for (const queue of this.topic.queues.slice(this.#watched.length)) {
      this.#watched.push(queue);
      addReader(queue, this);
      this.#ready.add(queue);
      const progress = queueProgress(this.progress, queue.queueId);
      this.#ordered?.push(new OrderedQueue(this.#stateLog.state, queue, progress));
      if (progress.waitingForRetry > 0) this.#retrying.add(queue.queueId);
    }
  }

  /** Stops reading the queues. */
  close(): void {
    for (const queue of this.#watched) removeReader(queue, this);
    this.#watched = [];
    for (const ordered of this.#ordered ?? []) ordered.close();
  }

  /** Adds a consumer and serves it. */
  attach(consumer: Consumer): void {
    this.#consumers.add(consumer);
    this.pump();
  }

  /** Removes a consumer. */
  detach(consumer: Consumer): void {
    this.#consumers.delete(consumer);
  }

  /** A message has arrived in a queue. */
  arrived(queue: Queue): void {
    this.#ready.add(queue);
    this.pump();
  }

  /** The progress of a queue has been changed: there may be something to deliver again, or at all. */
  changed(queueId: number): void {
    this.#retrying.add(queueId);
    const queue = this.topic.queues[queueId];
    if (queue !== undefined) this.#ready.add(queue);
  }

  /** Resolves when what is there to deliver has been read from the disk. */
  loaded(): Promise<void> {
    if (this.#loading.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#loadWaiters.push(resolve));
  }

  /** Delivers as much as consumers have credit for. */
  pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    try {
      if (this.#ordered !== undefined) this.#serveAll();
      else {
        for (let consumer = this.#next(); consumer !== undefined; consumer = this.#next()) {
          if (!this.#serve(consumer)) return;
          this.#toTheEnd(consumer);
        }
      }
    } catch (error) {
      // The disk is full or the log has stopped: nothing was leased, and the next event tries again.
      if (!(error instanceof TernError)) throw error;
      for (const ordered of this.#ordered ?? []) ordered.reset();
    } finally {
      this.#pumping = false;
    }
  }

  /** Of an ordered group one consumer may get what another must not have: all are asked until none gets anything. */
  #serveAll(): void {
    for (let served = true; served; ) {
      served = false;
      for (const consumer of [...this.#consumers]) {
        if (!hasCredit(consumer) || !this.#serve(consumer)) continue;
        served = true;
        this.#toTheEnd(consumer);
      }
    }
  }

  /** Serving a consumer may have ended it. */
  #toTheEnd(consumer: Consumer): void {
    if (this.#consumers.delete(consumer)) this.#consumers.add(consumer);
  }

  #next(): Consumer | undefined {
    for (const consumer of this.#consumers) {
      if (hasCredit(consumer)) return consumer;
    }
    return undefined;
  }

  /** Gives a consumer one frame; returns false when there is nothing for anyone. */
  #serve(consumer: Consumer): boolean {
    const frame: Frame = { parts: [], stretches: [], ranges: [], messages: 0, bytes: 0 };
    const shared = this.#consumers.size > 1 ? SHARED_FRAME_MESSAGES_MAX : FRAME_MESSAGES_MAX;
    const messagesMax = Math.min(consumer.creditMessages, shared);
    const bytesMax = Math.min(consumer.creditBytes, FRAME_BYTES_MAX);
    const limits = { messagesMax, bytesMax };
    if (isByPriority(this.topic.settings)) this.#addByPriority(frame, consumer, limits);
    else {
      for (const queueId of this.#retrying) this.#addRetries(frame, consumer, queueId, limits);
      for (const queue of [...this.#ready]) this.#addNew(frame, consumer, queue, limits);
    }
    if (frame.ranges.length === 0) return false;
    const deadlineMs = this.#stateLog.timeMs() + consumer.leaseMs;
    const leased = create(LeasedSchema, {
      consumerId: consumer.id,
      deadlineMs: BigInt(deadlineMs),
      streaming: consumer.streaming,
      ranges: frame.ranges,
    });
    // The parts lie in the log's caches, which appending may overwrite: they are copied first.
    const records = Buffer.concat(frame.parts);
    const leaseId = this.#stateLog.change({ case: 'leased', value: leased });
    if (frame.messages === 0) return true;
    this.topic.messagesOut += frame.messages;
    this.topic.bytesOut += frame.bytes;
    consumer.creditMessages -= frame.messages;
    consumer.creditBytes -= frame.bytes;
    const leases = encodeLeases(frame.stretches, leaseId, deadlineMs);
    consumer.deliver(Buffer.concat([records, leases]), frame.messages);
    return true;
  }

  /** The most urgent queues first: what is due again there, then what is new. */
  #addByPriority(frame: Frame, consumer: Consumer, limits: Limits): void {
    for (const queue of this.topic.queues.toReversed()) {
      if (this.#retrying.has(queue.queueId)) {
        this.#addRetries(frame, consumer, queue.queueId, limits);
      }
      if (this.#ready.has(queue)) this.#addNew(frame, consumer, queue, limits);
    }
  }

  #addRetries(frame: Frame, consumer: Consumer, queueId: number, limits: Limits): void {
    const { messagesMax, bytesMax } = limits;
    if (isFull(frame, limits)) return;
    const queue = this.topic.queues[queueId] as Queue;
    const progress = queueProgress(this.progress, queueId);
    if (progress.waitingForRetry === 0) {
      this.#retrying.delete(queueId);
      return;
    }
    const ordered = this.#ordered?.[queueId];
    const left = messagesMax - frame.messages;
    const nowMs = this.#stateLog.timeMs();
    const due = ordered?.candidates(consumer, nowMs, left) ?? progress.dueRetries(nowMs, left);
    // Messages of a key may follow each other in a frame: the list grows while it is gone through.
    for (const { offset, attempt } of due) {
      let record: Buffer | { position: number; length: number };
      try {
        record = this.#collector.record(queue, offset);
      } catch (error) {
        if (!(error instanceof TernError)) throw error;
        if (this.#collector.keepsDamaged) continue;
        this.#logger.error(
          { error, topic: this.topic.name, queueId, offset },
          'a message that waited for a retry is damaged or gone; it is dropped',
        );
        dropMessage(this.#stateLog, this.progress, queueId, offset);
        continue;
      }
      if (!Buffer.isBuffer(record)) {
        this.#load(queue, record);
        return;
      }
      if (frame.messages > 0 && frame.bytes + record.length > bytesMax) return;
      frame.parts.push(record);
      frame.messages++;
      frame.bytes += record.length;
      this.#addStretch(frame, queueId, offset, offset + 1, attempt + 1, undefined, undefined);
      ordered?.handedOut(offset, consumer);
      if (frame.messages >= messagesMax) return;
      const following = ordered?.following(offset, consumer);
      if (following !== undefined) due.push(following);
    }
  }

  #addNew(frame: Frame, consumer: Consumer, queue: Queue, limits: Limits): void {
    const { messagesMax, bytesMax } = limits;
    if (isFull(frame, limits)) return;
    this.#ready.delete(queue);
    if (this.#loading.has(queue)) return;
    const progress = queueProgress(this.progress, queue.queueId);
    // Ready again when something is settled.
    if (!progress.canLeaseMore) return;
    const kept = nextKept(this.#stateLog.state, queue, progress.next);
    // Shorter gaps of a compacted queue are passed over with what is delivered.
    const gap = queue.compacted ? GAP_MIN : 1;
    if (kept - progress.next >= gap) this.#skipTo(queue, progress.next, kept);
    const first = progress.next;
    const found = this.#collector.collect(
      queue,
      first,
      messagesMax - frame.messages,
      bytesMax - frame.bytes,
      this.filter,
      frame.parts,
      true,
      this.#ordered?.[queue.queueId]?.gateFor(consumer),
    );
    frame.messages += found.messages;
    frame.bytes += found.bytes;
    if (found.end > first) {
      this.#addStretch(frame, queue.queueId, first, found.end, 1, found.unmatched, found.held);
      // What was passed over may be for another consumer.
      if (found.held !== undefined) this.#retrying.add(queue.queueId);
    }
    if (found.missing !== undefined) this.#load(queue, found.missing);
    else if (found.end < queue.visibleEnd) this.#ready.add(queue);
  }

  #addStretch(
    frame: Frame,
    queueId: number,
    first: number,
    end: number,
    attempt: number,
    unmatched: Uint8Array | undefined,
    held: Uint8Array | undefined,
  ): void {
    frame.stretches.push({ topicId: this.topic.id, queueId, first, end, attempt });
    frame.ranges.push(
      create(LeasedRangeSchema, {
        progressId: this.progress.id,
        queueId,
        firstOffset: BigInt(first),
        endOffset: BigInt(end),
        attempt,
        unmatched: unmatched?.subarray(0, (end - first + 7) >> 3) ?? NO_MARKS,
        held: held?.subarray(0, (end - first + 7) >> 3) ?? NO_MARKS,
      }),
    );
  }

  /** Retention took what the group would read next: passes that over. */
  #skipTo(queue: Queue, first: number, begin: number): void {
    const { queueId } = queue;
    if (!queue.compacted) {
      this.#logger.warn(
        { topic: this.topic.name, queueId, first, begin },
        'retention deleted messages that the group had not read; it goes on at the oldest one',
      );
    }
    const range = {
      progressId: this.progress.id,
      queueId,
      firstOffset: BigInt(first),
      endOffset: BigInt(begin),
    };
    const leased = create(LeasedSchema, { ranges: [{ ...range, attempt: 1 }] });
    const leaseId = BigInt(this.#stateLog.change({ case: 'leased', value: leased }));
    const outcome = SettledOutcome.ACKNOWLEDGED;
    const settled = create(SettledSchema, { ranges: [{ ...range, leaseId, outcome }] });
    this.#stateLog.change({ case: 'settled', value: settled });
  }

  #load(queue: Queue, { position, length }: { position: number; length: number }): void {
    if (this.#loading.has(queue)) return;
    this.#loading.add(queue);
    const again = (): void => {
      this.#loading.delete(queue);
      this.#ready.add(queue);
      this.pump();
      if (this.#loading.size > 0) return;
      for (const wake of this.#loadWaiters.splice(0)) wake();
    };
    this.#log.read.load(position, length).then(again, (error: Error) => {
      this.#logger.error({ error, position }, 'old messages cannot be read from the disk');
      this.#clock.setTimer(READ_RETRY_MS, again);
    });
  }
}
