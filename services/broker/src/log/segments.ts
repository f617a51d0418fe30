// The segment files of a log: `log/<start position, 20 digits>`.
//
// Each file has its full size from the beginning (sparse at first), and the next one exists before it is
// needed, so that rolling costs no more than a look-up. Files that retention frees are kept as spares and
// used again: writing over blocks that exist is what fdatasync does fastest.
//
// Invariant: segments are in order and do not overlap. They follow each other without a gap, unless a file was lost or
// cut.

import { join } from 'node:path';
import { assert, type Disk, type DiskFile } from '@ternmq/runtime';

const NAME_DIGITS = 20;
const SPARE_PREFIX = 'spare-';
const SPARES_MAX = 2;
const OPEN_FILES_MAX = 64;

/** One segment file. */
export interface Segment {
  /** Position of its first byte. */
  readonly start: number;
  /** Position behind its last byte. */
  readonly end: number;
}

function nameOf(start: number): string {
  return String(start).padStart(NAME_DIGITS, '0');
}

/** The segment files of one log. */
export class Segments {
  readonly #folder: string;
  readonly #segmentBytes: number;
  readonly #disk: Disk;
  readonly #readOnly: boolean;
  readonly #segments: Segment[] = [];
  /** Open files by start, the one used longest ago first; dropped ones are closed by their last holder. */
  readonly #open = new Map<
    number,
    { readonly file: DiskFile; holders: number; dropped: boolean }
  >();
  #spares: string[] = [];
  #spareNumber = 0;

  /**
   * Finds the segments in a folder, which is created when it does not exist.
   *
   * @param options.segmentBytes size of new segments; those that exist keep theirs
   * @param options.readOnly neither create nor change anything
   */
  constructor(options: { folder: string; segmentBytes: number; readOnly?: boolean }, disk: Disk) {
    this.#folder = options.folder;
    this.#segmentBytes = options.segmentBytes;
    this.#readOnly = options.readOnly ?? false;
    this.#disk = disk;
    if (!this.#readOnly) disk.makeFolder(options.folder);
    const starts: number[] = [];
    for (const name of disk.list(options.folder)) {
      if (/^\d{20}$/.test(name)) starts.push(Number(name));
      else if (name.startsWith(SPARE_PREFIX)) this.#foundSpare(name);
    }
    for (const [i, start] of starts.entries()) this.#found(start, starts[i + 1]);
  }

  #found(start: number, next: number | undefined): void {
    if (next === undefined) {
      this.#segments.push({ start, end: this.#endOfLast(start) });
      return;
    }
    const file = this.#disk.openReadOnly(join(this.#folder, nameOf(start)));
    const end = Math.min(start + file.sizeSync(), next);
    file.close();
    if (end > start) this.#segments.push({ start, end });
  }

  /** The last file may be shorter than it should be: a crash while it was prepared, or a copy that was cut. */
  #endOfLast(start: number): number {
    const path = join(this.#folder, nameOf(start));
    const file = this.#readOnly ? this.#disk.openReadOnly(path) : this.#disk.open(path);
    try {
      const size = file.sizeSync();
      if (size >= this.#segmentBytes) return start + size;
      if (!this.#readOnly) file.truncateSync(this.#segmentBytes);
      return start + this.#segmentBytes;
    } finally {
      file.close();
    }
  }

  #foundSpare(name: string): void {
    const path = join(this.#folder, name);
    this.#spareNumber = Math.max(this.#spareNumber, Number(name.slice(SPARE_PREFIX.length)) + 1);
    if (this.#readOnly) return;
    const file = this.#disk.openReadOnly(path);
    const fits = file.sizeSync() === this.#segmentBytes;
    file.close();
    if (fits && this.#spares.length < SPARES_MAX) this.#spares.push(path);
    else this.#disk.remove(path);
  }

  /** The folder they are in. */
  get folder(): string {
    return this.#folder;
  }

  /** All segments by position; the last ones may be prepared and still unused. */
  get all(): readonly Segment[] {
    return this.#segments;
  }

  /** Position of the oldest byte that is kept; 0 when there is no segment. */
  get start(): number {
    return this.#segments[0]?.start ?? 0;
  }

  /** The segment that holds a position, if it exists. */
  find(position: number): Segment | undefined {
    let low = 0;
    let high = this.#segments.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const segment = this.#segments[middle] as Segment;
      if (position < segment.start) high = middle - 1;
      else if (position >= segment.end) low = middle + 1;
      else return segment;
    }
    return undefined;
  }

  /** Opens a segment's file, and keeps it open at least until `release`. */
  hold(segment: Segment): DiskFile {
    let open = this.#open.get(segment.start);
    if (open === undefined) {
      const path = join(this.#folder, nameOf(segment.start));
      const file = this.#readOnly ? this.#disk.openReadOnly(path) : this.#disk.open(path);
      open = { file, holders: 0, dropped: false };
    } else {
      this.#open.delete(segment.start);
    }
    open.holders++;
    this.#open.set(segment.start, open);
    return open.file;
  }

  /** Ends a `hold`; files that nobody holds are closed, oldest first, when many are open. */
  release(segment: Segment): void {
    const released = this.#open.get(segment.start);
    if (released !== undefined) {
      released.holders--;
      if (released.dropped) this.#closeDropped(segment.start);
    }
    if (this.#open.size <= OPEN_FILES_MAX) return;
    for (const [start, { file, holders }] of this.#open) {
      if (holders > 0) continue;
      this.#open.delete(start);
      file.close();
      return;
    }
  }

  /**
   * Makes sure that the segment at `start`, where the log ends, exists; returns true when it is new. When a file was lost
   * there, what lies behind it was never durable and goes.
   */
  prepare(start: number): boolean {
    if (this.find(start) !== undefined) return false;
    while ((this.#segments.at(-1)?.start ?? 0) > start) this.#removeLast();
    const path = join(this.#folder, nameOf(start));
    const spare = this.#spares.pop();
    if (spare !== undefined) {
      this.#disk.rename(spare, path);
    } else {
      const file = this.#disk.open(path);
      try {
        file.truncateSync(this.#segmentBytes);
      } finally {
        file.close();
      }
    }
    this.#segments.push({ start, end: start + this.#segmentBytes });
    return true;
  }

  /** Makes the newest segment begin at `start`, with a size; what it has stays, and those behind it go. */
  shape(start: number, bytes: number): Segment {
    while ((this.#segments.at(-1)?.start ?? -1) > start) this.#removeLast();
    if (this.#segments.at(-1)?.start === start) this.#segments.pop();
    assert((this.#segments.at(-1)?.end ?? 0) <= start, 'a segment begins behind the one before');
    const file = this.#disk.open(join(this.#folder, nameOf(start)));
    try {
      file.truncateSync(bytes);
    } finally {
      file.close();
    }
    const segment = { start, end: start + bytes };
    this.#segments.push(segment);
    return segment;
  }

  /** Removes everything behind a position, also from the disk; what is added of the last segment reads as zeros. */
  async cut(position: number): Promise<void> {
    while ((this.#segments.at(-1)?.start ?? 0) > position) this.#removeLast();
    const last = this.#segments.at(-1);
    if (last !== undefined) {
      const file = this.hold(last);
      file.truncateSync(position - last.start);
      file.truncateSync(last.end - last.start);
      await new Promise<void>((resolve, reject) => {
        file.dataSync((error) => (error === null ? resolve() : reject(error)));
      });
      this.release(last);
    }
    await new Promise<void>((resolve, reject) => {
      this.syncFolder((error) => (error === null ? resolve() : reject(error)));
    });
  }

  #removeLast(): void {
    const { start } = this.#segments.pop() as Segment;
    const open = this.#open.get(start);
    if (open !== undefined) {
      open.dropped = true;
      this.#closeDropped(start);
    }
    this.#disk.remove(join(this.#folder, nameOf(start)));
  }

  /**
   * Deletes the oldest segment, or keeps its file as a spare.
   *
   * @param keepSpare false when space is wanted
   */
  dropFirst(keepSpare: boolean): void {
    const segment = this.#segments.shift();
    assert(segment !== undefined, 'there is a segment to drop');
    const open = this.#open.get(segment.start);
    if (open !== undefined) {
      open.dropped = true;
      this.#closeDropped(segment.start);
    }
    const path = join(this.#folder, nameOf(segment.start));
    const fits = segment.end - segment.start === this.#segmentBytes;
    if (keepSpare && fits && this.#spares.length < SPARES_MAX) {
      const spare = join(this.#folder, `${SPARE_PREFIX}${this.#spareNumber++}`);
      this.#disk.rename(path, spare);
      this.#spares.push(spare);
    } else {
      this.#disk.remove(path);
    }
  }

  #closeDropped(start: number): void {
    const open = this.#open.get(start);
    if (open === undefined || open.holders > 0) return;
    this.#open.delete(start);
    open.file.close();
  }

  /** Deletes the spares, to give their space back. */
  dropSpares(): void {
    for (const spare of this.#spares) this.#disk.remove(spare);
    this.#spares = [];
  }

  /** Makes names that were created and removed survive a power failure. */
  syncFolder(callback: (error: Error | null) => void): void {
    this.#disk.syncFolder(this.#folder, callback);
  }

  /** Closes all files. */
  close(): void {
    for (const { file } of this.#open.values()) file.close();
    this.#open.clear();
  }
}
