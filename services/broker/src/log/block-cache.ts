// Old bytes of the log, read from the files in aligned blocks through the thread pool and kept for a while:
// the records of one queue lie among those of others, and whoever reads one block will soon want its
// neighbour.
//
// Invariant: a cached block holds only bytes below the position that was written when it was read; the
// block that the log's end lies in is read again when more of it is wanted.

import { viewOf } from './record.ts';
import type { Segments } from './segments.ts';
import type { Slab } from './tail-cache.ts';

const BLOCK_BYTES = 256 << 10;
const BLOCKS_MAX = 128;
/** A reader that goes through the log in order gets the blocks behind the one it asks for, too. */
const READ_AHEAD_BLOCKS = 4;

interface Block extends Slab {
  /** Bytes from the block's start that are there. */
  buffer: Buffer;
  view: DataView;
  /** The read that is under way, if any. */
  loading: Promise<void> | undefined;
}

/** Old bytes of the log. */
export class BlockCache {
  readonly #segments: Segments;
  readonly #written: () => number;
  /** By block number, the one used longest ago first. */
  readonly #blocks = new Map<number, Block>();
  /** The block that was found last. */
  #newest = -1;

  /** @param written position up to which the files hold the log */
  constructor(segments: Segments, written: () => number) {
    this.#segments = segments;
    this.#written = written;
  }

  /** The block that holds all of the bytes, if there is one and it is here; valid for good. */
  block(position: number, length: number): Slab | undefined {
    const number = Math.floor(position / BLOCK_BYTES);
    const block = this.#touch(number);
    if (block === undefined || position + length > block.end) return undefined;
    if (number !== this.#newest) {
      // A reader has come to this block: those behind it are on their way before it gets there.
      if (number === this.#newest + 1) this.#readAhead(number);
      this.#newest = number;
    }
    return block;
  }

  #readAhead(number: number): void {
    for (let ahead = 1; ahead <= READ_AHEAD_BLOCKS; ahead++) {
      // What fails ahead of the reader fails again, and is told, when it is really wanted.
      if (!this.#blocks.has(number + ahead)) this.#fill(number + ahead).catch(() => {});
    }
  }

  /** The bytes, if all of them are here. The result is valid for good and must not be changed. */
  find(position: number, length: number): Buffer | undefined {
    const number = Math.floor(position / BLOCK_BYTES);
    const at = position - number * BLOCK_BYTES;
    if (at + length <= BLOCK_BYTES) {
      const block = this.#touch(number);
      if (block === undefined || block.buffer.length < at + length) return undefined;
      return block.buffer.subarray(at, at + length);
    }
    const parts: Buffer[] = [];
    for (let done = 0; done < length; ) {
      const from = position + done;
      const blockNumber = Math.floor(from / BLOCK_BYTES);
      const within = from - blockNumber * BLOCK_BYTES;
      const count = Math.min(length - done, BLOCK_BYTES - within);
      const block = this.#touch(blockNumber);
      if (block === undefined || block.buffer.length < within + count) return undefined;
      parts.push(block.buffer.subarray(within, within + count));
      done += count;
    }
    return Buffer.concat(parts, length);
  }

  /**
   * Reads what `find` misses, and something ahead. Rejects with the disk's error; resolves also when the
   * bytes do not exist (any more), so ask `find` again and take undefined for an answer.
   */
  async load(position: number, length: number): Promise<void> {
    const first = Math.floor(position / BLOCK_BYTES);
    const last = Math.floor((position + length - 1) / BLOCK_BYTES);
    const wanted: Promise<void>[] = [];
    for (let number = first; number <= last; number++) wanted.push(this.#fill(number));
    this.#readAhead(last);
    await Promise.all(wanted);
  }

  /** Forgets blocks before a position, when their segments are deleted. */
  dropBefore(position: number): void {
    for (const number of this.#blocks.keys()) {
      if ((number + 1) * BLOCK_BYTES <= position) this.#blocks.delete(number);
    }
  }

  #touch(number: number): Block | undefined {
    const block = this.#blocks.get(number);
    if (block !== undefined) {
      this.#blocks.delete(number);
      this.#blocks.set(number, block);
    }
    return block;
  }

  #fill(number: number): Promise<void> {
    const start = number * BLOCK_BYTES;
    const length = Math.min(BLOCK_BYTES, this.#written() - start);
    if (length <= 0) return Promise.resolve();
    let block = this.#blocks.get(number);
    if (block !== undefined) {
      if (block.loading !== undefined) return block.loading;
      if (block.buffer.length >= length) return Promise.resolve();
    } else {
      const buffer = Buffer.alloc(0);
      block = { buffer, view: viewOf(buffer), start, end: start, loading: undefined };
      this.#blocks.set(number, block);
      this.#evict();
    }
    const filling = block;
    filling.loading = this.#read(start, length)
      .then((buffer) => {
        filling.buffer = buffer;
        filling.view = viewOf(buffer);
        filling.end = start + buffer.length;
      })
      .finally(() => {
        filling.loading = undefined;
      });
    return filling.loading;
  }

  /** Reads a stretch that may cross segments; what lies in no segment is left zero, which no record is. */
  async #read(start: number, length: number): Promise<Buffer> {
    const buffer = Buffer.alloc(length);
    for (let done = 0; done < length; ) {
      const position = start + done;
      const segment = this.#segments.find(position);
      if (segment === undefined) {
        done++;
        const next = this.#segments.all.find((other) => other.start > position);
        done = next === undefined ? length : Math.min(length, next.start - start);
        continue;
      }
      const count = Math.min(length - done, segment.end - position);
      try {
        await this.#segments.hold(segment).read(buffer, done, count, position - segment.start);
      } finally {
        this.#segments.release(segment);
      }
      done += count;
    }
    return buffer;
  }

  #evict(): void {
    for (const [number, block] of this.#blocks) {
      if (this.#blocks.size <= BLOCKS_MAX) return;
      if (block.loading === undefined) this.#blocks.delete(number);
    }
  }
}
