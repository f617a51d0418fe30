// A record and its bytes.
//
//    0      tag        1  what the record is; see RecordTag
//    1      length     4  bytes behind this field, as a varint of exactly four bytes (28 bits)
//    5      0x0d       1
//    6      checksum   4  CRC-32 (IEEE) of all bytes from 10 to the end of the record
//   10      0x15       1
//   11      epoch      4  never falls from one record to the next
//   15      0x19       1
//   16      position   8  where the record starts in the log
//   24      body          length - 19 bytes, which the log does not look into
//
// Integers are little-endian. Together this is a protobuf field (`ternmq.log.v1.Segment`) whose first three
// fields always have the same width, so records can be written in place and a run of them can be sent as
// it lies.
//
// The checksum does not cover tag and length: a wrong length fails it, and what the tag may be follows from the
// length, so that no single damaged bit makes one kind of record another.
//
// Epoch and position are inside the checksum: bytes that an earlier use of a segment file left behind, and
// records of a tail that was cut, never pass as records of today.

import { crc32 } from 'node:zlib';

/** What a record is: the field numbers 1 to 4 of `ternmq.log.v1.Segment`, length-delimited. */
export const RecordTag = {
  /** A message. */
  MESSAGE: 0x0a,
  /** A change of state. */
  STATE: 0x12,
  /** The last record of a segment; the log goes on in the next. */
  SEGMENT_END: 0x1a,
  /** How far the log was durable. */
  WATERMARK: 0x22,
} as const;
export type RecordTag = (typeof RecordTag)[keyof typeof RecordTag];

/** Bytes of a record in front of its body. */
export const RECORD_HEADER_BYTES = 24;
/** Bytes of a watermark record: field 4, fixed64, is all of its body. */
export const WATERMARK_RECORD_BYTES: number = RECORD_HEADER_BYTES + 9;
/** Where in a watermark record the durable position lies. */
export const WATERMARK_POSITION_AT: number = RECORD_HEADER_BYTES + 1;
/** First byte of a watermark record's body: field 4, fixed64. */
const WATERMARK_FIELD = 0x21;
/** Bytes of tag and length. */
export const RECORD_PREFIX_BYTES = 5;
/** Largest record: what four bytes of varint can tell, and more than any message needs. */
export const RECORD_BYTES_MAX = 8 << 20;

const CHECKSUM_AT = 6;
const CHECKED_FROM = 10;
const EPOCH_AT = 11;
const POSITION_AT = 16;
const TWO_POW_32 = 4294967296;

/** Writes a number below 2^53 as eight bytes, little-endian. */
export function writeUint64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, value / TWO_POW_32, true);
}

/** Reads eight bytes, little-endian; exact below 2^53. */
export function readUint64(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * TWO_POW_32;
}

/** Writes a length as a varint of exactly four bytes; below 2^28. */
export function writeLength(view: DataView, at: number, length: number): void {
  view.setUint32(
    at,
    (length & 127) |
      128 |
      ((((length >>> 7) & 127) | 128) << 8) |
      ((((length >>> 14) & 127) | 128) << 16) |
      (((length >>> 21) & 127) << 24),
    true,
  );
}

/** Reads a varint of exactly four bytes; -1 when it is written in another way. */
export function readLength(view: DataView, at: number): number {
  const raw = view.getUint32(at, true);
  if ((raw & 0x80808080) !== 0x00808080) return -1;
  return (
    (raw & 127) | (((raw >>> 8) & 127) << 7) | (((raw >>> 16) & 127) << 14) | ((raw >>> 24) << 21)
  );
}

/** Writes everything in front of the body but the checksum. */
export function writeHeader(
  view: DataView,
  at: number,
  tag: RecordTag,
  bodyBytes: number,
  epoch: number,
  position: number,
): void {
  view.setUint8(at, tag);
  writeLength(view, at + 1, bodyBytes + RECORD_HEADER_BYTES - RECORD_PREFIX_BYTES);
  view.setUint8(at + 5, 0x0d);
  view.setUint8(at + 10, 0x15);
  view.setUint32(at + EPOCH_AT, epoch, true);
  view.setUint8(at + 15, 0x19);
  writeUint64(view, at + POSITION_AT, position);
}

/** Writes a watermark record but for its checksum: every byte before `durable` was durable when it was written. */
export function writeWatermark(
  view: DataView,
  at: number,
  epoch: number,
  position: number,
  durable: number,
): void {
  const bodyBytes = WATERMARK_RECORD_BYTES - RECORD_HEADER_BYTES;
  writeHeader(view, at, RecordTag.WATERMARK, bodyBytes, epoch, position);
  view.setUint8(at + RECORD_HEADER_BYTES, WATERMARK_FIELD);
  writeUint64(view, at + WATERMARK_POSITION_AT, durable);
}

/** Writes the checksum of a record whose other bytes are complete. */
export function sealRecord(buffer: Buffer, view: DataView, at: number, end: number): void {
  view.setUint32(at + CHECKSUM_AT, crc32(buffer.subarray(at + CHECKED_FROM, end)), true);
}

/** A record's epoch. */
export function recordEpoch(view: DataView, at: number): number {
  return view.getUint32(at + EPOCH_AT, true);
}

/**
 * How long the record at `at` claims to be, when its header is one of `position`; 0 when it is not. Looks at
 * the header only: the record may be longer than `buffer`.
 *
 * @param available bytes of the buffer from `at` on
 */
export function claimedLength(
  view: DataView,
  at: number,
  available: number,
  position: number,
): number {
  if (available < RECORD_HEADER_BYTES) return 0;
  const tag = view.getUint8(at);
  if (tag !== 0x0a && tag !== 0x12 && tag !== 0x1a && tag !== 0x22) return 0;
  const length = readLength(view, at + 1);
  if (!lengthFits(tag, length + RECORD_PREFIX_BYTES)) return 0;
  if (view.getUint8(at + 5) !== 0x0d || view.getUint8(at + 10) !== 0x15) return 0;
  if (view.getUint8(at + 15) !== 0x19 || readUint64(view, at + POSITION_AT) !== position) return 0;
  return length + RECORD_PREFIX_BYTES;
}

/** Can a record with this tag have this length? */
function lengthFits(tag: number, length: number): boolean {
  if (tag === RecordTag.SEGMENT_END) return length === RECORD_HEADER_BYTES;
  if (tag === RecordTag.WATERMARK) return length === WATERMARK_RECORD_BYTES;
  return length > WATERMARK_RECORD_BYTES;
}

/** Does the record of `length` bytes at `at`, all of them in the buffer, carry its checksum? */
export function checksumHolds(buffer: Buffer, view: DataView, at: number, length: number): boolean {
  return (
    view.getUint32(at + CHECKSUM_AT, true) ===
    crc32(buffer.subarray(at + CHECKED_FROM, at + length))
  );
}

/** A view of the same bytes. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
