// One queue of a topic: where its messages lie in the log. An index of 256-entry chunks, of which only the
// open one, and those that are not committed yet, are in memory.
//
//   entry, 4 x uint32 in the machine's little-endian order:
//     0  position, low 32 bits
//     1  position, high 21 bits | key hash, low 11 bits << 21
//     2  length of the record in bytes, 23 bits; 0 for a message that is lost | key hash, high 9 bits << 23
//     3  hash of the tag; 0 for none
//   The key hash is 20 bits of the ordering key's hash; 0 for none.
//
//   row of QUEUES: begin 8 | next 8 | last store time 8 (doubles, little-endian)
//
// Invariants: begin <= next; the entries of chunk c are those of the offsets 256 c to 256 c + 255; positions
// grow with offsets.

import { assert } from '@ternmq/runtime';
import type { KeyChunks } from './key-chunks.ts';
import type { ProducerSequence } from './producer-sequence.ts';
import { RetainedOffsets } from './retained-offsets.ts';

/** Entries of a chunk. */
export const CHUNK_ENTRIES = 256;
/** Numbers of an entry. */
export const ENTRY_WORDS = 4;
const ENTRIES_AT_FIRST = 4;
const TWO_POW_32 = 4294967296;
const POSITION_HIGH_BITS = 21;
const LENGTH_BITS = 23;
const LENGTH_MASK = (1 << LENGTH_BITS) - 1;
const KEY_LOW_BITS = 32 - POSITION_HIGH_BITS;

/** Where a message lies that was appended again. */
export interface Relocated {
  readonly position: number;
  readonly length: number;
  /** When a message that waits is due, in milliseconds since the Unix epoch; of others the key hash. */
  readonly label: number;
}

/** Told when there is more to read in a queue. */
export interface QueueReader {
  /** Messages up to `queue.visibleEnd` may be read. */
  arrived(queue: Queue): void;
}

/** One queue of a topic. */
export class Queue {
  readonly topicId: number;
  readonly queueId: number;
  /** Offset of the oldest message that is kept. */
  begin = 0;
  /** Messages that the queue has ever had. */
  next = 0;
  /** Offset behind the newest message that may be handed out; follows `next` as the log becomes visible. */
  visibleEnd = 0;
  /** When the newest message was stored, in milliseconds since the Unix epoch. */
  lastStoreTimeMs = 0;
  /** Log start that `begin` was last held against. */
  begunAt = 0;
  /** Is it in the list of queues that wait for the log to become visible? */
  touched = false;
  /** Has it changed since its row was last written? */
  dirty = false;
  /** Its topic was deleted. */
  deleted = false;
  /** Who reads it now. */
  readers: QueueReader[] | undefined;
  /** Records of messages that were appended again, by offset, because their segments went. */
  relocated: Map<number, Relocated> | undefined;
  /** Their offsets in order, in a compacted queue. */
  retained: RetainedOffsets | undefined;
  /**
   * Its messages leave one by one and not from the oldest on: `begin` does not follow the log, and full chunks of the
   * index go by themselves.
   */
  sparse = false;
  /** Its topic drops repeats, or retains the newest message of each key: state/latest-table.ts knows those. */
  deduplicated = false;
  compacted = false;
  /** What idempotent producers sent, by producer id; and those whose rows are to be written. */
  producers: Map<number, ProducerSequence> | undefined;
  dirtyProducers: Set<number> | undefined;
  /** The keys of its newest messages; undefined when they have none, or the queue is idle. */
  keys: KeyChunks | undefined;
  /** Entries of the open chunk; undefined when the queue is idle. */
  #open: Uint32Array | undefined;
  /** Full chunks that the store has not committed yet, by number. */
  #full: Map<number, Uint32Array> | undefined;

  constructor(topicId: number, queueId: number) {
    this.topicId = topicId;
    this.queueId = queueId;
  }

  /** Number of the chunk that the next entry goes to. */
  get openChunk(): number {
    return Math.floor(this.next / CHUNK_ENTRIES);
  }

  /** Must the open chunk be loaded before `append`? */
  get needsOpenChunk(): boolean {
    return this.#open === undefined && this.next % CHUNK_ENTRIES !== 0;
  }

  /** Takes the open chunk as the store has it. */
  loadOpenChunk(entries: Uint32Array): void {
    assert(
      entries.length >= (this.next % CHUNK_ENTRIES) * ENTRY_WORDS,
      'the stored chunk has every entry of the queue',
    );
    this.#open = entries;
  }

  /** A message was appended again. */
  relocate(offset: number, place: Relocated): void {
    this.relocated ??= new Map();
    this.relocated.set(offset, place);
    if (!this.compacted) return;
    this.retained ??= new RetainedOffsets();
    this.retained.add(offset);
  }

  /** Has the index begin at an offset: nothing older is kept. */
  startIndexAt(offset: number): void {
    this.keys = undefined;
    if (!this.sparse) this.begin = Math.max(this.begin, offset);
    this.next = offset;
    const index = offset % CHUNK_ENTRIES;
    this.#full = undefined;
    this.#open = index === 0 ? undefined : new Uint32Array(CHUNK_ENTRIES * ENTRY_WORDS);
  }

  /** Adds the entry of a message whose offset is `next`. */
  append(
    position: number,
    length: number,
    tagHash: number,
    keyHash: number,
    storeTimeMs: number,
  ): void {
    assert(length <= LENGTH_MASK, 'the length of a record has 23 bits');
    const index = this.next % CHUNK_ENTRIES;
    let entries = this.#open;
    if (entries === undefined) {
      assert(index === 0, 'the open chunk is in memory');
      entries = new Uint32Array(ENTRIES_AT_FIRST * ENTRY_WORDS);
      this.#open = entries;
    } else if (index * ENTRY_WORDS === entries.length) {
      const larger = new Uint32Array(entries.length * 2);
      larger.set(entries);
      entries = larger;
      this.#open = entries;
    }
    const at = index * ENTRY_WORDS;
    entries[at] = position >>> 0;
    // A typed array keeps the low 32 bits of what it is given.
    entries[at + 1] = Math.floor(position / TWO_POW_32) | (keyHash << POSITION_HIGH_BITS);
    entries[at + 2] = length | ((keyHash >>> KEY_LOW_BITS) << LENGTH_BITS);
    entries[at + 3] = tagHash;
    this.next++;
    this.lastStoreTimeMs = storeTimeMs;
    if (index === CHUNK_ENTRIES - 1) {
      this.#full ??= new Map();
      this.#full.set(this.openChunk - 1, entries);
      this.#open = undefined;
    }
  }

  /** The entries of a chunk that is in memory. */
  chunkInMemory(chunk: number): Uint32Array | undefined {
    return chunk === this.openChunk ? this.#open : this.#full?.get(chunk);
  }

  /** Calls with every chunk that the store lacks: full ones, and the open one. */
  forEachUnstoredChunk(visit: (chunk: number, entries: Uint32Array, count: number) => void): void {
    if (this.#full !== undefined) {
      for (const [chunk, entries] of this.#full) visit(chunk, entries, CHUNK_ENTRIES);
    }
    const count = this.next % CHUNK_ENTRIES;
    if (this.#open !== undefined && count > 0) visit(this.openChunk, this.#open, count);
  }

  /** The store has committed these chunks. */
  chunkStored(chunk: number, entries: Uint32Array): void {
    if (this.#full?.get(chunk) !== entries) return;
    this.#full.delete(chunk);
    if (this.#full.size === 0) this.#full = undefined;
  }

  /** Nobody needs a full chunk any more. */
  dropChunk(chunk: number): void {
    this.#full?.delete(chunk);
    if (this.#full?.size === 0) this.#full = undefined;
  }

  /** Nothing was appended for a while and everything is stored: gives the memory of the open chunk back. */
  forgetOpenChunk(): void {
    this.#open = undefined;
    this.keys = undefined;
  }

  /** The row. */
  encode(): Buffer {
    const row = Buffer.allocUnsafe(24);
    row.writeDoubleLE(this.begin, 0);
    row.writeDoubleLE(this.next, 8);
    row.writeDoubleLE(this.lastStoreTimeMs, 16);
    return row;
  }

  /** Takes what a row says. */
  restore(row: Buffer): void {
    this.begin = row.readDoubleLE(0);
    this.next = row.readDoubleLE(8);
    this.visibleEnd = this.next;
    this.lastStoreTimeMs = row.readDoubleLE(16);
  }
}

/** Position of the record that entry `index` of a chunk names. */
export function entryPosition(entries: Uint32Array, index: number): number {
  const at = index * ENTRY_WORDS;
  const high = (entries[at + 1] as number) & ((1 << POSITION_HIGH_BITS) - 1);
  return (entries[at] as number) + high * TWO_POW_32;
}

/** Length of that record in bytes; 0 for a message that is lost. */
export function entryLength(entries: Uint32Array, index: number): number {
  return (entries[index * ENTRY_WORDS + 2] as number) & LENGTH_MASK;
}

/** Hash of the message's tag; 0 for none. */
export function entryTagHash(entries: Uint32Array, index: number): number {
  return entries[index * ENTRY_WORDS + 3] as number;
}

/** Hash of the message's ordering key, 20 bits; 0 for none. */
export function entryKeyHash(entries: Uint32Array, index: number): number {
  const at = index * ENTRY_WORDS;
  const low = (entries[at + 1] as number) >>> POSITION_HIGH_BITS;
  return low | (((entries[at + 2] as number) >>> LENGTH_BITS) << KEY_LOW_BITS);
}
