// Reads records of a log: the newest from the tail cache, older ones from blocks that were loaded before.

import { TernError } from '@ternmq/runtime';
import type { BlockCache } from './block-cache.ts';
import { checksumHolds, claimedLength, viewOf } from './record.ts';
import { RecordWalk, type RecordWatcher } from './record-walk.ts';
import type { Segments } from './segments.ts';
import type { Slab, TailCache } from './tail-cache.ts';

/** Reads records by position and length. */
export class LogReader {
  readonly #segments: Segments;
  readonly #tail: TailCache;
  readonly #blocks: BlockCache;
  readonly #below: LogReader | undefined;
  /** Records that did not check out, for metrics. */
  corruptReads = 0;

  /** @param below reads what lies below the oldest segment; nothing is read there when absent */
  constructor(segments: Segments, tail: TailCache, blocks: BlockCache, below?: LogReader) {
    this.#segments = segments;
    this.#below = below;
    this.#tail = tail;
    this.#blocks = blocks;
  }

  /**
   * A stretch of records from the tail cache, with where it lies in the slab; undefined when it is not
   * there (any more). Copy it before returning to the event loop.
   */
  tail(position: number, length: number): { slab: Slab; at: number } | undefined {
    const below = this.#belowAt(position);
    if (below !== undefined) return below.tail(position, length);
    const slab = this.#tail.find(position, length);
    return slab === undefined ? undefined : { slab, at: position - slab.start };
  }

  /** One record from the caches, checked; undefined when it must be loaded first or is damaged. */
  find(position: number, length: number): Buffer | undefined {
    const below = this.#belowAt(position);
    if (below !== undefined) return below.find(position, length);
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
    const below = this.#belowAt(position);
    if (below !== undefined) return below.block(position, length);
    const block = this.#blocks.block(position, length);
    if (block !== undefined) {
      this.#check(block.buffer, block.view, position - block.start, length, position);
    }
    return block;
  }

  #belowAt(position: number): LogReader | undefined {
    if (this.#below === undefined) return undefined;
    return position < this.#segments.start ? this.#below : undefined;
  }

  #check(bytes: Buffer, view: DataView, at: number, length: number, position: number): void {
    const claimed = claimedLength(view, at, length, position);
    if (claimed === length && checksumHolds(bytes, view, at, length)) return;
    this.corruptReads++;
    throw new TernError(
      'DATA_LOSS',
      'CORRUPT_RECORD',
      `the record at position ${position} of the log is damaged; run 'tern log verify' and restore it from a replica`,
    );
  }

  /** Loads what `find` misses, in the background. */
  load(position: number, length: number): Promise<void> {
    return this.#belowAt(position)?.load(position, length) ?? this.#blocks.load(position, length);
  }

  /** Goes through records in the background, between two positions that are visible. */
  walk(from: number, until: number, watcher: RecordWatcher): RecordWalk {
    return new RecordWalk(this.#segments, from, until, watcher);
  }
}
