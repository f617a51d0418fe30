// The keys of one queue's messages, by chunks of the queue's index, as far as the store lacks them. A queue whose messages
// have no keys has none of this.
//
//   row of KEYS, 5 bytes for each key of a message, by index:
//     0  index of the message in the chunk  1
//     1  hash of the key, FNV-1a            4, little-endian
//
// Equal hashes only cost a look: who searches reads the message.

import { fnv1a, nextKey, type Slice } from './message-tag.ts';

/** Keys of a message that can be found; those behind them cannot. */
export const KEYS_MAX = 256;
const ENTRY_BYTES = 5;
const ENTRIES_AT_FIRST = 8;

const slice: Slice = { start: 0, end: 0 };

/** Keys of one queue's messages. */
export class KeyChunks {
  /** The chunk that the newest key is in. */
  #open = -1;
  #bytes: Buffer<ArrayBufferLike> = Buffer.alloc(0);
  #length = 0;
  /** Chunks before it that the store has not committed yet. */
  readonly #full = new Map<number, Buffer>();

  /**
   * Adds the keys of a message whose bytes are [at, end).
   *
   * @param stored the row that the store has of a chunk
   */
  add(
    chunk: number,
    index: number,
    bytes: Uint8Array,
    at: number,
    end: number,
    stored: (chunk: number) => Buffer | undefined,
  ): void {
    let next = at;
    for (let count = 0; count < KEYS_MAX; count++) {
      next = nextKey(bytes, next, end, slice);
      if (next < 0) return;
      if (chunk !== this.#open) this.#turnTo(chunk, stored(chunk));
      if (this.#length === this.#bytes.length) {
        const larger = Buffer.alloc(Math.max(2 * this.#length, ENTRIES_AT_FIRST * ENTRY_BYTES));
        larger.set(this.#bytes);
        this.#bytes = larger;
      }
      this.#bytes[this.#length] = index;
      this.#bytes.writeUInt32LE(fnv1a(bytes, slice.start, slice.end), this.#length + 1);
      this.#length += ENTRY_BYTES;
    }
  }

  #turnTo(chunk: number, stored: Buffer | undefined): void {
    if (this.#length > 0) this.#full.set(this.#open, this.#bytes.subarray(0, this.#length));
    this.#open = chunk;
    this.#length = stored?.length ?? 0;
    this.#bytes = stored === undefined ? Buffer.alloc(0) : Buffer.from(stored);
  }

  /** The row of a chunk that is in memory. */
  find(chunk: number): Buffer | undefined {
    return chunk === this.#open ? this.#bytes.subarray(0, this.#length) : this.#full.get(chunk);
  }

  /** Calls with every chunk that the store lacks; the open one's bytes are a copy. */
  forEachUnstored(visit: (chunk: number, row: Buffer, open: boolean) => void): void {
    for (const [chunk, row] of this.#full) visit(chunk, row, false);
    if (this.#length > 0)
      visit(this.#open, Buffer.from(this.#bytes.subarray(0, this.#length)), true);
  }

  /** The store has committed a row that is not of the open chunk. */
  stored(chunk: number, row: Buffer): void {
    if (this.#full.get(chunk) === row) this.#full.delete(chunk);
  }

  /** Nobody needs chunks before this one any more. */
  dropBefore(chunk: number): void {
    for (const full of this.#full.keys()) if (full < chunk) this.#full.delete(full);
  }
}

/** Index of the newest message below `end` that has a key of a hash, in a row of KEYS; -1 for none. */
export function lastWithKey(row: Buffer, hash: number, end: number): number {
  for (let at = row.length - ENTRY_BYTES; at >= 0; at -= ENTRY_BYTES) {
    const index = row[at] as number;
    if (index < end && row.readUInt32LE(at + 1) === hash) return index;
  }
  return -1;
}

/** The indexes and hashes of a row of KEYS. */
export function keyEntries(row: Buffer): { index: number; hash: number }[] {
  const entries: { index: number; hash: number }[] = [];
  for (let at = 0; at < row.length; at += ENTRY_BYTES) {
    entries.push({ index: row[at] as number, hash: row.readUInt32LE(at + 1) });
  }
  return entries;
}
