// Reads the log of a data folder without changing a byte, for checks and dumps.

import { isUtf8 } from 'node:buffer';
import { join } from 'node:path';
import { fromBinary, toJson } from '@bufbuild/protobuf';
import { StateRecordSchema } from '@ternmq/proto/gen/ternmq/log/v1/log_pb';
import { StoredMessageSchema } from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import { type Disk, TernError } from '@ternmq/runtime';
import { LOG_DEFAULTS } from './log/log-options.ts';
import { RECORD_PREFIX_BYTES, RecordTag } from './log/record.ts';
import { type CorruptRange, type RecordVisitor, scanReadOnly } from './log/scan.ts';
import { Segments } from './log/segments.ts';
import { readWatermark } from './log/watermark-file.ts';
import { checkFormat } from './state/data-folder.ts';

/** What a check of a log found. */
export interface LogCheck {
  /** Position of the oldest byte that is kept. */
  readonly start: number;
  /** Position behind the last record. */
  readonly end: number;
  /** Every byte before this position is known to be durable. */
  readonly durable: number;
  /** Segment files. */
  readonly segments: number;
  /** Messages and changes of state. */
  readonly records: number;
  readonly messages: number;
  readonly states: number;
  /** Bytes of those records. */
  readonly bytes: number;
  /** Ranges that were durable and do not check out. */
  readonly corrupt: readonly CorruptRange[];
  /** Bytes behind the end: what a crash left of records that were never durable, or what is being written. */
  readonly tornBytes: number;
}

/** One record of a log, for people and programs. */
export interface DumpedRecord {
  readonly position: number;
  readonly bytes: number;
  readonly message?: {
    readonly topicId: number;
    readonly queueId: number;
    readonly offset: number;
    readonly storeTimeMs: number;
    readonly tag: string;
    readonly keys: readonly string[];
    readonly properties: Readonly<Record<string, string>>;
    readonly orderingKey: string;
    /** The body when it is UTF-8, else `bodyBase64`. */
    readonly body?: string;
    readonly bodyBase64?: string;
  };
  /** A StateRecord as protobuf JSON. */
  readonly state?: unknown;
}

/**
 * Checks every record of a data folder's log.
 *
 * @param read told of the bytes read so far
 * @throws TernError NOT_FOUND with reason NO_LOG, FAILED_PRECONDITION (DATA_FORMAT_UNKNOWN)
 */
export function checkLog(
  folder: string,
  disk: Disk,
  read: (bytes: number) => void = () => {},
): LogCheck {
  let messages = 0;
  let states = 0;
  let bytes = 0;
  const { result, start, segments } = scan(folder, disk, (tag, _buffer, _view, _at, length) => {
    if (tag === RecordTag.MESSAGE) messages++;
    else states++;
    bytes += length;
    read(bytes);
  });
  const { end, durable, corrupt, tornBytes } = result;
  const records = messages + states;
  return { start, end, durable, segments, records, messages, states, bytes, corrupt, tornBytes };
}

/**
 * Shows the records of a data folder's log, oldest first.
 *
 * @param show returns false to stop
 * @throws as checkLog
 */
export function dumpLog(folder: string, disk: Disk, show: (record: DumpedRecord) => boolean): void {
  const stop = new Error('enough');
  try {
    scan(folder, disk, (tag, buffer, _view, at, length, position) => {
      const fields = buffer.subarray(at + RECORD_PREFIX_BYTES, at + length);
      const content =
        tag === RecordTag.MESSAGE
          ? { message: dumpedMessage(fields) }
          : { state: toJson(StateRecordSchema, fromBinary(StateRecordSchema, fields)) };
      if (!show({ position, bytes: length, ...content })) throw stop;
    });
  } catch (error) {
    if (error !== stop) throw error;
  }
}

function scan(
  folder: string,
  disk: Disk,
  visit: RecordVisitor,
): { result: ReturnType<typeof scanReadOnly>; start: number; segments: number } {
  checkFormat(folder, disk);
  const { segmentBytes, unsyncedBytesMax } = LOG_DEFAULTS;
  const watermark = readWatermark(join(folder, 'watermark'), disk);
  const segments = new Segments(
    { folder: join(folder, 'log'), segmentBytes, readOnly: true },
    disk,
  );
  try {
    const { start, all } = segments;
    if (all.length === 0) {
      throw new TernError(
        'NOT_FOUND',
        'NO_LOG',
        `${folder} has no log; give the folder that the broker's --data names`,
      );
    }
    const result = scanReadOnly(segments, watermark, unsyncedBytesMax, visit);
    return { result, start, segments: all.length };
  } finally {
    segments.close();
  }
}

function dumpedMessage(fields: Buffer): NonNullable<DumpedRecord['message']> {
  const { topicId, queueId, offset, storeTimeMs, message } = fromBinary(
    StoredMessageSchema,
    fields,
  );
  const body = Buffer.from(message?.body ?? []);
  return {
    topicId,
    queueId,
    offset: Number(offset),
    storeTimeMs: Number(storeTimeMs),
    tag: message?.tag ?? '',
    keys: message?.keys ?? [],
    properties: message?.properties ?? {},
    orderingKey: message?.orderingKey ?? '',
    ...(isUtf8(body) ? { body: body.toString('utf8') } : { bodyBase64: body.toString('base64') }),
  };
}
