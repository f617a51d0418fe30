// Reads what the broker delivers: SubscribeResponse, ReceiveResponse, PullResponse and PullStreamResponse all have
// the stored messages as field 1, byte by byte as the broker keeps them.

import type { RetriedStretch } from '../key-order.ts';
import { FieldReader } from './varint.ts';

/** A stored message, found in a response and not decoded any further. */
export interface RecordSlice {
  readonly bytes: Buffer;
  /** Where the record's fields begin and end. */
  readonly start: number;
  readonly end: number;
}

/** A stretch of one queue under a lease. */
export interface Lease {
  topicId: number;
  queueId: number;
  first: number;
  end: number;
  leaseId: number;
  attempt: number;
  deadlineMs: number;
}

/** A settlement that could not be carried out. */
export interface SettlementFailure {
  readonly reason: string;
  readonly message: string;
}

/** What one response holds. */
export interface DeliveredFrame {
  readonly records: RecordSlice[];
  readonly leases: Lease[];
  /** Names and numbers of topics. */
  readonly topics: { topic: string; topicId: number }[];
  readonly failures: SettlementFailure[];
  /** Stretches of queues that the broker has taken for failed; of ordered groups only. */
  readonly retried: RetriedStretch[];
}

/** Reads a SubscribeResponse or a ReceiveResponse. */
export function readDelivery(bytes: Buffer): DeliveredFrame {
  const frame: DeliveredFrame = { records: [], leases: [], topics: [], failures: [], retried: [] };
  const reader = new FieldReader(bytes);
  while (reader.more) {
    const tag = reader.varint();
    if (tag % 8 !== 2) {
      reader.skip(tag);
      continue;
    }
    const { start, end } = reader.skipBytes();
    if (tag === 0x0a) frame.records.push({ bytes, start, end });
    else if (tag === 0x12) frame.leases.push(readLease(new FieldReader(bytes, start, end)));
    else if (tag === 0x1a) frame.topics.push(readTopic(new FieldReader(bytes, start, end)));
    else if (tag === 0x22) frame.failures.push(readFailure(new FieldReader(bytes, start, end)));
    else if (tag === 0x2a) frame.retried.push(readRetried(new FieldReader(bytes, start, end)));
  }
  return frame;
}

function readLease(reader: FieldReader): Lease {
  const lease: Lease = {
    topicId: 0,
    queueId: 0,
    first: 0,
    end: 0,
    leaseId: 0,
    attempt: 0,
    deadlineMs: 0,
  };
  while (reader.more) {
    const tag = reader.varint();
    if (tag === 0x0d) lease.topicId = reader.fixed32();
    else if (tag === 0x15) lease.queueId = reader.fixed32();
    else if (tag === 0x19) lease.first = reader.fixed64();
    else if (tag === 0x21) lease.end = reader.fixed64();
    else if (tag === 0x29) lease.leaseId = reader.fixed64();
    else if (tag === 0x35) lease.attempt = reader.fixed32();
    else if (tag === 0x39) lease.deadlineMs = reader.fixed64();
    else reader.skip(tag);
  }
  return lease;
}

function readRetried(reader: FieldReader): RetriedStretch {
  const stretch = { topicId: 0, queueId: 0, first: 0, end: 0 };
  while (reader.more) {
    const tag = reader.varint();
    if (tag === 0x0d) stretch.topicId = reader.fixed32();
    else if (tag === 0x15) stretch.queueId = reader.fixed32();
    else if (tag === 0x19) stretch.first = reader.fixed64();
    else if (tag === 0x21) stretch.end = reader.fixed64();
    else reader.skip(tag);
  }
  return stretch;
}

function readTopic(reader: FieldReader): { topic: string; topicId: number } {
  const named = { topic: '', topicId: 0 };
  while (reader.more) {
    const tag = reader.varint();
    if (tag === 0x0a) named.topic = reader.text();
    else if (tag === 0x10) named.topicId = reader.varint();
    else reader.skip(tag);
  }
  return named;
}

function readFailure(reader: FieldReader): SettlementFailure {
  const failure = { reason: '', message: '' };
  while (reader.more) {
    const tag = reader.varint();
    if (tag === 0x12) failure.reason = reader.text();
    else if (tag === 0x1a) failure.message = reader.text();
    else reader.skip(tag);
  }
  return failure;
}

/** What a pull brought. */
export interface PulledFrame {
  readonly records: RecordSlice[];
  nextOffset: number;
  beginOffset: number;
  endOffset: number;
  /** Where the reader had better go on; empty: where it is. */
  readAt: string;
}

/** Reads a PullResponse or a PullStreamResponse. */
export function readPull(bytes: Buffer): PulledFrame {
  const frame: PulledFrame = {
    records: [],
    nextOffset: 0,
    beginOffset: 0,
    endOffset: 0,
    readAt: '',
  };
  const reader = new FieldReader(bytes);
  while (reader.more) {
    const tag = reader.varint();
    if (tag === 0x0a) {
      const { start, end } = reader.skipBytes();
      frame.records.push({ bytes, start, end });
    } else if (tag === 0x11) frame.nextOffset = reader.fixed64();
    else if (tag === 0x19) frame.beginOffset = reader.fixed64();
    else if (tag === 0x21) frame.endOffset = reader.fixed64();
    else if (tag === 0x2a) frame.readAt = reader.text();
    else reader.skip(tag);
  }
  return frame;
}
