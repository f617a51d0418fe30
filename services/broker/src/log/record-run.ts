// A run of records as one broker's log has them, on its way to another's: whole records of one segment, next to each
// other.

import { TernError } from '@ternmq/runtime';
import {
  checksumHolds,
  claimedLength,
  RECORD_HEADER_BYTES,
  RECORD_PREFIX_BYTES,
  RecordTag,
  readLength,
  recordEpoch,
  viewOf,
} from './record.ts';
import type { RecordVisitor } from './scan.ts';
import type { Slab } from './tail-cache.ts';

/**
 * Checks every record of a run; says whether the last one ends its segment, and its epoch. Throws DATA_LOSS
 * (REPLICATION_DAMAGED).
 *
 * @param position where the first record lies in the log
 * @param epochMin epoch of the record before it
 */
export function checkRun(
  bytes: Buffer,
  position: number,
  epochMin: number,
): { ended: boolean; epoch: number } {
  const view = viewOf(bytes);
  let epoch = epochMin;
  let ended = false;
  for (let at = 0; at < bytes.length; ) {
    const length = claimedLength(view, at, bytes.length - at, position + at);
    const whole = length > 0 && at + length <= bytes.length && !ended;
    if (!whole || recordEpoch(view, at) < epoch || !checksumHolds(bytes, view, at, length)) {
      throw new TernError(
        'DATA_LOSS',
        'REPLICATION_DAMAGED',
        `what the master sent does not check out at position ${position + at} of the log; it is asked for again`,
      );
    }
    epoch = recordEpoch(view, at);
    ended = bytes[at] === RecordTag.SEGMENT_END;
    at += length;
  }
  return { ended, epoch };
}

/** Visits the messages and changes of state of a run that was checked. */
export function visitRun(
  { buffer, view }: Slab,
  from: number,
  end: number,
  position: number,
  visit: RecordVisitor,
): void {
  for (let at = from; at < end; ) {
    const tag = buffer[at] as RecordTag;
    const length = readLength(view, at + 1) + RECORD_PREFIX_BYTES;
    if (tag === RecordTag.MESSAGE || tag === RecordTag.STATE) {
      visit(tag, buffer, view, at, length, position + at - from);
    }
    at += length;
  }
}

/**
 * Length of the longest run of whole records at the beginning of a stretch, of at most `bytesMax` bytes but always one
 * record; 0 when even the first is cut off, or none is there.
 *
 * @param position where in the log the stretch begins
 */
export function runLength(
  view: DataView,
  from: number,
  end: number,
  bytesMax: number,
  position: number,
): number {
  let at = from;
  while (at + RECORD_HEADER_BYTES <= end) {
    const length = claimedLength(view, at, end - at, position + at - from);
    const next = at + length;
    if (length === 0 || next > end || (next - from > bytesMax && at > from)) break;
    at = next;
  }
  return at - from;
}
