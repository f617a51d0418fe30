// The messages that wait: delayed ones for their time, half messages for the end of their transaction. They lie in the
// queue of a system topic of their own; their index entries hold the time when they are due in place of the hashes, so the
// queue's index is all that must be stored of them. What is kept beside it is which of them are done: released to their
// topic, recalled, rolled back, or dropped.
//
//   entry of the queue's index: due time, low 32 bits in place of the tag hash, high bits in place of the key hash; 0 for
//   what is not due by itself
//
//   chunk of 256 entries:  open (none done: no row) -> partly done (a bitmap) -> finished (its index row is removed)
//
//   row of HELD_DONE, by chunk: 32 bytes, bit i % 8 of byte i >> 3 is set when entry i is done
//   row of HELD_DONE, FINISHED_CHUNKS: from and to of each range of finished chunks, as numbers (row-bytes.ts)
//
// The heap may still hold messages that are done; `firstDueMs` passes over them.

import { assert } from '@ternmq/runtime';
import { RangeSet } from '../progress/range-set.ts';
import { RowReader, RowWriter } from '../progress/row-bytes.ts';
import { FINISHED_CHUNKS, heldDoneKey } from './keys.ts';
import {
  CHUNK_ENTRIES,
  entryKeyHash,
  entryLength,
  entryPosition,
  entryTagHash,
  type Queue,
} from './queue.ts';
import type { Row } from './store.ts';
import { TimerHeap } from './timer-heap.ts';

const TWO_POW_32 = 4294967296;
const BITMAP_BYTES = CHUNK_ENTRIES / 8;

/** Name of the topic that messages wait in. */
export const HELD_TOPIC = '%HELD%';

interface Bitmap {
  readonly bits: Uint8Array;
  count: number;
}

/** Due time as an index entry holds it: what stands in place of the tag hash. */
export function dueLow(dueMs: number): number {
  return dueMs % TWO_POW_32;
}

/** What stands in place of the key hash. */
export function dueHigh(dueMs: number): number {
  return Math.floor(dueMs / TWO_POW_32);
}

/** The due time in an index entry. */
export function entryDueMs(entries: Uint32Array, index: number): number {
  return entryTagHash(entries, index) + entryKeyHash(entries, index) * TWO_POW_32;
}

/** The messages that wait. */
export class HeldTable {
  readonly #heap = new TimerHeap();
  readonly #bitmaps = new Map<number, Bitmap>();
  readonly #finished = new RangeSet();
  readonly #dirty = new Set<number>();
  #finishedDirty = false;
  /** Messages that wait. */
  pending = 0;
  /** The queue that they lie in; undefined while there was none. */
  queue: Queue | undefined;

  /**
   * A message waits.
   *
   * @param dueMs when it is due, in milliseconds since the Unix epoch; 0 when it is not due by itself
   */
  add(offset: number, dueMs: number): void {
    if (dueMs > 0) this.#heap.push(dueMs, offset);
    this.pending++;
  }

  /** The place of a message that may wait has become known. */
  found(offset: number, dueMs: number): void {
    if (this.isPending(offset)) this.add(offset, dueMs);
  }

  /** Does the message at an offset of the queue still wait? */
  isPending(offset: number): boolean {
    if (this.queue === undefined || offset >= this.queue.next) return false;
    const chunk = Math.floor(offset / CHUNK_ENTRIES);
    if (this.#finished.has(chunk)) return false;
    const index = offset % CHUNK_ENTRIES;
    const byte = this.#bitmaps.get(chunk)?.bits[index >> 3] ?? 0;
    return ((byte >> (index & 7)) & 1) === 0;
  }

  /** The message waits no more; returns the chunk when it has become finished by this, and false when it waited not. */
  done(offset: number): number | boolean {
    if (!this.isPending(offset)) return false;
    const chunk = Math.floor(offset / CHUNK_ENTRIES);
    let bitmap = this.#bitmaps.get(chunk);
    if (bitmap === undefined) {
      bitmap = { bits: new Uint8Array(BITMAP_BYTES), count: 0 };
      this.#bitmaps.set(chunk, bitmap);
    }
    const index = offset % CHUNK_ENTRIES;
    bitmap.bits[index >> 3] = (bitmap.bits[index >> 3] as number) | (1 << (index & 7));
    bitmap.count++;
    this.pending--;
    this.#dirty.add(chunk);
    if (bitmap.count < CHUNK_ENTRIES) return true;
    this.#bitmaps.delete(chunk);
    this.#finished.add(chunk, chunk + 1);
    this.#finishedDirty = true;
    return chunk;
  }

  /** When the first message is due, in milliseconds since the Unix epoch; Infinity when none waits. */
  firstDueMs(): number {
    while (this.#heap.size > 0 && !this.isPending(this.#heap.firstOffset)) this.#heap.pop();
    return this.#heap.firstDueMs;
  }

  /** Takes the first message out of the order; it still waits, and must be released or put back. */
  take(): number {
    return this.#heap.pop();
  }

  /** Puts a message back that was taken. */
  putBack(offset: number, dueMs: number): void {
    this.#heap.push(dueMs, offset);
  }

  /** Visits the offset of every message that waits, by offset. */
  forEachPending(visit: (offset: number) => void): void {
    this.#forEachOpenChunk((chunk, count) => {
      for (let offset = chunk * CHUNK_ENTRIES; offset < chunk * CHUNK_ENTRIES + count; offset++) {
        if (this.isPending(offset)) visit(offset);
      }
    });
  }

  #forEachOpenChunk(visit: (chunk: number, count: number) => void): void {
    const next = this.queue?.next ?? 0;
    this.#finished.forEachGap(0, Math.ceil(next / CHUNK_ENTRIES), (from, to) => {
      for (let chunk = from; chunk < to; chunk++) {
        visit(chunk, Math.min(CHUNK_ENTRIES, next - chunk * CHUNK_ENTRIES));
      }
    });
  }

  /** Is there something that the store lacks? */
  get dirty(): boolean {
    return this.#dirty.size > 0 || this.#finishedDirty;
  }

  /** The rows that have changed since the last call. */
  collect(puts: Row[], removes: Buffer[]): void {
    for (const chunk of this.#dirty) {
      const bitmap = this.#bitmaps.get(chunk);
      const key = heldDoneKey(chunk);
      if (bitmap === undefined) removes.push(key);
      else puts.push({ key, value: Buffer.from(bitmap.bits) });
    }
    this.#dirty.clear();
    if (!this.#finishedDirty) return;
    this.#finishedDirty = false;
    const row = new RowWriter();
    for (const bound of this.#finished.bounds) row.number(bound);
    puts.push({ key: heldDoneKey(FINISHED_CHUNKS), value: row.finish() });
  }

  /** Takes a row as the store or a snapshot has it. */
  restore(chunk: number, value: Buffer): void {
    if (chunk === FINISHED_CHUNKS) {
      const row = new RowReader(value);
      while (!row.ended) this.#finished.add(row.number(), row.number());
      return;
    }
    assert(value.length === BITMAP_BYTES, 'a bitmap has 32 bytes');
    let count = 0;
    for (const byte of value) for (let rest = byte; rest > 0; rest >>= 1) count += rest & 1;
    this.#bitmaps.set(chunk, { bits: new Uint8Array(value), count });
  }

  /**
   * Finds what waits, once, after every row was restored.
   *
   * @param chunk the entries of a chunk; undefined when the index no longer has it
   */
  restoreOrder(chunk: (number: number) => Uint32Array | undefined, logStart: number): void {
    const relocated = this.queue?.relocated;
    for (const [offset, { label }] of relocated ?? []) {
      if (this.isPending(offset)) this.add(offset, label);
    }
    this.#forEachOpenChunk((number, count) => {
      const entries = chunk(number);
      if (entries === undefined) return;
      for (let index = 0; index < count; index++) {
        const offset = number * CHUNK_ENTRIES + index;
        if (relocated?.has(offset) || entryLength(entries, index) === 0) continue;
        if (entryPosition(entries, index) < logStart || !this.isPending(offset)) continue;
        this.add(offset, entryDueMs(entries, index));
      }
    });
  }
}
