// Writes to the log and applies what it wrote: the only way in which the broker's state changes.
//
// A record is applied when it is appended, so the state in memory is always that of `log.next`. What the state
// says may be told to others once the log is visible up to the record; the store gets it when the log is
// durable up to there.

import { create, toBinary } from '@bufbuild/protobuf';
import { type StateRecord, StateRecordSchema } from '@ternmq/proto/gen/ternmq/log/v1/log_pb';
import { type Origin, OriginSchema } from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import type { Clock } from '@ternmq/runtime';
import type { CommitLog } from '../log/commit-log.ts';
import { RECORD_HEADER_BYTES, RecordTag, viewOf, writeLength } from '../log/record.ts';
import type { BrokerState } from './broker-state.ts';
import { dueHigh, dueLow } from './held-table.ts';
import {
  MESSAGE_HEADER_BYTES,
  messageBytesOf,
  NO_HOST,
  writeMessageHeader,
} from './message-record.ts';
import { keyHashOfMessage, tagHashOfMessage } from './message-tag.ts';
import {
  HELD_BYTES,
  type Held,
  RELEASED_BYTES,
  readHeld,
  TrailerTag,
  trailerTag,
  writeHeld,
  writeReleased,
} from './message-trailer.ts';
import type { Queue } from './queue.ts';

/** A queue's messages that become visible with the log. */
interface Arrivals {
  readonly positions: number[];
  readonly queues: Queue[];
  readonly ends: number[];
  head: number;
}

/** Appends to the log and applies. */
export class StateLog {
  readonly log: CommitLog;
  readonly state: BrokerState;
  readonly #clock: Clock;
  readonly #arrivals: Arrivals = { positions: [], queues: [], ends: [], head: 0 };

  constructor(log: CommitLog, state: BrokerState, clock: Clock) {
    this.log = log;
    this.state = state;
    this.#clock = clock;
  }

  /** Now, in milliseconds since the Unix epoch; never before the newest record. */
  timeMs(): number {
    return Math.max(this.#clock.nowMs(), this.state.lastTimeMs);
  }

  /** Appends a change of state and applies it; returns the record's position. Throws as CommitLog.begin. */
  change(change: StateRecord['change']): number {
    const timeMs = this.timeMs();
    const record = create(StateRecordSchema, { timeMs: BigInt(timeMs), change });
    const position = this.log.append(RecordTag.STATE, toBinary(StateRecordSchema, record));
    this.state.applyChange(record, position);
    return position;
  }

  /**
   * Begins the log's epoch: the first record that it appends.
   *
   * @param nonce chosen at random, a whole number below 2^53
   */
  beginEpoch(nonce: number): void {
    const { epoch, next } = this.log;
    this.change({
      case: 'epochBegun',
      value: {
        $typeName: 'ternmq.log.v1.EpochBegun',
        epoch,
        startPosition: BigInt(next),
        nonce: BigInt(nonce),
      },
    });
  }

  /**
   * Appends a message to a queue. The caller has the log written (`log.requestFlush`) and says when a run of
   * messages is complete (`arrived`).
   *
   * @param bytes holds the message at [start, start + length)
   * @param tagHash hash of its tag; 0 for none
   * @param keyHash hash of its ordering key, 20 bits; 0 for none
   * @param bornHost 16 bytes
   * @param hasKeys it has business keys
   */
  appendMessage(
    queue: Queue,
    bytes: Buffer,
    start: number,
    length: number,
    tagHash: number,
    keyHash: number,
    timeMs: number,
    producerId: number,
    sequence: number,
    bornHost: Buffer,
    hasKeys: boolean,
  ): void {
    const { log } = this;
    const bodyBytes = MESSAGE_HEADER_BYTES + length;
    const at = log.begin(RecordTag.MESSAGE, bodyBytes);
    const { buffer } = log;
    writeMessageHeader(
      buffer,
      log.view,
      at,
      queue.topicId,
      queue.queueId,
      queue.next,
      timeMs,
      producerId,
      sequence,
      bornHost,
      length,
    );
    buffer.set(bytes.subarray(start, start + length), at + MESSAGE_HEADER_BYTES);
    const position = log.end();
    const recordBytes = RECORD_HEADER_BYTES + bodyBytes;
    this.state.addMessage(
      queue,
      position,
      recordBytes,
      tagHash,
      keyHash,
      timeMs,
      producerId,
      sequence,
    );
    if (hasKeys) this.state.addKeys(queue, bytes, start, start + length);
    if (queue.deduplicated || queue.compacted) {
      this.state.latest.note(queue, queue.next - 1, timeMs, position, bytes, start, start + length);
    }
  }

  /**
   * Moves a message: appends it to a queue, and removes it where it was, with one record.
   *
   * @param message the producer's bytes
   */
  moveMessage(
    queue: Queue,
    message: Uint8Array,
    origin: Omit<Origin, '$typeName' | '$unknown'>,
  ): void {
    const { log } = this;
    const timeMs = this.timeMs();
    const originBytes = toBinary(OriginSchema, create(OriginSchema, origin));
    const TAG_AND_LENGTH = 5;
    const bodyBytes = MESSAGE_HEADER_BYTES + message.length + TAG_AND_LENGTH + originBytes.length;
    const at = log.begin(RecordTag.MESSAGE, bodyBytes);
    const { buffer, view } = log;
    writeMessageHeader(
      buffer,
      view,
      at,
      queue.topicId,
      queue.queueId,
      queue.next,
      timeMs,
      0,
      0,
      NO_HOST,
      message.length,
    );
    const messageAt = at + MESSAGE_HEADER_BYTES;
    buffer.set(message, messageAt);
    const originAt = messageAt + message.length;
    view.setUint8(originAt, TrailerTag.ORIGIN);
    writeLength(view, originAt + 1, originBytes.length);
    buffer.set(originBytes, originAt + TAG_AND_LENGTH);
    const recordAt = at - RECORD_HEADER_BYTES;
    const recordBytes = RECORD_HEADER_BYTES + bodyBytes;
    const tagHash = tagHashOfMessage(buffer, messageAt, originAt);
    const keyHash = keyHashOfMessage(buffer, messageAt, originAt);
    const position = log.end();
    this.state.lastTimeMs = timeMs;
    this.state.addMessage(queue, position, recordBytes, tagHash, keyHash, timeMs, 0, 0);
    this.state.addKeys(queue, buffer, messageAt, originAt);
    this.state.latest.note(queue, queue.next - 1, timeMs, position, buffer, messageAt, originAt);
    this.state.applyOrigin(buffer.subarray(originAt, recordAt + recordBytes));
    this.arrived(queue);
    log.requestFlush();
  }

  /**
   * Appends a delayed message to the queue in which it waits. As `appendMessage`, with where it belongs.
   *
   * @param queue the queue of delayed messages
   */
  appendHeld(
    queue: Queue,
    bytes: Uint8Array,
    start: number,
    length: number,
    held: Held,
    timeMs: number,
    producerId: number,
    sequence: number,
    bornHost: Buffer,
  ): void {
    const { log, state } = this;
    const bodyBytes = MESSAGE_HEADER_BYTES + length + HELD_BYTES;
    const at = log.begin(RecordTag.MESSAGE, bodyBytes);
    const { buffer, view } = log;
    const { topicId, queueId, next } = queue;
    writeMessageHeader(
      buffer,
      view,
      at,
      topicId,
      queueId,
      next,
      timeMs,
      producerId,
      sequence,
      bornHost,
      length,
    );
    const messageAt = at + MESSAGE_HEADER_BYTES;
    buffer.set(bytes.subarray(start, start + length), messageAt);
    writeHeld(view, messageAt + length, held);
    const position = log.end();
    state.addMessage(
      queue,
      position,
      RECORD_HEADER_BYTES + bodyBytes,
      dueLow(held.dueMs),
      dueHigh(held.dueMs),
      timeMs,
      producerId,
      sequence,
    );
    state.held.add(next, held.dueMs);
  }

  /**
   * Moves a delayed message to the queue where it belongs, with one record. The caller says when a run of messages is
   * complete (`arrived`).
   *
   * @param message the producer's bytes
   * @param offset where it waited
   */
  releaseMessage(
    queue: Queue,
    message: Buffer,
    timeMs: number,
    bornHost: Buffer,
    heldQueue: Queue,
    offset: number,
  ): void {
    const { log, state } = this;
    const { length } = message;
    const bodyBytes = MESSAGE_HEADER_BYTES + length + RELEASED_BYTES;
    const at = log.begin(RecordTag.MESSAGE, bodyBytes);
    const { buffer, view } = log;
    const { topicId, queueId, next } = queue;
    writeMessageHeader(buffer, view, at, topicId, queueId, next, timeMs, 0, 0, bornHost, length);
    const messageAt = at + MESSAGE_HEADER_BYTES;
    buffer.set(message, messageAt);
    writeReleased(view, messageAt + length, { topicId: heldQueue.topicId, offset });
    const position = log.end();
    const tagHash = tagHashOfMessage(message, 0, length);
    const keyHash = keyHashOfMessage(message, 0, length);
    const recordBytes = RECORD_HEADER_BYTES + bodyBytes;
    state.lastTimeMs = timeMs;
    state.addMessage(queue, position, recordBytes, tagHash, keyHash, timeMs, 0, 0);
    state.addKeys(queue, message, 0, length);
    state.latest.note(queue, next, timeMs, position, message, 0, length);
    state.heldDone(offset);
  }

  /** Appends a message's record once more, with its old offset, because its segment is about to go. */
  relocateMessage(queue: Queue, offset: number, record: Buffer): void {
    // A copy: making room in the log may use the cache again that the record lies in.
    const body = Buffer.from(record.subarray(RECORD_HEADER_BYTES));
    const position = this.log.append(RecordTag.MESSAGE, body);
    const view = viewOf(body);
    const messageEnd = MESSAGE_HEADER_BYTES + messageBytesOf(view, 0);
    const held = trailerTag(body, messageEnd, body.length) === TrailerTag.HELD;
    const label = held
      ? readHeld(view, messageEnd).dueMs
      : keyHashOfMessage(body, MESSAGE_HEADER_BYTES, messageEnd);
    this.state.relocated(queue, offset, position, record.length, label);
  }

  /** The messages appended to a queue so far arrive when the log becomes visible up to here. */
  arrived(queue: Queue): void {
    const { positions, queues, ends } = this.#arrivals;
    positions.push(this.log.next);
    queues.push(queue);
    ends.push(queue.next);
  }

  /** Everything that is applied and not shown arrives when the log becomes visible up to here. */
  allArrived(): void {
    for (const topic of this.state.topics.all()) {
      for (const queue of topic.queues) {
        if (queue.visibleEnd < queue.next) this.arrived(queue);
      }
    }
  }

  /** The log has become visible further: lets queues show what arrived, and tells their readers. */
  advanced(): void {
    const arrivals = this.#arrivals;
    const { positions, queues, ends } = arrivals;
    const { visible } = this.log;
    const told: Queue[] = [];
    let { head } = arrivals;
    while (head < positions.length && (positions[head] as number) <= visible) {
      const queue = queues[head] as Queue;
      queue.visibleEnd = ends[head] as number;
      if (queue.readers !== undefined && !queue.touched) {
        queue.touched = true;
        told.push(queue);
      }
      head++;
    }
    if (head === positions.length) {
      positions.length = 0;
      queues.length = 0;
      ends.length = 0;
      head = 0;
    } else if (head > 4096) {
      positions.splice(0, head);
      queues.splice(0, head);
      ends.splice(0, head);
      head = 0;
    }
    arrivals.head = head;
    for (const queue of told) {
      queue.touched = false;
      for (const reader of queue.readers ?? []) reader.arrived(queue);
    }
  }
}

/** Adds a reader to a queue. */
export function addReader(queue: Queue, reader: NonNullable<Queue['readers']>[number]): void {
  queue.readers = [...(queue.readers ?? []), reader];
}

/** Removes a reader from a queue; harmless when it is not there. */
export function removeReader(queue: Queue, reader: NonNullable<Queue['readers']>[number]): void {
  const rest = (queue.readers ?? []).filter((one) => one !== reader);
  queue.readers = rest.length === 0 ? undefined : rest;
}
