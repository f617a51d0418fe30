// What happened to one message, told from the records of the log. A message that moves elsewhere is followed there.
//
// Of the state only the groups' progress is looked up, to know whose a lease is: what groups did that were deleted since is
// not told.

import { fromBinary } from '@bufbuild/protobuf';
import { TransactionState } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import {
  type LeasedRange,
  SettledOutcome,
  type SettledRange,
  type StateRecord,
  StateRecordSchema,
} from '@ternmq/proto/gen/ternmq/log/v1/log_pb';
import { OriginSchema } from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import { RECORD_HEADER_BYTES, RECORD_PREFIX_BYTES, RecordTag } from '../log/record.ts';
import type { RecordWatcher } from '../log/record-walk.ts';
import type { GroupTable } from '../state/groups.ts';
import {
  BORN_HOST_BYTES,
  bornHostAt,
  MESSAGE_AT,
  messageBytesOf,
  offsetOf,
  queueIdOf,
  storeTimeOf,
  topicIdOf,
} from '../state/message-record.ts';
import { readHeld, readReleased, TrailerTag, trailerTag } from '../state/message-trailer.ts';
import type { Place, TraceEvent, TraceKind } from './trace-event.ts';

/** Most events of one trace. */
export const TRACE_EVENTS_MAX = 10_000;
/** Most places that a message is followed to. */
const SUBJECTS_MAX = 64;
const ORIGIN_PREFIX_BYTES = 5;
/** The changes of state that may be about a message, by field number. */
const CHANGES = new Set([9, 10, 11, 12, 13, 14, 19, 20, 21, 22, 34]);

/** A message that is followed, and who holds it. */
interface Subject extends Place {
  /** Where its newest record lies; -1 before one was seen. */
  position: number;
  /** By progress: its last lease. */
  readonly leases: Map<number, { id: number; deadlineMs: number; settled: boolean }>;
  /** First offset of the transaction that it waits for; -1 for none. */
  transaction: number;
  gone: boolean;
}

/** Picks the records that are about one message, and tells what they say. */
export class MessageTrace implements RecordWatcher {
  readonly headBytes: number = MESSAGE_AT;
  readonly #groups: GroupTable;
  readonly #heldTopicId: number;
  readonly #subjects: Subject[];
  /** What was found since it was last taken. */
  #events: TraceEvent[] = [];
  #told = 0;
  /** Was the record found that stored one of the messages? */
  stored = false;
  /** Records that were decoded; the caller gives way to others when they are many. */
  decoded = 0;

  /** @param heldTopicId number of the topic in which messages wait; 0 when there is none */
  constructor(place: Place, groups: GroupTable, heldTopicId: number) {
    this.#groups = groups;
    this.#heldTopicId = heldTopicId;
    this.#subjects = [newSubject(place, -1)];
  }

  /** There were more events than a trace may have. */
  get full(): boolean {
    return this.#told >= TRACE_EVENTS_MAX;
  }

  /** What was found since the last call. */
  take(): TraceEvent[] {
    const events = this.#events;
    this.#events = [];
    return events;
  }

  wants(tag: RecordTag, buffer: Buffer, view: DataView, at: number, length: number): boolean {
    if (this.full) return false;
    const body = at + RECORD_HEADER_BYTES;
    if (tag === RecordTag.STATE) return CHANGES.has(changeOf(buffer, body));
    const topicId = topicIdOf(view, body);
    const trailed = MESSAGE_AT + messageBytesOf(view, body) < length;
    if (trailed && topicId !== this.#heldTopicId) return true;
    return this.#find(topicId, queueIdOf(view, body), offsetOf(view, body)) !== undefined;
  }

  visit(
    tag: RecordTag,
    buffer: Buffer,
    view: DataView,
    at: number,
    length: number,
    position: number,
  ): void {
    this.decoded++;
    if (tag === RecordTag.MESSAGE) this.#message(buffer, view, at, length, position);
    else {
      const bytes = buffer.subarray(at + RECORD_PREFIX_BYTES, at + length);
      this.#change(fromBinary(StateRecordSchema, bytes), position);
    }
  }

  #find(topicId: number, queueId: number, offset: number): Subject | undefined {
    return this.#subjects.find(
      (one) => one.offset === offset && one.topicId === topicId && one.queueId === queueId,
    );
  }

  #tell(
    kind: TraceKind,
    subject: Place,
    timeMs: number,
    position: number,
    more: Partial<TraceEvent> = {},
  ): void {
    if (this.full) return;
    this.#told++;
    const { topicId, queueId, offset } = subject;
    this.#events.push({
      kind,
      timeMs,
      position,
      place: { topicId, queueId, offset },
      progressId: 0,
      consumerId: '',
      attempt: 0,
      untilMs: 0,
      other: undefined,
      offset: 0,
      bornHost: undefined,
      reason: '',
      ...more,
    });
  }

  // ---- messages ----

  #message(buffer: Buffer, view: DataView, at: number, length: number, position: number): void {
    const body = at + RECORD_HEADER_BYTES;
    const place: Place = {
      topicId: topicIdOf(view, body),
      queueId: queueIdOf(view, body),
      offset: offsetOf(view, body),
    };
    const timeMs = storeTimeOf(view, body);
    const messageEnd = at + MESSAGE_AT + messageBytesOf(view, body);
    const trailer = trailerTag(buffer, messageEnd, at + length);
    const subject = this.#find(place.topicId, place.queueId, place.offset);
    if (subject !== undefined && subject.position >= 0) {
      // The copy keeps the time at which the message was stored; when it was made is not known.
      this.#tell('relocated', subject, timeMs, position);
      subject.position = position;
      return;
    }
    const from = sourceOf(buffer, view, messageEnd, at + length, trailer);
    if (subject !== undefined) {
      subject.position = position;
      this.stored = true;
      const hostAt = bornHostAt(body);
      const bornHost = Buffer.from(buffer.subarray(hostAt, hostAt + BORN_HOST_BYTES));
      const untilMs = trailer === TrailerTag.HELD ? readHeld(view, messageEnd).dueMs : 0;
      const kind = trailer === TrailerTag.HELD ? 'held' : 'stored';
      this.#tell(kind, subject, timeMs, position, { bornHost, untilMs, other: from });
    }
    const source =
      from === undefined ? undefined : this.#find(from.topicId, from.queueId, from.offset);
    if (from === undefined || source === undefined) return;
    const { kind, progressId, attempt, reason } = from;
    this.#follow(kind, source, place, timeMs, position, { progressId, attempt, reason });
    source.leases.set(progressId, { id: 0, deadlineMs: 0, settled: true });
  }

  #follow(
    kind: TraceKind,
    source: Subject,
    to: Place,
    timeMs: number,
    position: number,
    more: Partial<TraceEvent>,
  ): void {
    this.#tell(kind, source, timeMs, position, { ...more, other: to });
    if (this.#subjects.length < SUBJECTS_MAX) this.#subjects.push(newSubject(to, position));
  }

  // ---- changes of state ----

  #change({ timeMs: time, change }: StateRecord, position: number): void {
    const timeMs = Number(time);
    switch (change.case) {
      case 'leased': {
        const { consumerId, ranges } = change.value;
        const untilMs = Number(change.value.deadlineMs);
        for (const range of ranges) {
          for (const subject of this.#within(range)) {
            this.#leased(subject, range, timeMs, position, { consumerId, untilMs });
          }
        }
        return;
      }
      case 'settled':
        for (const range of change.value.ranges) {
          for (const subject of this.#within(range)) {
            this.#settled(subject, range, timeMs, position);
          }
        }
        return;
      case 'progressMerged':
        for (const { firstOffset, endOffset } of change.value.ranges) {
          const { progressId, queueId } = change.value;
          for (const subject of this.#within({ progressId, queueId, firstOffset, endOffset })) {
            const lease = { id: position, deadlineMs: 0, settled: true };
            if (subject.leases.get(progressId)?.settled === true) continue;
            subject.leases.set(progressId, lease);
            const reason = 'at a slave, while the group had no master';
            this.#tell('acknowledged', subject, timeMs, position, { progressId, reason });
          }
        }
        return;
      case 'progressStarted':
      case 'progressSet':
        for (const { queueId, offset } of change.value.offsets) {
          const { progressId } = change.value;
          for (const subject of this.#read(progressId, queueId)) {
            subject.leases.delete(progressId);
            const set = Number(offset);
            this.#tell('progressSet', subject, timeMs, position, { progressId, offset: set });
          }
        }
        return;
      case 'queuesTrimmed': {
        const { topicId, begins } = change.value;
        for (const { queueId, offset } of begins) {
          this.#expire(timeMs, position, (subject) => {
            const inQueue = subject.topicId === topicId && subject.queueId === queueId;
            return inQueue && subject.offset < Number(offset);
          });
        }
        return;
      }
      case 'logTrimmed': {
        const start = Number(change.value.startPosition);
        this.#expire(timeMs, position, (subject) => subject.position < start);
        return;
      }
      case 'heldDropped':
        for (const offset of change.value.offsets) {
          const subject = this.#held(Number(offset), 1);
          if (subject !== undefined) this.#tell('recalled', subject, timeMs, position);
        }
        return;
      case 'transactionBegun': {
        const first = Number(change.value.firstOffset);
        const subject = this.#held(first, change.value.messages);
        if (subject === undefined) return;
        subject.transaction = first;
        this.#tell('transactionBegun', subject, timeMs, position);
        return;
      }
      case 'transactionChecked': {
        const subject = this.#ofTransaction(Number(change.value.firstOffset));
        if (subject !== undefined) this.#tell('transactionChecked', subject, timeMs, position);
        return;
      }
      case 'transactionEnded': {
        const { firstOffset, state, cause: reason } = change.value;
        const subject = this.#ofTransaction(Number(firstOffset));
        const kind = state === TransactionState.COMMITTED ? 'committed' : 'rolledBack';
        if (subject !== undefined) this.#tell(kind, subject, timeMs, position, { reason });
        return;
      }
      default:
    }
  }

  /** The message that waits at one of these offsets. */
  #held(first: number, count: number): Subject | undefined {
    return this.#subjects.find(
      ({ topicId, offset }) =>
        topicId === this.#heldTopicId && offset >= first && offset < first + count,
    );
  }

  #ofTransaction(first: number): Subject | undefined {
    return this.#subjects.find(({ transaction }) => transaction === first);
  }

  /** The messages of a queue that a progress is about. */
  #read(progressId: number, queueId: number): Subject[] {
    const topicId = this.#groups.findProgress(progressId)?.topicId;
    return this.#subjects.filter((one) => one.topicId === topicId && one.queueId === queueId);
  }

  #within({
    progressId,
    queueId,
    firstOffset,
    endOffset,
  }: Pick<LeasedRange, 'progressId' | 'queueId' | 'firstOffset' | 'endOffset'>): Subject[] {
    const first = Number(firstOffset);
    const end = Number(endOffset);
    return this.#read(progressId, queueId).filter(({ offset }) => offset >= first && offset < end);
  }

  #leased(
    subject: Subject,
    { progressId, firstOffset, attempt, unmatched }: LeasedRange,
    timeMs: number,
    position: number,
    { consumerId, untilMs }: { consumerId: string; untilMs: number },
  ): void {
    const bit = subject.offset - Number(firstOffset);
    const filtered = (((unmatched[bit >> 3] ?? 0) >> (bit & 7)) & 1) === 1;
    // Without a deadline nobody gets it: retention had taken it before the group came to it.
    const settled = filtered || untilMs === 0;
    subject.leases.set(progressId, { id: position, deadlineMs: untilMs, settled });
    const kind = filtered ? 'filtered' : untilMs === 0 ? 'skipped' : 'leased';
    const more = kind === 'leased' ? { consumerId, attempt, untilMs } : {};
    this.#tell(kind, subject, timeMs, position, { ...more, progressId });
  }

  #settled(
    subject: Subject,
    { progressId, leaseId, outcome, atMs }: SettledRange,
    timeMs: number,
    position: number,
  ): void {
    const lease = subject.leases.get(progressId);
    const dropped = outcome === SettledOutcome.DROPPED;
    // A range may pass over messages that are settled, or that were delivered again since.
    if (lease !== undefined && (lease.settled || (lease.id !== Number(leaseId) && !dropped)))
      return;
    const untilMs = Number(atMs);
    const tell = (kind: TraceKind, until = 0): void =>
      this.#tell(kind, subject, timeMs, position, { progressId, untilMs: until });
    switch (outcome) {
      case SettledOutcome.EXTENDED:
        if (lease !== undefined) lease.deadlineMs = untilMs;
        tell('extended', untilMs);
        return;
      case SettledOutcome.RETRY: {
        const ended = lease !== undefined && timeMs >= lease.deadlineMs;
        tell(ended ? 'leaseEnded' : 'retried', untilMs);
        return;
      }
      case SettledOutcome.RETURNED:
        tell('returned');
        return;
      case SettledOutcome.ACKNOWLEDGED:
      case SettledOutcome.DROPPED:
        if (lease !== undefined) lease.settled = true;
        tell(dropped ? 'dropped' : 'acknowledged');
        return;
      default:
    }
  }

  #expire(timeMs: number, position: number, gone: (subject: Subject) => boolean): void {
    for (const subject of this.#subjects) {
      if (subject.gone || !gone(subject)) continue;
      subject.gone = true;
      this.#tell('expired', subject, timeMs, position);
    }
  }
}

function newSubject(place: Place, position: number): Subject {
  return { ...place, position, leases: new Map(), transaction: -1, gone: false };
}

/** Where a message that was moved here was before, and why it was moved. */
function sourceOf(
  buffer: Buffer,
  view: DataView,
  messageEnd: number,
  recordEnd: number,
  trailer: number,
):
  | (Place & {
      kind: 'released' | 'resent' | 'deadLettered';
      progressId: number;
      attempt: number;
      reason: string;
    })
  | undefined {
  if (trailer === TrailerTag.RELEASED) {
    const released = readReleased(view, messageEnd);
    return { ...released, queueId: 0, kind: 'released', progressId: 0, attempt: 0, reason: '' };
  }
  if (trailer !== TrailerTag.ORIGIN) return undefined;
  const bytes = buffer.subarray(messageEnd + ORIGIN_PREFIX_BYTES, recordEnd);
  const { topicId, queueId, offset, progressId, attempts, reason } = fromBinary(
    OriginSchema,
    bytes,
  );
  const kind = progressId === 0 ? 'resent' : 'deadLettered';
  return { topicId, queueId, offset: Number(offset), kind, progressId, attempt: attempts, reason };
}

/** Field number of what a change of state changes. */
function changeOf(buffer: Buffer, body: number): number {
  const TIME = 0x21;
  let at = buffer[body] === TIME ? body + 9 : body;
  const tag = buffer[at] as number;
  if (tag < 128) return tag >> 3;
  at++;
  return ((tag & 127) | ((buffer[at] as number) << 7)) >> 3;
}
