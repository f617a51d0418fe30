// A ReplicateResponse with records, written by hand: the records are copied once, from the log's memory into the message.
//
//   0x12 length 4 | 0x09 position 8 | 0x11 segment start 8 | 0x19 segment end 8 | 0x21 confirmed 8 | 0x2a length 4, records
//
// Lengths are varints of exactly four bytes.

import { viewOf, writeLength, writeUint64 } from '../log/record.ts';
import type { Segment } from '../log/segments.ts';

const OUTER_BYTES = 5;
const FIXED_BYTES = 9;
const RECORDS_AT = OUTER_BYTES + 4 * FIXED_BYTES + 5;

/** Encodes a stretch of the log, or a sign of life when it is empty. */
export function encodeRecords(
  position: number,
  segment: Segment,
  confirmed: number,
  records: Buffer,
): Buffer {
  const bytes = Buffer.allocUnsafe(RECORDS_AT + records.length);
  const view = viewOf(bytes);
  view.setUint8(0, 0x12);
  writeLength(view, 1, bytes.length - OUTER_BYTES);
  const fixed = [position, segment.start, segment.end, confirmed];
  for (const [i, value] of fixed.entries()) {
    const at = OUTER_BYTES + i * FIXED_BYTES;
    view.setUint8(at, 0x09 + 8 * i);
    writeUint64(view, at + 1, value);
  }
  view.setUint8(RECORDS_AT - 5, 0x2a);
  writeLength(view, RECORDS_AT - 4, records.length);
  bytes.set(records, RECORDS_AT);
  return bytes;
}
