// Reads a log record by record, in order, and tells its end from damage.
//
// What does not check out at a position means one of two things. Above everything known to be durable it is
// a torn tail: the log ends there. Below, it is corruption: the range is reported and skipped, never cut.
// What is known to be durable comes from the caller (the watermark file), from watermark records on the
// way, and, when something does not check out, from watermark records that lie further on: the bytes that
// may be unsynced are bounded, and so is how far one has to look.

import {
  checksumHolds,
  claimedLength,
  RECORD_BYTES_MAX,
  RECORD_HEADER_BYTES,
  RecordTag,
  readUint64,
  recordEpoch,
  viewOf,
  WATERMARK_POSITION_AT,
  WATERMARK_RECORD_BYTES,
} from './record.ts';
import type { Segment, Segments } from './segments.ts';
import type { Watermark } from './watermark-file.ts';

const WINDOW_BYTES = 4 << 20;
/** Tag, length and first field of every watermark record. */
const WATERMARK_PATTERN = Buffer.from([RecordTag.WATERMARK, 28 | 0x80, 0x80, 0x80, 0x00, 0x0d]);

/** A stretch of the log that does not check out although it was durable. */
export interface CorruptRange {
  /** Position of its first byte. */
  readonly start: number;
  /** Position of the next record that checks out, or of the end of what was durable. */
  readonly end: number;
}

/** Called with every record of a message or a change of state; the bytes are only valid during the call. */
export type RecordVisitor = (
  tag: RecordTag,
  buffer: Buffer,
  view: DataView,
  at: number,
  length: number,
  position: number,
) => void;

/** What a scan found. */
export interface ScanResult {
  /** Position behind the last record. */
  readonly end: number;
  /** Epoch of the last record. */
  readonly epoch: number;
  /** Highest position that is known to be durable. */
  readonly durable: number;
  /** Ranges below it that do not check out. */
  readonly corrupt: readonly CorruptRange[];
  /** Bytes behind the end that are not zero: what a crash left of records that were never durable. */
  readonly tornBytes: number;
}

/** Where to begin and what is known. */
export interface ScanOptions {
  /** Position of the first record to read. */
  readonly from: number;
  /** Epoch of the record before it; 0 when it is the first. */
  readonly epoch: number;
  /** Position that is known to be durable. */
  readonly durable: number;
  /** Bytes that may lie above what is durable: how far a later watermark is looked for. */
  readonly unsyncedBytesMax: number;
  /** The log follows a master: its watermark records say nothing of this disk. */
  readonly following: boolean;
}

/** A window over one segment file. */
class SegmentWindow {
  readonly segment: Segment;
  readonly #segments: Segments;
  buffer: Buffer;
  view: DataView;
  /** Position of the buffer's first byte, and behind its last. */
  start = 0;
  end = 0;

  constructor(segments: Segments, segment: Segment, buffer: Buffer) {
    this.#segments = segments;
    this.segment = segment;
    this.buffer = buffer;
    this.view = viewOf(buffer);
    this.start = segment.start;
    this.end = segment.start;
  }

  /** Makes `length` bytes from a position on available, as far as the segment has them; returns how many. */
  need(position: number, length: number): number {
    if (position < this.start || position + length > this.end) this.#move(position, length);
    return Math.min(length, this.end - position);
  }

  #move(position: number, length: number): void {
    const wanted = Math.min(Math.max(WINDOW_BYTES, length), this.segment.end - position);
    if (wanted > this.buffer.length) {
      this.buffer = Buffer.allocUnsafeSlow(wanted);
      this.view = viewOf(this.buffer);
    }
    const file = this.#segments.hold(this.segment);
    try {
      const count = file.readSync(this.buffer, 0, wanted, position - this.segment.start);
      this.start = position;
      this.end = position + count;
    } finally {
      this.#segments.release(this.segment);
    }
  }

  /** Does a record's header lie at a position? */
  headerAt(position: number): boolean {
    const available = this.need(position, RECORD_HEADER_BYTES);
    return claimedLength(this.view, position - this.start, available, position) > 0;
  }

  /** Length of the record at a position if it checks out, and 0 otherwise. */
  recordAt(position: number, epochMin: number): number {
    const available = this.need(position, RECORD_HEADER_BYTES);
    const length = claimedLength(this.view, position - this.start, available, position);
    if (length === 0 || length > RECORD_BYTES_MAX) return 0;
    if (this.need(position, length) < length) return 0;
    const at = position - this.start;
    if (recordEpoch(this.view, at) < epochMin) return 0;
    return checksumHolds(this.buffer, this.view, at, length) ? length : 0;
  }
}

/** Reads a log from a position to its end. Throws the disk's error. */
export function scanLog(
  segments: Segments,
  options: ScanOptions,
  visit: RecordVisitor,
): ScanResult {
  const longest = segments.all.reduce((most, { start, end }) => Math.max(most, end - start), 0);
  let buffer = Buffer.allocUnsafeSlow(Math.min(WINDOW_BYTES + RECORD_BYTES_MAX, longest));
  let { epoch, durable } = options;
  let position = options.from;
  const corrupt: CorruptRange[] = [];
  let window: SegmentWindow | undefined;

  for (;;) {
    if (window === undefined || position >= window.segment.end) {
      if (window !== undefined) buffer = window.buffer as typeof buffer;
      const segment = segments.find(position);
      if (segment === undefined) {
        const next = segments.all.find(({ start }) => start > position)?.start;
        if (next !== undefined && durable <= position && !options.following) {
          const found = laterWatermark(segments, position, epoch, options.unsyncedBytesMax);
          durable = Math.max(durable, found);
        }
        if (durable <= position) {
          return { end: position, epoch, durable, corrupt, tornBytes: 0 };
        }
        // A file is lost.
        const end = next ?? durable;
        addCorrupt(corrupt, position, end);
        position = end;
        window = undefined;
        continue;
      }
      window = new SegmentWindow(segments, segment, buffer);
    }
    const length = window.recordAt(position, epoch);
    if (length > 0) {
      const at = position - window.start;
      const tag = window.buffer[at] as RecordTag;
      epoch = recordEpoch(window.view, at);
      if (tag === RecordTag.SEGMENT_END) {
        position = window.segment.end;
        continue;
      }
      if (tag === RecordTag.WATERMARK) {
        if (!options.following) {
          durable = Math.max(durable, readUint64(window.view, at + WATERMARK_POSITION_AT));
        }
      } else {
        visit(tag, window.buffer, window.view, at, length, position);
      }
      position += length;
      continue;
    }
    if (durable <= position && !options.following) {
      durable = Math.max(
        durable,
        laterWatermark(segments, position, epoch, options.unsyncedBytesMax),
      );
    }
    if (durable <= position) {
      // A recycled file has old bytes behind the end as well; they are told apart where it is certain.
      const complete = durable === position && !window.headerAt(position);
      const tornBytes = complete ? 0 : countNonZero(window, position, options.unsyncedBytesMax);
      return { end: position, epoch, durable, corrupt, tornBytes };
    }
    const end = nextRecord(window, position + 1, epoch, durable);
    addCorrupt(corrupt, position, end);
    position = end;
  }
}

function addCorrupt(corrupt: CorruptRange[], start: number, end: number): void {
  const last = corrupt.at(-1);
  if (last?.end === start) corrupt[corrupt.length - 1] = { start: last.start, end };
  else corrupt.push({ start, end });
}

/** Position of the next record behind a corrupt one: in the segment, or where the next segment begins. */
function nextRecord(window: SegmentWindow, from: number, epoch: number, durable: number): number {
  const end = Math.min(window.segment.end, durable);
  for (let position = from; position < end; position++) {
    // The file ends early: the rest of the segment is lost.
    if (window.need(position, RECORD_HEADER_BYTES) < RECORD_HEADER_BYTES) return end;
    if (window.headerAt(position) && window.recordAt(position, epoch) > 0) return position;
  }
  return end;
}

/** The highest durable position that watermark records behind `position` tell; 0 when there are none. */
function laterWatermark(
  segments: Segments,
  position: number,
  epoch: number,
  distanceMax: number,
): number {
  const limit = position + distanceMax + 2 * RECORD_BYTES_MAX;
  let found = 0;
  for (const segment of segments.all) {
    if (segment.end <= position || segment.start >= limit) continue;
    const bytes = Math.min(WINDOW_BYTES, segment.end - segment.start);
    const window = new SegmentWindow(segments, segment, Buffer.allocUnsafeSlow(bytes));
    let at = Math.max(position, segment.start);
    const end = Math.min(limit, segment.end);
    while (at < end) {
      const available = window.need(at, Math.min(WINDOW_BYTES, end - at));
      if (available < WATERMARK_RECORD_BYTES) break;
      const within = at - window.start;
      const hit = window.buffer.subarray(within, within + available).indexOf(WATERMARK_PATTERN);
      if (hit < 0) {
        at += available - WATERMARK_PATTERN.length + 1;
        continue;
      }
      if (window.recordAt(at + hit, epoch) === WATERMARK_RECORD_BYTES) {
        const watermark = readUint64(window.view, at + hit - window.start + WATERMARK_POSITION_AT);
        found = Math.max(found, watermark);
      }
      at += hit + 1;
    }
  }
  return found;
}

/** Bytes behind the log's end, up to a distance, that something was written to. */
function countNonZero(window: SegmentWindow, from: number, distanceMax: number): number {
  const end = Math.min(window.segment.end, from + distanceMax);
  let last = from;
  for (let position = from; position < end; ) {
    const available = window.need(position, Math.min(WINDOW_BYTES, end - position));
    if (available === 0) break;
    const at = position - window.start;
    for (let i = available - 1; i >= 0; i--) {
      if (window.buffer[at + i] !== 0) {
        last = position + i + 1;
        break;
      }
    }
    position += available;
  }
  return last - from;
}

/** Reads a whole log without changing anything, for checks and dumps. */
export function scanReadOnly(
  segments: Segments,
  watermark: Pick<Watermark, 'position' | 'following'>,
  unsyncedBytesMax: number,
  visit: RecordVisitor,
): ScanResult {
  const { position: durable, following } = watermark;
  const options = { from: segments.start, epoch: 0, durable, unsyncedBytesMax, following };
  return scanLog(segments, options, visit);
}
