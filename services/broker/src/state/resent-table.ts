// Which dead letters were sent again.
//
//   row of RESENT, by chunk of 256 letters of a queue: 32 bytes, bit i % 8 of byte i >> 3 is set when letter i was
//
// A chunk without such letters has no row; the rows go with the chunks of the queue's index.

import { assert } from '@ternmq/runtime';
import { resentKey } from './keys.ts';
import { CHUNK_ENTRIES, type Queue } from './queue.ts';
import type { Row } from './store.ts';

const BITMAP_BYTES = CHUNK_ENTRIES / 8;

/** Dead letters that were sent again, by queue. */
export class ResentTable {
  readonly #queues = new Map<Queue, Map<number, Uint8Array>>();
  /** Chunks whose rows the store lacks, or has no longer any use for. */
  readonly #dirty = new Map<Queue, Set<number>>();

  /** A dead letter was sent again. */
  add(queue: Queue, offset: number): void {
    const chunk = Math.floor(offset / CHUNK_ENTRIES);
    if (chunk < Math.floor(queue.begin / CHUNK_ENTRIES)) return;
    let chunks = this.#queues.get(queue);
    if (chunks === undefined) {
      chunks = new Map();
      this.#queues.set(queue, chunks);
    }
    let bits = chunks.get(chunk);
    if (bits === undefined) {
      bits = new Uint8Array(BITMAP_BYTES);
      chunks.set(chunk, bits);
    }
    const index = offset % CHUNK_ENTRIES;
    bits[index >> 3] = (bits[index >> 3] as number) | (1 << (index & 7));
    this.#changed(queue, chunk);
  }

  /** Was a dead letter sent again? */
  has(queue: Queue, offset: number): boolean {
    const bits = this.#queues.get(queue)?.get(Math.floor(offset / CHUNK_ENTRIES));
    const index = offset % CHUNK_ENTRIES;
    return bits !== undefined && (((bits[index >> 3] as number) >> (index & 7)) & 1) === 1;
  }

  /** The chunks before one are gone; all of them when the queue is. */
  trim(queue: Queue, keptChunk: number): void {
    const chunks = this.#queues.get(queue);
    if (chunks === undefined) return;
    for (const chunk of chunks.keys()) {
      if (chunk >= keptChunk) continue;
      chunks.delete(chunk);
      this.#changed(queue, chunk);
    }
    if (chunks.size === 0) this.#queues.delete(queue);
  }

  #changed(queue: Queue, chunk: number): void {
    let chunks = this.#dirty.get(queue);
    if (chunks === undefined) {
      chunks = new Set();
      this.#dirty.set(queue, chunks);
    }
    chunks.add(chunk);
  }

  /** Is there something that the store lacks? */
  get dirty(): boolean {
    return this.#dirty.size > 0;
  }

  /** The rows that have changed since the last call. */
  collect(puts: Row[], removes: Buffer[]): void {
    for (const [queue, chunks] of this.#dirty) {
      for (const chunk of chunks) {
        const bits = this.#queues.get(queue)?.get(chunk);
        const key = resentKey(queue.topicId, queue.queueId, chunk);
        if (bits === undefined) removes.push(key);
        else puts.push({ key, value: Buffer.from(bits) });
      }
    }
    this.#dirty.clear();
  }

  /** Takes a row as the store or a snapshot has it. */
  restore(queue: Queue, chunk: number, value: Buffer): void {
    assert(value.length === BITMAP_BYTES, 'a bitmap has 32 bytes');
    let chunks = this.#queues.get(queue);
    if (chunks === undefined) {
      chunks = new Map();
      this.#queues.set(queue, chunks);
    }
    chunks.set(chunk, new Uint8Array(value));
  }
}
