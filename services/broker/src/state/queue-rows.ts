// The rows of a queue: its own, the chunks of its index and its keys, and what idempotent producers sent to it.

import { chunkKey, producerKey, queueKey, Table } from './keys.ts';
import { ProducerSequence } from './producer-sequence.ts';
import { CHUNK_ENTRIES, ENTRY_WORDS, type Queue } from './queue.ts';
import type { Batch } from './store.ts';

/** A full chunk of the index, or of the keys, that a batch carries. */
export type StoredChunk = { readonly queue: Queue; readonly chunk: number } & (
  | { readonly entries: Uint32Array }
  | { readonly keys: Buffer }
);

/**
 * Adds what has changed of a queue to a batch.
 *
 * @param stored gets the full chunks, which the queue may let go when the batch is committed
 */
export function collectQueue(queue: Queue, puts: Batch['puts'], stored: StoredChunk[]): void {
  const { topicId, queueId } = queue;
  queue.dirty = false;
  puts.push({ key: queueKey(Table.QUEUES, topicId, queueId), value: queue.encode() });
  queue.forEachUnstoredChunk((chunk, entries, count) => {
    const bytes = Buffer.from(entries.buffer, entries.byteOffset, count * ENTRY_WORDS * 4);
    // The open chunk goes on growing while the batch waits for the log: its bytes are copied.
    const full = count === CHUNK_ENTRIES;
    puts.push({
      key: chunkKey(topicId, queueId, chunk),
      value: full ? bytes : Buffer.from(bytes),
    });
    if (full) stored.push({ queue, chunk, entries });
  });
  collectKeys(queue, puts, stored, true);
  for (const producerId of queue.dirtyProducers ?? []) {
    const producer = queue.producers?.get(producerId);
    if (producer === undefined) continue;
    puts.push({ key: producerKey(topicId, queueId, producerId), value: producer.encode() });
  }
  queue.dirtyProducers = undefined;
}

/** What a producer has sent to a queue, to be changed. */
export function producerOf(queue: Queue, producerId: number): ProducerSequence {
  queue.producers ??= new Map();
  let producer = queue.producers.get(producerId);
  if (producer === undefined) {
    producer = new ProducerSequence();
    queue.producers.set(producerId, producer);
  }
  queue.dirtyProducers ??= new Set();
  queue.dirtyProducers.add(producerId);
  return producer;
}

/** Adds the full chunks of a queue's index and keys to a batch, and nothing else. */
export function spillQueue(queue: Queue, puts: Batch['puts'], stored: StoredChunk[]): void {
  queue.forEachUnstoredChunk((chunk, entries, count) => {
    if (count < CHUNK_ENTRIES) return;
    const value = Buffer.from(entries.buffer, entries.byteOffset, entries.byteLength);
    puts.push({ key: chunkKey(queue.topicId, queue.queueId, chunk), value });
    stored.push({ queue, chunk, entries });
  });
  collectKeys(queue, puts, stored, false);
}

function collectKeys(
  queue: Queue,
  puts: Batch['puts'],
  stored: StoredChunk[],
  withOpen: boolean,
): void {
  queue.keys?.forEachUnstored((chunk, row, open) => {
    if (open && !withOpen) return;
    puts.push({ key: chunkKey(queue.topicId, queue.queueId, chunk, Table.KEYS), value: row });
    if (!open) stored.push({ queue, chunk, keys: row });
  });
}

/** A batch with these chunks is committed: their queues let them go. */
export function noteStored(stored: readonly StoredChunk[]): void {
  for (const one of stored) {
    if ('keys' in one) one.queue.keys?.stored(one.chunk, one.keys);
    else one.queue.chunkStored(one.chunk, one.entries);
  }
}
