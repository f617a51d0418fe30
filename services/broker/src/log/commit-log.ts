// The commit log: all messages and all changes of state, in order of arrival. The only truth.
//
// Positions, in bytes from the beginning of the log:
//
//   start <= durable <= written <= next
//     durable   fdatasync has returned
//     written   in the page cache
//     next      where the next record will start; what is between is in the tail cache only
//   visible = durable in flush mode `sync`, written in `async`: nothing above it is handed out
//
// A record is built in place: `begin` makes room and returns where its body goes, the caller writes the
// body into `buffer`, `end` seals it. Records of one turn of the event loop are written together, and one
// fdatasync runs at a time: whatever arrives meanwhile is the next group.
//
// A failed write or fdatasync is final (the kernel may have dropped the pages): the log stops, all waiting
// calls fail, and the process must end. The one exception is a full disk at a write: the bytes stay in
// the tail cache, writing is tried again, and nothing is acknowledged meanwhile.

import { join } from 'node:path';
import { assert, type Clock, type Disk, TernError, type Timer } from '@ternmq/runtime';
import { BlockCache } from './block-cache.ts';
import { DurableWaiters } from './durable-waiters.ts';
import type { LogObserver, LogOptions, LogRecovery } from './log-options.ts';
import {
  checksumHolds,
  claimedLength,
  RECORD_BYTES_MAX,
  RECORD_HEADER_BYTES,
  RecordTag,
  sealRecord,
  viewOf,
  WATERMARK_RECORD_BYTES,
  writeHeader,
  writeUint64,
} from './record.ts';
import { RecordWalk, type RecordWatcher } from './record-walk.ts';
import { type RecordVisitor, scanLog, WATERMARK_FIELD, WATERMARK_POSITION_AT } from './scan.ts';
import { SegmentSyncer } from './segment-syncer.ts';
import { type Segment, Segments } from './segments.ts';
import { type Slab, TailCache } from './tail-cache.ts';
import { readWatermark, WatermarkFile } from './watermark-file.ts';

const WATERMARK_INTERVAL_MS = 1000;
const FULL_RETRY_MS = 100;

/** The log of one broker. */
export class CommitLog {
  readonly #options: LogOptions;
  readonly #clock: Clock;
  readonly #segments: Segments;
  readonly #tail: TailCache;
  readonly #blocks: BlockCache;
  readonly #watermark: WatermarkFile;
  readonly #syncer: SegmentSyncer;
  readonly #epoch: number;
  #observer: LogObserver = { advanced() {}, failed() {} };

  #segment: Segment;
  #slab: Slab;
  /** Index in the slab where the next record starts, and where the unwritten bytes begin. */
  #at = 0;
  #unwrittenAt = 0;
  #recordAt = 0;
  #next: number;
  #written: number;
  #durable: number;
  /** Durable position that the newest watermark record tells. */
  #marked = 0;
  #syncing = false;
  #flushScheduled = false;
  readonly #waiters = new DurableWaiters();
  #full: Timer | undefined;
  #timers: Timer[] = [];
  #failure: Error | undefined;
  #closed = false;
  #closing: Promise<void> | undefined;
  /** Called when the sync under way has ended. */
  #synced: () => void = () => {};

  /** Figures for metrics. */
  readonly stats = { syncs: 0, writes: 0, bytesRead: 0, corruptReads: 0 };

  private constructor(
    options: LogOptions,
    modules: { disk: Disk; clock: Clock },
    segments: Segments,
    end: number,
    epoch: number,
  ) {
    this.#options = options;
    this.#clock = modules.clock;
    this.#segments = segments;
    this.#syncer = new SegmentSyncer(segments);
    this.#tail = new TailCache(options);
    this.#blocks = new BlockCache(segments, () => this.#written);
    this.#watermark = new WatermarkFile(join(options.folder, 'watermark'), modules.disk);
    this.#epoch = epoch;
    this.#next = end;
    this.#written = end;
    this.#durable = end;
    if (segments.prepare(end)) this.#syncer.created();
    this.#segment = segments.find(end) as Segment;
    this.#slab = this.#tail.next(end);
  }

  /**
   * Opens a log for writing: reads it from a position on, cuts a torn tail, and makes what is left durable.
   *
   * @param from where to begin reading, with the epoch of the record before; undefined for the oldest record
   * @param visit gets every message and change of state from there on
   */
  static async open(
    options: LogOptions,
    modules: { disk: Disk; clock: Clock },
    from: { position: number; epoch: number } | undefined,
    visit: RecordVisitor,
  ): Promise<{ log: CommitLog; recovery: LogRecovery }> {
    assert(options.slabBytes >= RECORD_BYTES_MAX, 'a slab holds the largest record');
    assert(options.segmentBytes >= 64 << 10, 'a segment has at least 64 KiB');
    const { disk } = modules;
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
      },
      visit,
    );
    // Above every epoch that was ever used, also by an opening of which no record is left: what it wrote may
    // still lie behind the end, and must never pass as a record of today.
    const epoch = Math.max(found.epoch, watermark.epoch) + 1;
    const log = new CommitLog(options, modules, segments, found.end, epoch);
    // What the scan accepted may still be in the page cache only.
    for (const segment of segments.all) {
      if (segment.end > start.position && segment.start <= found.end) log.#syncer.wrote(segment);
    }
    await new Promise<void>((resolve, reject) => {
      log.#syncer.sync((error) => (error === null ? resolve() : reject(error)));
    });
    log.#watermark.begin(found.end, epoch);
    await log.#watermark.sync();
    log.#start();
    return {
      log,
      recovery: {
        from: start.position,
        end: found.end,
        tornBytes: found.tornBytes,
        corrupt: found.corrupt,
      },
    };
  }

  #start(): void {
    const { flushMode, flushIntervalMs } = this.#options;
    this.#timers.push(this.#clock.every(WATERMARK_INTERVAL_MS, () => this.#tellWatermark()));
    if (flushMode === 'async') {
      this.#timers.push(this.#clock.every(flushIntervalMs, () => this.#sync()));
    }
  }

  /** Tells who wants to know of progress; once, before the first record. */
  observe(observer: LogObserver): void {
    this.#observer = observer;
  }

  /** Epoch of the records that this log appends. */
  get epoch(): number {
    return this.#epoch;
  }

  /** Position of the oldest byte that is kept. */
  get start(): number {
    return this.#segments.start;
  }

  /** Where the next record will start. */
  get next(): number {
    return this.#next;
  }

  /** Position up to which the log is in the page cache. */
  get written(): number {
    return this.#written;
  }

  /** Position up to which the log survives a power failure. */
  get durable(): number {
    return this.#durable;
  }

  /** Position up to which records may be handed out. */
  get visible(): number {
    return this.#options.flushMode === 'sync' ? this.#durable : this.#written;
  }

  /** All segments by position. */
  get segments(): readonly Segment[] {
    return this.#segments.all;
  }

  /** The segment that holds a position. */
  segmentAt(position: number): Segment | undefined {
    return this.#segments.find(position);
  }

  /** Too much is written and not durable: producers must wait until `advanced` is called again. */
  get congested(): boolean {
    return this.#next - this.#durable > this.#options.unsyncedBytesMax;
  }

  /** The disk is full, and bytes wait to be written. */
  get full(): boolean {
    return this.#full !== undefined;
  }

  /** The current slab: where `begin` says, the body of the record is to be written. */
  get buffer(): Buffer {
    return this.#slab.buffer;
  }

  /** A view of `buffer`. */
  get view(): DataView {
    return this.#slab.view;
  }

  /**
   * Makes room for a record and writes its header; the body follows at the returned index of `buffer`.
   * `end` must follow before anything else. Throws RESOURCE_EXHAUSTED (DISK_FULL) when the tail cache is
   * full of bytes that the disk has no room for, and UNAVAILABLE (LOG_FAILED) after a failure.
   */
  begin(tag: RecordTag, bodyBytes: number): number {
    const total = RECORD_HEADER_BYTES + bodyBytes;
    if (this.#failure !== undefined || this.#closed) throw this.#stopped();
    // A watermark record may come in front, and the record that ends the segment must always fit behind.
    const room = total + WATERMARK_RECORD_BYTES + RECORD_HEADER_BYTES;
    assert(room <= this.#slab.buffer.length, 'a record fits into a slab');
    if (this.#next + room > this.#segment.end) this.#roll(room);
    else if (this.#at + room > this.#slab.buffer.length) this.#turn();
    if (this.#next === this.#written && this.#durable > this.#marked) this.#mark();
    writeHeader(this.#slab.view, this.#at, tag, bodyBytes, this.#epoch, this.#next);
    this.#recordAt = this.#at;
    this.#at += total;
    return this.#recordAt + RECORD_HEADER_BYTES;
  }

  /** Seals the record that `begin` made room for; returns its position. */
  end(): number {
    const position = this.#next;
    sealRecord(this.#slab.buffer, this.#slab.view, this.#recordAt, this.#at);
    this.#next = position + (this.#at - this.#recordAt);
    this.#slab.end = this.#next;
    return position;
  }

  /** Appends a record whose body is at hand; returns its position, and has the log written soon. */
  append(tag: RecordTag, body: Uint8Array): number {
    const at = this.begin(tag, body.length);
    this.#slab.buffer.set(body, at);
    const position = this.end();
    this.requestFlush();
    return position;
  }

  /** Has the log written at the end of this turn of the event loop. */
  requestFlush(): void {
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    this.#clock.defer(() => {
      this.#flushScheduled = false;
      if (this.#closed || this.#failure !== undefined) return;
      if (!this.#tryFlush()) return;
      if (this.#options.flushMode === 'sync') this.#sync();
      else this.#observer.advanced();
    });
  }

  /** Bytes that are not yet in the page cache. */
  get unwrittenBytes(): number {
    return this.#at - this.#unwrittenAt;
  }

  /** Writes all records to the page cache; returns false when the disk is full and bytes wait. */
  flush(): boolean {
    const length = this.#at - this.#unwrittenAt;
    if (length === 0) {
      this.#endFull();
      return true;
    }
    const file = this.#segments.hold(this.#segment);
    try {
      file.writeSync(
        this.#slab.buffer,
        this.#unwrittenAt,
        length,
        this.#written - this.#segment.start,
      );
    } catch (error) {
      if (!isFull(error)) throw this.#fail(error as Error);
      this.#waitForSpace();
      return false;
    } finally {
      this.#segments.release(this.#segment);
    }
    this.stats.writes++;
    this.#unwrittenAt = this.#at;
    this.#written = this.#next;
    this.#endFull();
    this.#syncer.wrote(this.#segment);
    return true;
  }

  /** As flush, for callers to whom nobody listens: false after a failure, which the observer was told of. */
  #tryFlush(): boolean {
    try {
      this.flush();
      return true;
    } catch {
      return false;
    }
  }

  /** Resolves when everything before a position is durable; rejects with UNAVAILABLE when that cannot be. */
  durableAt(position: number): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#stopped());
    if (position <= this.#durable) return Promise.resolve();
    if (this.#closed) return Promise.reject(this.#stopped());
    const durable = this.#waiters.add(position);
    if (this.#tryFlush()) this.#sync();
    return durable;
  }

  /** Resolves when everything before a position is visible: when a change of state may be answered. */
  visibleAt(position: number): Promise<void> {
    if (this.#options.flushMode === 'sync') return this.durableAt(position);
    if (position > this.#written) this.#tryFlush();
    return position <= this.#written ? Promise.resolve() : this.durableAt(position);
  }

  /**
   * A stretch of records from the tail cache, with where it lies in the slab; undefined when it is not
   * there (any more). Copy it before returning to the event loop.
   */
  tail(position: number, length: number): { slab: Slab; at: number } | undefined {
    const slab = this.#tail.find(position, length);
    return slab === undefined ? undefined : { slab, at: position - slab.start };
  }

  /** One record from the caches, checked; undefined when it must be loaded first or is damaged. */
  find(position: number, length: number): Buffer | undefined {
    const slab = this.#tail.find(position, length);
    if (slab !== undefined) {
      return slab.buffer.subarray(position - slab.start, position - slab.start + length);
    }
    const bytes = this.#blocks.find(position, length);
    if (bytes === undefined) return undefined;
    this.#check(bytes, viewOf(bytes), 0, length, position);
    return bytes;
  }

  /**
   * The block of the block cache that holds a record, which is checked; undefined when it is not there, or lies
   * in two blocks. Throws DATA_LOSS (CORRUPT_RECORD).
   */
  block(position: number, length: number): Slab | undefined {
    const block = this.#blocks.block(position, length);
    if (block !== undefined) {
      this.#check(block.buffer, block.view, position - block.start, length, position);
    }
    return block;
  }

  #check(bytes: Buffer, view: DataView, at: number, length: number, position: number): void {
    const claimed = claimedLength(view, at, length, position);
    if (claimed === length && checksumHolds(bytes, view, at, length)) {
      this.stats.bytesRead += length;
      return;
    }
    this.stats.corruptReads++;
    throw new TernError(
      'DATA_LOSS',
      'CORRUPT_RECORD',
      `the record at position ${position} of the log is damaged; run 'tern log verify' and restore it from a replica`,
    );
  }

  /** Goes through records in the background, between two positions that are visible. */
  walk(from: number, until: number, watcher: RecordWatcher): RecordWalk {
    return new RecordWalk(this.#segments, from, until, watcher);
  }

  /** Loads what `find` misses, in the background. */
  load(position: number, length: number): Promise<void> {
    return this.#blocks.load(position, length);
  }

  /**
   * Deletes the oldest segments that end at or before a position; the newest one stays.
   *
   * @param keepSpares keep some of the files for later use; false when space is wanted
   */
  dropBefore(position: number, keepSpares: boolean): void {
    for (;;) {
      const first = this.#segments.all[0];
      if (first === undefined || first.end > position || first.end > this.#durable) break;
      this.#syncer.forget(first);
      this.#segments.dropFirst(keepSpares);
    }
    if (!keepSpares) this.#segments.dropSpares();
    this.#blocks.dropBefore(position);
  }

  /** Makes everything durable and closes the files. What cannot be written any more was never acknowledged. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    try {
      if (this.#failure === undefined && this.flush()) {
        await this.durableAt(this.#next);
        this.#tellWatermark();
        await this.#watermark.sync();
      }
    } catch {
      // The observer was told.
    }
    this.#closed = true;
    this.#cancelTimers();
    this.#waiters.fail(this.#stopped());
    if (this.#syncing) {
      await new Promise<void>((resolve) => {
        this.#synced = resolve;
      });
    }
    this.#segments.close();
    this.#watermark.close();
  }

  #cancelTimers(): void {
    for (const timer of this.#timers) timer.cancel();
    this.#full?.cancel();
  }

  /** Writes how far the log is durable. Nothing depends on its being fresh, so a full disk is no failure. */
  #tellWatermark(): void {
    try {
      if (this.#failure === undefined) this.#watermark.write(this.#durable);
    } catch (error) {
      if (!isFull(error)) this.#fail(error as Error);
    }
  }

  /** Ends the segment, and goes on in the next. */
  #roll(room: number): void {
    const { end } = this.#segment;
    try {
      // Before the mark: once it is in the file, there must be a next segment.
      if (this.#segments.prepare(end)) this.#syncer.created();
    } catch (error) {
      throw isFull(error) ? diskFull() : this.#fail(error as Error);
    }
    const next = this.#segments.find(end) as Segment;
    assert(room <= next.end - end, 'a record fits into an empty segment');
    if (this.#at + RECORD_HEADER_BYTES > this.#slab.buffer.length) this.#turn();
    writeHeader(this.#slab.view, this.#at, RecordTag.SEGMENT_END, 0, this.#epoch, this.#next);
    this.#recordAt = this.#at;
    this.#at += RECORD_HEADER_BYTES;
    this.end();
    if (!this.flush()) {
      // Take the mark back: the segment has not ended as long as the mark is not in the file.
      this.#at -= RECORD_HEADER_BYTES;
      this.#next -= RECORD_HEADER_BYTES;
      this.#slab.end = this.#next;
      throw diskFull();
    }
    this.#next = end;
    this.#written = end;
    this.#segment = next;
    this.#beginSlab();
  }

  /** Goes on in the next slab. */
  #turn(): void {
    if (!this.flush()) throw diskFull();
    this.#beginSlab();
  }

  #beginSlab(): void {
    this.#slab = this.#tail.next(this.#next);
    this.#at = 0;
    this.#unwrittenAt = 0;
  }

  #mark(): void {
    this.#marked = this.#durable;
    const at = this.#at;
    const { view } = this.#slab;
    const bodyBytes = WATERMARK_RECORD_BYTES - RECORD_HEADER_BYTES;
    writeHeader(view, at, RecordTag.WATERMARK, bodyBytes, this.#epoch, this.#next);
    view.setUint8(at + RECORD_HEADER_BYTES, WATERMARK_FIELD);
    writeUint64(view, at + WATERMARK_POSITION_AT, this.#durable);
    this.#recordAt = at;
    this.#at += WATERMARK_RECORD_BYTES;
    this.end();
  }

  #sync(): void {
    if (this.#syncing || this.#failure !== undefined || this.#closed) return;
    if (this.#durable === this.#written) return;
    this.#syncing = true;
    const target = this.#written;
    this.#syncer.sync((error) => {
      this.#syncing = false;
      this.#synced();
      if (error !== null) {
        this.#fail(error);
        return;
      }
      this.stats.syncs++;
      this.#durable = target;
      this.#waiters.reached(target);
      this.#observer.advanced();
      if (this.#options.flushMode === 'sync' || this.#waiters.some) this.#sync();
    });
  }

  #waitForSpace(): void {
    this.#full ??= this.#clock.every(FULL_RETRY_MS, () => {
      if (!this.#tryFlush()) return;
      if (this.#full === undefined) this.#sync();
      else this.#observer.advanced();
    });
  }

  #endFull(): void {
    this.#full?.cancel();
    this.#full = undefined;
  }

  #fail(error: Error): Error {
    if (this.#failure === undefined) {
      this.#failure = error;
      this.#cancelTimers();
      this.#waiters.fail(this.#stopped());
      this.#observer.failed(error);
    }
    return this.#stopped();
  }

  #stopped(): TernError {
    return new TernError(
      'UNAVAILABLE',
      this.#failure === undefined ? 'NOT_READY' : 'LOG_FAILED',
      this.#failure === undefined
        ? 'the broker is stopping; try again'
        : 'the broker cannot write its log and stops; its log file tells why',
      { cause: this.#failure },
    );
  }
}

function isFull(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ENOSPC' || code === 'EDQUOT';
}

function diskFull(): TernError {
  return new TernError(
    'RESOURCE_EXHAUSTED',
    'DISK_FULL',
    "the broker's disk is full; free space or delete topics, sending resumes by itself",
    { retryAfterMs: 1000 },
  );
}
