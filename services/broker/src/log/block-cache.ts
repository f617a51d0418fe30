// Old bytes of the log, read from the files in aligned blocks through the thread pool and kept for a while:
// the records of one queue lie among those of others, and whoever reads one block will soon want its
// neighbour.
//
// Memory is taken once and used again: a page that a block gives up gets another block's bytes, but only after a
// later read has ended, so that what was lent in one turn of the event loop stays as it is until that turn is over.
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
/** Pages kept for the next reads. */
const FREE_PAGES_MAX = 16;

/** Memory for one block. */
interface Page {
  readonly buffer: Buffer;
  readonly view: DataView;
}

interface Block extends Slab {
  buffer: Buffer;
  view: DataView;
  /** What its bytes lie in; undefined until the first read has ended. */
  page: Page | undefined;
  /** The read that is under way, if any. */
  loading: Promise<void> | undefined;
}

const NO_BYTES = Buffer.alloc(0);
const NO_PAGE: Page = { buffer: NO_BYTES, view: viewOf(NO_BYTES) };

/** Old bytes of the log. */
export class BlockCache {
  readonly #segments: Segments;
  readonly #written: () => number;
  /** By block number, the one used longest ago first. */
  readonly #blocks = new Map<number, Block>();
  /** The block that was used last: it need not be moved behind the others again. */
  #used = -1;
  /** The block that a reader of records has come to last. */
  #newest = -1;
  /** Pages that may be used again, and those that may be when the next read has ended. */
  readonly #free: Page[] = [];
  readonly #given: Page[] = [];

  /** @param written position up to which the files hold the log */
  constructor(segments: Segments, written: () => number) {
    this.#segments = segments;
    this.#written = written;
  }

  /**
   * The block that holds all of the bytes, if there is one and it is here. Its bytes are lent: read or copy them
   * before returning to the event loop.
   */
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

  /** The bytes, if all of them are here. They are lent: read or copy them before returning to the event loop. */
  find(position: number, length: number): Buffer | undefined {
    const first = Math.floor(position / BLOCK_BYTES);
    const end = position + length;
    if (end <= (first + 1) * BLOCK_BYTES) return this.#part(first, position, end);
    const parts: Buffer[] = [];
    for (let from = position; from < end; ) {
      const number = Math.floor(from / BLOCK_BYTES);
      const until = Math.min(end, (number + 1) * BLOCK_BYTES);
      const part = this.#part(number, from, until);
      if (part === undefined) return undefined;
      parts.push(part);
      from = until;
    }
    return Buffer.concat(parts, length);
  }

  #part(number: number, from: number, until: number): Buffer | undefined {
    const block = this.#touch(number);
    if (block === undefined || until > block.end) return undefined;
    return block.buffer.subarray(from - block.start, until - block.start);
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
      if ((number + 1) * BLOCK_BYTES <= position) this.#forget(number);
    }
  }

  #forget(number: number): void {
    const block = this.#blocks.get(number);
    this.#blocks.delete(number);
    if (block?.page === undefined) return;
    this.#given.push(block.page);
    // A read that is under way must not give it up again.
    block.page = undefined;
  }

  #touch(number: number): Block | undefined {
    const block = this.#blocks.get(number);
    if (block !== undefined && number !== this.#used) {
      this.#blocks.delete(number);
      this.#blocks.set(number, block);
      this.#used = number;
    }
    return block;
  }

  #fill(number: number): Promise<void> {
    const start = number * BLOCK_BYTES;
    const end = Math.min(start + BLOCK_BYTES, this.#written());
    if (end <= start) return Promise.resolve();
    let block = this.#blocks.get(number);
    if (block !== undefined) {
      if (block.loading !== undefined) return block.loading;
      if (block.end >= end) return Promise.resolve();
    } else {
      block = { ...NO_PAGE, page: undefined, start, end: start, loading: undefined };
      this.#blocks.set(number, block);
      this.#evict();
    }
    block.loading = this.#load(block, end);
    return block.loading;
  }

  async #load(block: Block, end: number): Promise<void> {
    const page = this.#free.pop() ?? newPage();
    try {
      await this.#read(page.buffer, block.start, end - block.start);
      // Nobody reads in this turn yet: what was given up before it may be used again.
      for (const free of this.#given.splice(0)) this.#release(free);
      if (block.page !== undefined) this.#given.push(block.page);
      block.page = page;
      block.buffer = page.buffer;
      block.view = page.view;
      block.end = end;
      if (this.#blocks.get(block.start / BLOCK_BYTES) !== block) this.#given.push(page);
    } catch (error) {
      this.#release(page);
      throw error;
    } finally {
      block.loading = undefined;
    }
  }

  #release(page: Page): void {
    if (this.#free.length < FREE_PAGES_MAX) this.#free.push(page);
  }

  /** Reads a stretch that may cross segments; what lies in no segment is left zero, which no record is. */
  async #read(into: Buffer, start: number, length: number): Promise<void> {
    for (let done = 0; done < length; ) {
      const position = start + done;
      const segment = this.#segments.find(position);
      if (segment === undefined) {
        const next = this.#segments.all.find((other) => other.start > position);
        const until = next === undefined ? length : Math.min(length, next.start - start);
        into.fill(0, done, until);
        done = until;
        continue;
      }
      const count = Math.min(length - done, segment.end - position);
      try {
        const file = this.#segments.hold(segment);
        const read = await file.read(into, done, count, position - segment.start);
        into.fill(0, done + read, done + count);
      } finally {
        this.#segments.release(segment);
      }
      done += count;
    }
  }

  #evict(): void {
    for (const [number, { loading }] of this.#blocks) {
      if (this.#blocks.size <= BLOCKS_MAX) return;
      if (loading === undefined) this.#forget(number);
    }
  }
}

function newPage(): Page {
  const buffer = Buffer.allocUnsafeSlow(BLOCK_BYTES);
  return { buffer, view: viewOf(buffer) };
}
