// Finds out what a log on disk holds: where it ends, how much of it is damaged, and under which epoch it goes on.

import { join } from 'node:path';
import { assert, type Disk } from '@ternmq/runtime';
import { keepDamage } from './known-damage.ts';
import type { LogOptions, LogRecovery } from './log-options.ts';
import { RECORD_BYTES_MAX } from './record.ts';
import { type RecordVisitor, scanLog } from './scan.ts';
import { Segments } from './segments.ts';
import { readWatermark } from './watermark-file.ts';

/** What a log holds. */
export interface FoundLog {
  readonly segments: Segments;
  readonly recovery: LogRecovery;
  /** Epoch of what is appended from now on; of a log that follows, the newest that it knows. */
  readonly epoch: number;
  /** Epoch of the last record. */
  readonly lastEpoch: number;
}

/** Reads a log from a position to its end, or all of it. Throws the disk's error. */
export function recoverLog(
  options: LogOptions,
  disk: Disk,
  from: { readonly position: number; readonly epoch: number } | undefined,
  visit: RecordVisitor,
): FoundLog {
  assert(options.slabBytes >= RECORD_BYTES_MAX, 'a slab holds the largest record');
  assert(options.segmentBytes >= 64 << 10, 'a segment has at least 64 KiB');
  const folder = join(options.folder, 'log');
  const segments = new Segments({ folder, segmentBytes: options.segmentBytes }, disk);
  const start = from ?? { position: segments.start, epoch: 0 };
  const watermark = readWatermark(join(options.folder, 'watermark'), disk);
  const found = scanLog(
    segments,
    {
      from: start.position,
      epoch: start.epoch,
      durable: watermark.position,
      unsyncedBytesMax: options.unsyncedBytesMax,
      following: watermark.following,
    },
    visit,
  );
  // Above every epoch that was ever used, also by an opening of which no record is left: what it wrote may
  // still lie behind the end, and must never pass as a record of today.
  const newest = Math.max(found.epoch, watermark.epoch);
  const { end, tornBytes } = found;
  const corrupt = keepDamage(options.folder, found.corrupt, { start: segments.start, end }, disk);
  const recovery = { from: start.position, end, tornBytes, corrupt };
  const epoch = newest + (options.following ? 0 : 1);
  return { segments, recovery, epoch, lastEpoch: found.epoch };
}
