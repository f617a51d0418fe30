// Reads the log as it lies, for a replica: whole records next to each other, of one segment at a time. The newest come
// from the tail cache, older ones through the thread pool and past all caches.

import { TernError } from '@ternmq/runtime';
import { claimedLength, RECORD_BYTES_MAX, RECORD_HEADER_BYTES, viewOf } from './record.ts';
import { runLength } from './record-run.ts';
import type { Segment, Segments } from './segments.ts';
import type { TailCache } from './tail-cache.ts';

/** A stretch of the log. */
export interface Run {
  readonly position: number;
  readonly segment: Segment;
  /** Whole records; of the tail cache's memory, so copy them before returning to the event loop. */
  readonly bytes: Buffer;
}

/** Reads runs of records. */
export class RunReader {
  readonly #segments: Segments;
  readonly #tail: TailCache;
  readonly #written: () => number;

  /** @param written position up to which the log is in the files */
  constructor(segments: Segments, tail: TailCache, written: () => number) {
    this.#segments = segments;
    this.#tail = tail;
    this.#written = written;
  }

  /** Where a reader goes on that has come to the end of its segment: the next segment's start, else the position itself. */
  ahead(position: number): number {
    const segment = this.#segments.find(position);
    if (segment !== undefined && position > segment.start && this.#written() >= segment.end) {
      const slab = this.#tail.find(position, RECORD_HEADER_BYTES);
      if (slab === undefined && this.#endsAt(segment, position)) return segment.end;
    }
    return position;
  }

  /** Does the segment's last record end here? */
  #endsAt(segment: Segment, position: number): boolean {
    if (segment.end - position < RECORD_HEADER_BYTES) return true;
    const header = Buffer.alloc(RECORD_HEADER_BYTES);
    const file = this.#segments.hold(segment);
    try {
      file.readSync(header, 0, RECORD_HEADER_BYTES, position - segment.start);
    } finally {
      this.#segments.release(segment);
    }
    return claimedLength(viewOf(header), 0, RECORD_HEADER_BYTES, position) === 0;
  }

  /** A run from the tail cache; undefined when it is not there, or nothing lies behind the position. */
  cached(position: number, bytesMax: number): Run | undefined {
    const slab = this.#tail.find(position, RECORD_HEADER_BYTES);
    const segment = this.#segments.find(position);
    if (slab === undefined || segment === undefined) return undefined;
    const from = position - slab.start;
    const end = Math.min(slab.end, this.#written()) - slab.start;
    const length = runLength(slab.view, from, end, bytesMax, position);
    if (length === 0) return undefined;
    return { position, segment, bytes: slab.buffer.subarray(from, from + length) };
  }

  /** A run from the files. Rejects with DATA_LOSS (CORRUPT_RECORD), OUT_OF_RANGE (LOG_TRIMMED), and the disk's errors. */
  async load(position: number, bytesMax: number): Promise<Run> {
    const segment = this.#segments.find(position);
    if (segment === undefined) {
      throw new TernError(
        'OUT_OF_RANGE',
        'LOG_TRIMMED',
        `the log has nothing at position ${position} any more`,
      );
    }
    for (let bytes = bytesMax; ; bytes = RECORD_BYTES_MAX) {
      const end = Math.min(position + bytes, segment.end, this.#written());
      const buffer = Buffer.allocUnsafeSlow(end - position);
      const file = this.#segments.hold(segment);
      let read: number;
      try {
        read = await file.read(buffer, 0, buffer.length, position - segment.start);
      } finally {
        this.#segments.release(segment);
      }
      const length = runLength(viewOf(buffer), 0, read, bytesMax, position);
      if (length > 0) return { position, segment, bytes: buffer.subarray(0, length) };
      if (bytes >= RECORD_BYTES_MAX) {
        throw new TernError(
          'DATA_LOSS',
          'CORRUPT_RECORD',
          `the record at position ${position} of the log is damaged; run 'tern log verify' and restore it from a replica`,
        );
      }
    }
  }
}
