// Chunks of the queue index as the store has them; those used last stay in memory.

import { assert } from '@ternmq/runtime';
import { chunkKey } from './keys.ts';
import { CHUNK_ENTRIES, ENTRY_WORDS, type Queue } from './queue.ts';
import type { StateStore } from './store.ts';

const CHUNKS_MAX = 1024;

/** Reads chunks. */
export class ChunkCache {
  readonly #store: StateStore;
  /** The one used longest ago first. */
  readonly #chunks = new Map<string, Uint32Array>();

  constructor(store: StateStore) {
    this.#store = store;
  }

  /** A chunk that the store must have. Throws when the store lost it, which only a damaged disk does. */
  get(queue: Queue, chunk: number): Uint32Array {
    const entries = this.find(queue, chunk);
    assert(
      entries !== undefined,
      `chunk ${chunk} of queue ${queue.topicId}/${queue.queueId} is stored`,
    );
    return entries;
  }

  /** A chunk; undefined when the store does not have it. */
  find(queue: Queue, chunk: number): Uint32Array | undefined {
    const name = `${queue.topicId} ${queue.queueId} ${chunk}`;
    let entries = this.#chunks.get(name);
    if (entries === undefined) {
      const row = this.#store.get(chunkKey(queue.topicId, queue.queueId, chunk));
      if (row === undefined) return undefined;
      entries = new Uint32Array(row.length >> 2);
      new Uint8Array(entries.buffer).set(row);
      // The open chunk grows; only full ones may be kept.
      if (entries.length < CHUNK_ENTRIES * ENTRY_WORDS) return entries;
      if (this.#chunks.size >= CHUNKS_MAX) {
        this.#chunks.delete(this.#chunks.keys().next().value as string);
      }
    } else {
      this.#chunks.delete(name);
    }
    this.#chunks.set(name, entries);
    return entries;
  }
}
