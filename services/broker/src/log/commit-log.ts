// The commit log: all messages and all changes of state, in order of arrival. The only truth.
//
// Positions, in bytes from the beginning of the log:
//
//   start <= durable <= written <= next
//     durable   fdatasync has returned
//     written   in the page cache
//     next      where the next record will start; what is between is in the tail cache only
//   visible = durable in flush mode `sync`, written in `async`, at most what replicas have confirmed: all that is handed out
// A log leads: it is appended to, under an epoch of its own; or it follows another one, and has its bytes at the same positions.
//
// A record is built in place: `begin` makes room and returns where its body goes, the caller writes the body into `buffer`,
// `end` seals it. Records of one turn are written together, and one fdatasync runs at a time: what comes meanwhile is the next.
//
// A failed write or fdatasync is final (the kernel may have dropped the pages): the log stops, all waiting calls fail, and the
// process must end. Not so a full disk at a write: the bytes stay in the tail cache, and writing is tried again.

import { join } from 'node:path';
import { assert, type Clock, type Disk, type Timer } from '@ternmq/runtime';
import { BlockCache } from './block-cache.ts';
import { DurableWaiters } from './durable-waiters.ts';
import { diskFull, isFull, logStopped } from './log-errors.ts';
import type { LogObserver, LogOptions, LogRecovery } from './log-options.ts';
import { LogReader } from './log-reader.ts';
import {
  RECORD_HEADER_BYTES,
  RecordTag,
  sealRecord,
  WATERMARK_RECORD_BYTES,
  writeHeader,
  writeWatermark,
} from './record.ts';
import { checkRun, visitRun } from './record-run.ts';
import { type FoundLog, recoverLog } from './recover-log.ts';
import { RunReader } from './run-reader.ts';
import type { RecordVisitor } from './scan.ts';
import { SegmentSyncer } from './segment-syncer.ts';
import type { Segment, Segments } from './segments.ts';
import { type Slab, TailCache } from './tail-cache.ts';
import { WatermarkFile } from './watermark-file.ts';

const WATERMARK_INTERVAL_MS = 1000;
const FULL_RETRY_MS = 100;

/** The log of one broker. */
export class CommitLog {
  readonly #options: LogOptions;
  readonly #clock: Clock;
  readonly #segments: Segments;
  readonly #tail: TailCache;
  readonly #blocks: BlockCache;
  /** What was appended. */
  readonly read: LogReader;
  readonly #watermark: WatermarkFile;
  readonly #syncer: SegmentSyncer;
  #epoch: number;
  #lastEpoch: number;
  #following: boolean;
  /** In a segment whose last record has come from the master: the next one begins another. */
  #segmentEnded = false;
  /** Nothing above it is visible. */
  #confirmed = Number.POSITIVE_INFINITY;
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
  readonly #visibleWaiters = new DurableWaiters();
  #full: Timer | undefined;
  #timers: Timer[] = [];
  #failure: Error | undefined;
  #closed = false;
  #closing: Promise<void> | undefined;
  /** Called when the sync under way has ended. */
  #synced: () => void = () => {};

  /** Figures for metrics. */
  readonly stats = { syncs: 0 };

  private constructor(
    options: LogOptions,
    modules: { disk: Disk; clock: Clock },
    { segments, recovery: { end }, epoch, lastEpoch }: FoundLog,
  ) {
    this.#options = options;
    this.#clock = modules.clock;
    this.#segments = segments;
    this.#syncer = new SegmentSyncer(segments);
    this.#tail = new TailCache(options);
    this.#blocks = new BlockCache(segments, () => this.#written);
    this.read = new LogReader(segments, this.#tail, this.#blocks, options.below);
    this.#watermark = new WatermarkFile(join(options.folder, 'watermark'), modules.disk);
    this.#epoch = epoch;
    this.#lastEpoch = options.following ? lastEpoch : epoch;
    this.#following = options.following ?? false;
    this.#next = end;
    this.#written = end;
    this.#durable = end;
    if (segments.prepare(end)) this.#syncer.created();
    this.#segment = segments.find(end) as Segment;
    this.#slab = this.#tail.next(end);
  }

  /**
   * Opens a log to lead or follow: reads it from a position on, cuts a torn tail, and makes what is left durable.
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
    const found = recoverLog(options, modules.disk, from, visit);
    const log = new CommitLog(options, modules, found);
    const { segments, recovery, epoch } = found;
    // What the scan accepted may still be in the page cache only.
    for (const segment of segments.all) {
      const { from: start, end } = recovery;
      if (segment.end > start && segment.start <= end) log.#syncer.wrote(segment);
    }
    await new Promise<void>((resolve, reject) => {
      log.#syncer.sync((error) => (error === null ? resolve() : reject(error)));
    });
    log.#watermark.begin(recovery.end, epoch, log.following);
    await log.#watermark.sync();
    log.#start();
    return { log, recovery };
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

  /** Epoch of what it appends; while it follows, the newest that it knows: what was cut off may have had a higher one. */
  get epoch(): number {
    return this.#epoch;
  }

  /** Epoch of the last record, and of the next one when it leads: none that comes is below. */
  get lastEpoch(): number {
    return this.#lastEpoch;
  }

  /** Does it take a master's records? */
  get following(): boolean {
    return this.#following;
  }

  /** Begins to lead: what was taken is made durable, and what comes has this epoch, which is higher than any in the log. */
  async lead(epoch: number): Promise<void> {
    assert(this.#following && epoch > this.#epoch, 'every leadership has an epoch of its own');
    await this.durableAt(this.#next);
    const { end } = this.#segment;
    if (this.#segmentEnded) {
      this.#enterSegment({ start: end, end: end + this.#options.segmentBytes });
    }
    this.#watermark.begin(this.#durable, epoch, false);
    await this.#watermark.sync();
    this.#epoch = epoch;
    this.#lastEpoch = epoch;
    this.#following = false;
    this.#marked = this.#durable;
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
    return Math.min(this.ownVisible, this.#confirmed);
  }

  /** The same, but for what replicas have to confirm. */
  get ownVisible(): number {
    return this.#syncs ? this.#durable : this.#written;
  }

  /** Is what is written made durable at once? What came from a master always is: it waits for that. */
  get #syncs(): boolean {
    return this.#following || this.#options.flushMode === 'sync';
  }

  /** Position that replicas have confirmed; Infinity for a log that has none. */
  get confirmed(): number {
    return this.#confirmed;
  }

  /** Replicas have everything below a position; from the first call on, nothing above is visible. Never falls. */
  confirm(position: number): void {
    if (position <= this.#confirmed && this.#confirmed !== Number.POSITIVE_INFINITY) return;
    this.#confirmed = position;
    this.#advanced();
  }

  /** Reads runs of records, as they lie in the log. */
  runs(): RunReader {
    return new RunReader(this.#segments, this.#tail, () => this.#written);
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
    if (this.#failure !== undefined || this.#closed) throw logStopped(this.#failure);
    assert(!this.#following, 'a log that follows is not appended to');
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

  /**
   * Takes records as the master's log has them, and has them written soon: whole ones, in one segment, from `next` on.
   * Throws DATA_LOSS (REPLICATION_DAMAGED) before taking anything when they do not check out, and RESOURCE_EXHAUSTED
   * (DISK_FULL).
   *
   * @param segment the segment that the bytes belong to
   */
  follow(position: number, bytes: Buffer, segment: Segment, visit: RecordVisitor): void {
    if (this.#failure !== undefined || this.#closed) throw logStopped(this.#failure);
    assert(this.#following, 'a log that leads takes no records from others');
    const { ended, epoch } = checkRun(bytes, position, this.#lastEpoch);
    if (segment.start !== this.#segment.start) this.#enterSegment(segment);
    else if (segment.end !== this.#segment.end) this.#segment = this.#shape(segment);
    assert(position === this.#next && !this.#segmentEnded, 'records come without a gap');
    if (this.#at + bytes.length > this.#slab.buffer.length) this.#turn();
    const at = this.#at;
    const slab = this.#slab;
    slab.buffer.set(bytes, at);
    this.#at += bytes.length;
    this.#next += bytes.length;
    slab.end = this.#next;
    this.#lastEpoch = epoch;
    this.#epoch = Math.max(this.#epoch, epoch);
    this.#segmentEnded = ended;
    this.requestFlush();
    visitRun(slab, at, this.#at, position, visit);
  }

  /** Goes to the segment in which the master's log goes on. */
  #enterSegment(segment: Segment): void {
    const atEnd = this.#segmentEnded && segment.start === this.#segment.end;
    assert(atEnd || segment.start === this.#next, 'segments follow each other');
    if (!this.flush()) throw diskFull();
    this.#goTo(this.#shape(segment));
    this.#segmentEnded = false;
  }

  #shape({ start, end }: Segment): Segment {
    try {
      this.#syncer.created();
      return this.#segments.shape(start, end - start);
    } catch (error) {
      throw isFull(error) ? diskFull() : this.#fail(error as Error);
    }
  }

  /** Has the log written at the end of this turn of the event loop. */
  requestFlush(): void {
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    this.#clock.defer(() => {
      this.#flushScheduled = false;
      if (this.#closed || this.#failure !== undefined) return;
      if (!this.#tryFlush()) return;
      if (this.#syncs) this.#sync();
      else this.#advanced();
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
    this.#unwrittenAt = this.#at;
    this.#written = this.#next;
    this.#endFull();
    this.#syncer.wrote(this.#segment);
    this.#observer.wrote?.();
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
    if (this.#failure !== undefined) return Promise.reject(logStopped(this.#failure));
    if (position <= this.#durable) return Promise.resolve();
    if (this.#closed) return Promise.reject(logStopped(this.#failure));
    const durable = this.#waiters.add(position);
    if (this.#tryFlush()) this.#sync();
    return durable;
  }

  /** Resolves when everything before a position is visible: when a change of state may be answered. */
  visibleAt(position: number): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(logStopped(this.#failure));
    if (position > this.#written) this.#tryFlush();
    if (position <= this.visible) return Promise.resolve();
    if (this.#closed) return Promise.reject(logStopped(this.#failure));
    if (this.#syncs) this.#sync();
    return this.#visibleWaiters.add(position);
  }

  /** Resolves when everything before a position survives: it is durable here, and confirmed by the replicas that count. */
  async keptAt(position: number): Promise<void> {
    await this.durableAt(position);
    await this.visibleAt(position);
  }

  #advanced(): void {
    this.#visibleWaiters.reached(this.visible);
    this.#observer.advanced();
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
    this.#waiters.fail(logStopped(this.#failure));
    this.#visibleWaiters.fail(logStopped(this.#failure));
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
    this.#goTo(next);
  }

  #goTo(segment: Segment): void {
    this.#next = segment.start;
    this.#written = segment.start;
    this.#segment = segment;
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
    writeWatermark(this.#slab.view, this.#at, this.#epoch, this.#next, this.#durable);
    this.#recordAt = this.#at;
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
      if (this.#following) this.#tellWatermark();
      this.#waiters.reached(target);
      this.#advanced();
      if (this.#syncs || this.#waiters.some) this.#sync();
    });
  }

  #waitForSpace(): void {
    this.#full ??= this.#clock.every(FULL_RETRY_MS, () => {
      if (!this.#tryFlush()) return;
      if (this.#full === undefined) this.#sync();
      else this.#advanced();
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
      this.#waiters.fail(logStopped(this.#failure));
      this.#visibleWaiters.fail(logStopped(this.#failure));
      this.#observer.failed(error);
    }
    return logStopped(this.#failure);
  }
}
