// Goes through old records in the background, for those who look for a few among many: blocks come from the files through
// the thread pool and past the cache, and of a record that nobody wants only the head is looked at, so that the bytes
// of large ones are not even read.

import { checksumHolds, claimedLength, RECORD_HEADER_BYTES, RecordTag, viewOf } from './record.ts';
import type { Segments } from './segments.ts';

/** Bytes that are read at once, but that a wanted record may be larger. */
const BLOCK_BYTES = 256 << 10;

/** Told of records, in order. Indexes are of `buffer`, whose bytes are only valid during the call. */
export interface RecordWatcher {
  /** Bytes of a record that `wants` needs to see, if the record has so many. */
  readonly headBytes: number;
  /** Is the record to be visited? `at` is its index; at least its head lies in the buffer. */
  wants(tag: RecordTag, buffer: Buffer, view: DataView, at: number, length: number): boolean;
  /** A record that was wanted, checked. */
  visit(
    tag: RecordTag,
    buffer: Buffer,
    view: DataView,
    at: number,
    length: number,
    position: number,
  ): void;
}

/** Goes through a log from a position on. */
export class RecordWalk {
  readonly #segments: Segments;
  readonly #until: number;
  readonly #watcher: RecordWatcher;
  #buffer: Buffer = Buffer.allocUnsafeSlow(BLOCK_BYTES);
  #view = viewOf(this.#buffer);
  /** Bytes that the next step must have; more than a block when a wanted record is larger. */
  #need = BLOCK_BYTES;
  /** Position of the next record. */
  position: number;
  /** Bytes that were passed over because they are damaged, or because their segment was deleted meanwhile. */
  lostBytes = 0;

  /**
   * @param from position of a record
   * @param until position of the end of a record, up to which the files have the log
   */
  constructor(segments: Segments, from: number, until: number, watcher: RecordWatcher) {
    this.#segments = segments;
    this.position = from;
    this.#until = until;
    this.#watcher = watcher;
  }

  /** Has it come to its end? */
  get ended(): boolean {
    return this.position >= this.#until;
  }

  /** Goes through one block. Rejects with the disk's error. */
  async step(): Promise<void> {
    const segment = this.#segments.find(this.position);
    if (segment === undefined) {
      const next = this.#segments.all.find(({ start }) => start > this.position);
      this.#lose(Math.min(this.#until, next?.start ?? this.#until));
      return;
    }
    const end = Math.min(segment.end, this.#until);
    const wanted = Math.min(this.#need, end - this.position);
    if (wanted > this.#buffer.length) {
      this.#buffer = Buffer.allocUnsafeSlow(wanted);
      this.#view = viewOf(this.#buffer);
    }
    const file = this.#segments.hold(segment);
    let available: number;
    try {
      available = await file.read(this.#buffer, 0, wanted, this.position - segment.start);
    } finally {
      this.#segments.release(segment);
    }
    this.#need = BLOCK_BYTES;
    this.#walk(available, wanted, end, segment.end);
  }

  /** Visits the records that begin in the buffer, which holds `available` bytes from `position` on, of those asked for. */
  #walk(available: number, asked: number, end: number, segmentEnd: number): void {
    const start = this.position;
    const blockEnd = start + available;
    const { headBytes } = this.#watcher;
    while (this.position < end) {
      const { position } = this;
      const at = position - start;
      const rest = blockEnd - position;
      const length = rest > 0 ? claimedLength(this.#view, at, rest, position) : 0;
      const head = length === 0 ? RECORD_HEADER_BYTES : Math.min(length, headBytes);
      if (rest < head && at > 0) return;
      if (length === 0 || rest < head) {
        this.#lose(end);
        return;
      }
      const tag = this.#buffer[at] as RecordTag;
      if (tag === RecordTag.SEGMENT_END) {
        this.position = segmentEnd;
        return;
      }
      if (tag !== RecordTag.WATERMARK && this.#wants(tag, at, length)) {
        if (rest < length) {
          // The file is shorter than it should be, or the length is wrong.
          if (position + length > end || (at === 0 && length <= asked)) this.#lose(end);
          else this.#need = Math.max(BLOCK_BYTES, length);
          return;
        }
        this.#visit(tag, at, length, position);
      }
      this.position = position + length;
    }
  }

  #wants(tag: RecordTag, at: number, length: number): boolean {
    return this.#watcher.wants(tag, this.#buffer, this.#view, at, length);
  }

  #visit(tag: RecordTag, at: number, length: number, position: number): void {
    if (checksumHolds(this.#buffer, this.#view, at, length)) {
      this.#watcher.visit(tag, this.#buffer, this.#view, at, length, position);
    } else this.lostBytes += length;
  }

  #lose(to: number): void {
    this.lostBytes += to - this.position;
    this.position = to;
  }
}
