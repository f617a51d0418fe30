// Everything the broker knows that is not a message: topics and their queue indexes, groups and their progress,
// producers' sequences. It changes only by applying the records of the log, in order; replaying the log over
// an older copy gives the same state.
//
// The tables live in memory, but for the chunks of the queue index. What has changed is written to the store
// in batches, each together with the position it holds up to (state-writer.ts).

import { fromBinary } from '@bufbuild/protobuf';
import type { ProgressStarted, StateRecord } from '@ternmq/proto/gen/ternmq/log/v1/log_pb';
import { OriginSchema } from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import { assert } from '@ternmq/runtime';
import type { QueueProgress } from '../progress/queue-progress.ts';
import { applyProgress, letGoOfOrder } from './apply-progress.ts';
import { applyTransaction } from './apply-transaction.ts';
import { ChunkCache } from './chunk-cache.ts';
import { EpochTable } from './epochs.ts';
import {
  encodeGroup,
  encodeProgress,
  GroupTable,
  queueProgress,
  type TopicProgress,
} from './groups.ts';
import { HELD_TOPIC, HeldTable } from './held-table.ts';
import { KeyChunks } from './key-chunks.ts';
import {
  chunkKey,
  idKey,
  META_KEY,
  producerKey,
  queueKey,
  relocatedKey,
  retryKey,
  Table,
} from './keys.ts';
import { LatestTable } from './latest-table.ts';
import { nextKey, type Slice } from './message-tag.ts';
import { encodeMeta, type StateMeta } from './meta-row.ts';
import { collectProgress } from './progress-rows.ts';
import {
  CHUNK_ENTRIES,
  ENTRY_WORDS,
  entryKeyHash,
  entryLength,
  entryPosition,
  entryTagHash,
  type Queue,
} from './queue.ts';
import {
  collectQueue,
  noteStored,
  producerOf,
  type StoredChunk,
  spillQueue,
} from './queue-rows.ts';
import { applyRepeats, mayCount } from './repeats.ts';
import { ResentTable } from './resent-table.ts';
import { SegmentTimes } from './segment-times.ts';
import type { Batch, StateStore } from './store.ts';
import { encodeTopic, type Topic, TopicTable } from './topics.ts';
import { TransactionTable } from './transaction-table.ts';

/** Rounds of writing without a change after which a queue's open chunk leaves memory. */
const IDLE_ROUNDS = 8;

const scratch: Slice = { start: 0, end: 0 };
const GONE = { position: 0, length: 0, tagHash: 0 } as const;

/** A batch for the store, with what to do when it is committed. */
export interface CollectedBatch extends Batch {
  /** Position that the batch holds up to. */
  readonly position: number;
  /** The batch is committed. */
  committed(): void;
}

/** What a broker knows. */
export class BrokerState {
  readonly topics = new TopicTable();
  readonly groups = new GroupTable();
  readonly held = new HeldTable();
  readonly transactions = new TransactionTable();
  readonly resent = new ResentTable();
  readonly epochs = new EpochTable();
  readonly latest: LatestTable;
  readonly #store: StateStore;
  /** Time of the newest record; new ones are never older. */
  lastTimeMs = 0;
  /** Oldest byte of the log that is kept, as the log itself has said. */
  logStart = 0;
  readonly segmentTimes = new SegmentTimes();

  readonly #dirtyQueues = new Set<Queue>();
  readonly #dirtyProgress = new Map<TopicProgress, Set<number>>();
  /** Rows that change rarely, as they will be written: by key as text; undefined removes. */
  readonly #rows = new Map<string, Buffer | undefined>();
  /** Deleted topics whose index is still in the store. */
  readonly doomed = new Set<number>();
  /** Queues that have relocated messages. */
  readonly relocating = new Set<Queue>();
  /** Queues that may have an idle open chunk, with the round they last changed in. */
  readonly #openQueues = new Map<Queue, number>();
  #round = 0;
  readonly #chunks: ChunkCache;

  constructor(store: StateStore) {
    this.#store = store;
    this.#chunks = new ChunkCache(store);
    this.latest = new LatestTable(store);
  }

  /** A queue's row must be written. */
  changed(queue: Queue): void {
    this.#dirtyQueues.add(queue);
  }

  /** The entries of a chunk of the index: at least those below `queue.next`. */
  chunk(queue: Queue, chunk: number): Uint32Array {
    return queue.chunkInMemory(chunk) ?? this.#chunks.get(queue, chunk);
  }

  /** The entries of a chunk; undefined when a sparse queue has let it go. */
  #findChunk(queue: Queue, chunk: number): Uint32Array | undefined {
    if (!queue.sparse) return this.chunk(queue, chunk);
    return queue.chunkInMemory(chunk) ?? this.#chunks.find(queue, chunk);
  }

  /**
   * Where the message at an offset lies: its record's position and length; length 0 when it is lost, or when
   * the queue begins behind it and it was not relocated.
   */
  locate(queue: Queue, offset: number): { position: number; length: number; tagHash: number } {
    assert(offset < queue.next, 'the offset is in the queue');
    const relocated = queue.relocated?.get(offset);
    if (relocated !== undefined) {
      return { position: relocated.position, length: relocated.length, tagHash: 0 };
    }
    if (offset < queue.begin) return GONE;
    const entries = this.#findChunk(queue, Math.floor(offset / CHUNK_ENTRIES));
    if (entries === undefined) return GONE;
    const index = offset % CHUNK_ENTRIES;
    return {
      position: entryPosition(entries, index),
      length: entryLength(entries, index),
      tagHash: entryTagHash(entries, index),
    };
  }

  /** Hash of the ordering key of a message that is in the queue; 0 when it has none, or is lost. */
  keyHashOf(queue: Queue, offset: number): number {
    const relocated = queue.relocated?.get(offset);
    if (relocated !== undefined) return relocated.label;
    if (offset < queue.begin) return 0;
    return entryKeyHash(
      this.chunk(queue, Math.floor(offset / CHUNK_ENTRIES)),
      offset % CHUNK_ENTRIES,
    );
  }

  /** Moves a queue's begin up to the oldest message whose record the log still keeps; returns it. */
  beginOf(queue: Queue): number {
    if (queue.sparse) return queue.begin;
    if (queue.begunAt < this.logStart) {
      let low = queue.begin;
      let high = queue.next;
      while (low < high) {
        const middle = Math.floor((low + high) / 2);
        // By the index alone: a relocated message says nothing of its neighbours.
        const entries = this.chunk(queue, Math.floor(middle / CHUNK_ENTRIES));
        if (entryPosition(entries, middle % CHUNK_ENTRIES) < this.logStart) low = middle + 1;
        else high = middle;
      }
      queue.begunAt = this.logStart;
      if (low > queue.begin) this.#setBegin(queue, low);
    }
    return queue.begin;
  }

  #setBegin(queue: Queue, begin: number): void {
    const firstChunk = Math.floor(queue.begin / CHUNK_ENTRIES);
    const keptChunk = Math.floor(begin / CHUNK_ENTRIES);
    for (let chunk = firstChunk; chunk < keptChunk; chunk++) {
      this.#setRow(chunkKey(queue.topicId, queue.queueId, chunk), undefined);
      this.#setRow(chunkKey(queue.topicId, queue.queueId, chunk, Table.KEYS), undefined);
    }
    queue.keys?.dropBefore(keptChunk);
    queue.begin = begin;
    this.resent.trim(queue, keptChunk);
    this.#dirtyQueues.add(queue);
  }

  /** The row of KEYS of a chunk; undefined when none of its messages has a key. */
  keyChunk(queue: Queue, chunk: number): Buffer | undefined {
    const { topicId, queueId } = queue;
    return (
      queue.keys?.find(chunk) ?? this.#store.get(chunkKey(topicId, queueId, chunk, Table.KEYS))
    );
  }

  /** Adds a message to its queue; `queue.next` is its offset. */
  addMessage(
    queue: Queue,
    position: number,
    length: number,
    tagHash: number,
    keyHash: number,
    timeMs: number,
    producerId: number,
    sequence: number,
  ): void {
    if (queue.needsOpenChunk) {
      const stored = this.chunk(queue, queue.openChunk);
      const entries = new Uint32Array(Math.max(stored.length, ENTRY_WORDS));
      entries.set(stored);
      queue.loadOpenChunk(entries);
    }
    const offset = queue.next;
    queue.append(position, length, tagHash, keyHash, timeMs);
    if (!queue.dirty) {
      queue.dirty = true;
      this.#dirtyQueues.add(queue);
    }
    if (producerId !== 0) {
      producerOf(queue, producerId).stored(sequence, offset, timeMs);
    }
  }

  /** Notes the keys of the message that was added last, whose bytes are [at, end). */
  addKeys(queue: Queue, bytes: Uint8Array, at: number, end: number): void {
    if (nextKey(bytes, at, end, scratch) < 0) return;
    const offset = queue.next - 1;
    queue.keys ??= new KeyChunks();
    queue.keys.add(
      Math.floor(offset / CHUNK_ENTRIES),
      offset % CHUNK_ENTRIES,
      bytes,
      at,
      end,
      (chunk) => this.keyChunk(queue, chunk),
    );
  }

  /** Is the place of a delayed message known? Not when the state was built from a log that has only its newer copy. */
  isLocated(queue: Queue, offset: number): boolean {
    if (queue.relocated?.has(offset)) return true;
    const chunk = Math.floor(offset / CHUNK_ENTRIES);
    const entries = this.#findChunk(queue, chunk);
    if (entries === undefined) return false;
    const index = offset % CHUNK_ENTRIES;
    return entryLength(entries, index) > 0 && entryPosition(entries, index) >= this.logStart;
  }

  /** A delayed message waits no more: it was released, recalled, or dropped. */
  heldDone(offset: number): void {
    const { queue } = this.held;
    const finished = this.held.done(offset);
    if (queue === undefined || typeof finished === 'boolean') return;
    queue.dropChunk(finished);
    this.#setRow(chunkKey(queue.topicId, queue.queueId, finished), undefined);
  }

  /**
   * A message of a queue was appended to the log once more, because its segment is about to go.
   *
   * @param label as Relocated.label
   */
  relocated(queue: Queue, offset: number, position: number, length: number, label: number): void {
    queue.relocate(offset, { position, length, label });
    const row = Buffer.allocUnsafe(24);
    row.writeDoubleLE(position, 0);
    row.writeDoubleLE(length, 8);
    row.writeDoubleLE(label, 16);
    this.relocating.add(queue);
    this.#setRow(relocatedKey(queue.topicId, queue.queueId, offset), row);
  }

  /** Forgets relocated messages whose segment goes: who still needed them had them appended again. */
  #dropRelocated(): void {
    for (const queue of this.relocating) {
      for (const [offset, { position }] of queue.relocated ?? []) {
        if (position >= this.logStart) continue;
        queue.relocated?.delete(offset);
        this.#setRow(relocatedKey(queue.topicId, queue.queueId, offset), undefined);
      }
      queue.retained?.keep((offset) => queue.relocated?.has(offset) === true);
      if (queue.relocated?.size !== 0) continue;
      queue.relocated = undefined;
      queue.retained = undefined;
      this.relocating.delete(queue);
    }
  }

  /** A moved message is removed where it was, or marked as sent again, by the same record that stores it where it is. */
  applyOrigin(field: Buffer): void {
    const ORIGIN_TAG_AND_LENGTH = 5;
    const origin = fromBinary(OriginSchema, field.subarray(ORIGIN_TAG_AND_LENGTH));
    const { topicId, queueId, progressId } = origin;
    const offset = Number(origin.offset);
    const letters = this.topics.findById(topicId)?.queues[queueId];
    if (progressId === 0 && letters !== undefined) this.resent.add(letters, offset);
    const progress = this.groups.findProgress(progressId);
    if (progress !== undefined) this.changeQueue(progress, queueId).remove(offset);
  }

  /** A progress's part for one queue, which the caller is about to change. */
  changeQueue(progress: TopicProgress, queueId: number): QueueProgress {
    let queues = this.#dirtyProgress.get(progress);
    if (queues === undefined) {
      queues = new Set();
      this.#dirtyProgress.set(progress, queues);
    }
    queues.add(queueId);
    return queueProgress(progress, queueId);
  }

  /** Applies a change of state that stands at a position of the log. */
  applyChange(record: StateRecord, position: number): void {
    this.lastTimeMs = Math.max(this.lastTimeMs, Number(record.timeMs));
    const { change } = record;
    switch (change.case) {
      case 'topicPut': {
        const topic = this.topics.put(change.value);
        this.adoptHeldTopic(topic);
        this.#setRow(idKey(Table.TOPICS, topic.id), encodeTopic(topic));
        return;
      }
      case 'topicDeleted':
        this.#deleteTopic(change.value.topicId);
        return;
      case 'groupPut': {
        const before = this.groups.findById(change.value.groupId)?.settings.ordered ?? false;
        const group = this.groups.put(change.value);
        if (before && !group.settings.ordered) letGoOfOrder(this, group);
        this.#setRow(idKey(Table.GROUPS, group.id), encodeGroup(group));
        return;
      }
      case 'groupDeleted': {
        const group = this.groups.remove(change.value.groupId);
        this.#setRow(idKey(Table.GROUPS, change.value.groupId), undefined);
        for (const progress of group?.progress.values() ?? []) this.#forgetProgress(progress);
        return;
      }
      case 'progressStarted':
        this.#startProgress(change.value, Number(record.timeMs));
        return;
      case 'progressEnded':
        for (const id of change.value.progressIds) {
          const progress = this.groups.end(id);
          if (progress !== undefined) this.#forgetProgress(progress);
        }
        return;
      case 'membersSeen':
        for (const id of change.value.progressIds) {
          const progress = this.groups.findProgress(id);
          if (progress !== undefined) this.#seen(progress, Number(record.timeMs));
        }
        return;
      case 'filterSet': {
        const progress = this.groups.findProgress(change.value.progressId);
        if (progress === undefined) return;
        progress.wanted = { tags: change.value.tags, sql: change.value.sql };
        this.#seen(progress, progress.seenMs);
        return;
      }
      case 'leased':
      case 'settled':
      case 'progressMerged':
      case 'progressSet':
        applyProgress(this, change, position);
        return;
      case 'queuesTrimmed': {
        const topic = this.topics.findById(change.value.topicId);
        for (const { queueId, offset } of change.value.begins) {
          const queue = topic?.queues[queueId];
          if (queue !== undefined && Number(offset) > queue.begin) {
            this.#setBegin(queue, Math.min(Number(offset), queue.next));
          }
        }
        return;
      }
      case 'logTrimmed':
        this.logStart = Math.max(this.logStart, Number(change.value.startPosition));
        this.#dropRelocated();
        this.segmentTimes.trim(this.logStart);
        this.epochs.trim(this.logStart);
        return;
      case 'epochBegun':
        this.epochs.add(change.value);
        return;
      case 'heldDropped':
        for (const offset of change.value.offsets) this.heldDone(Number(offset));
        return;
      case 'transactionBegun':
      case 'transactionChecked':
      case 'transactionEnded':
      case 'transactionsForgotten':
        applyTransaction(this, change, Number(record.timeMs));
        return;
      case 'repeatsDropped':
        applyRepeats(this, change.value, Number(record.timeMs));
        return;
      case 'producersExpired':
        this.#expireProducers(new Set(change.value.producerIds.map(Number)));
        return;
      case 'snapshotBegun':
      case 'snapshotRows':
      case 'snapshotEnded':
      case undefined:
        return;
      default:
        change satisfies never;
    }
  }

  /** A topic was made or restored: delayed messages wait in the one of that name. */
  adoptHeldTopic(topic: Topic): void {
    if (topic.name !== HELD_TOPIC) return;
    const queue = topic.queues[0] as Queue;
    queue.sparse = true;
    this.held.queue = queue;
  }

  /** Finds the order of delayed messages, once, after every row was restored. */
  restoreHeld(): void {
    const { queue } = this.held;
    if (queue === undefined) return;
    this.held.restoreOrder((chunk) => this.#findChunk(queue, chunk), this.logStart);
  }

  /** A progress is used: its member is connected. */
  #seen(progress: TopicProgress, timeMs: number): void {
    if (progress.consumerId !== '') progress.seenMs = timeMs;
    this.#setRow(idKey(Table.PROGRESS, progress.id), encodeProgress(progress));
  }

  #startProgress(started: ProgressStarted, timeMs: number): void {
    const { progressId, groupId, topicId, consumerId, offsets } = started;
    const progress = this.groups.start(progressId, groupId, topicId, consumerId, 0);
    if (progress === undefined) return;
    this.#seen(progress, timeMs);
    for (const { queueId, offset } of offsets) {
      if (offset > 0n) this.changeQueue(progress, queueId).set(Number(offset));
    }
  }

  #deleteTopic(topicId: number): void {
    const topic = this.topics.remove(topicId);
    if (topic === undefined) return;
    this.#setRow(idKey(Table.TOPICS, topicId), undefined);
    this.#setRow(idKey(Table.DOOMED, topicId), Buffer.alloc(0));
    this.doomed.add(topicId);
    for (const queue of topic.queues) {
      this.#dirtyQueues.delete(queue);
      this.#openQueues.delete(queue);
      this.relocating.delete(queue);
      this.resent.trim(queue, Number.POSITIVE_INFINITY);
      for (const offset of queue.relocated?.keys() ?? []) {
        this.#setRow(relocatedKey(topicId, queue.queueId, offset), undefined);
      }
      this.#setRow(queueKey(Table.QUEUES, topicId, queue.queueId), undefined);
      for (const producerId of queue.producers?.keys() ?? []) {
        this.#setRow(producerKey(topicId, queue.queueId, producerId), undefined);
      }
    }
    for (const progress of this.groups.removeTopic(topicId)) this.#forgetProgress(progress);
  }

  #forgetProgress(progress: TopicProgress): void {
    this.#dirtyProgress.delete(progress);
    this.#setRow(idKey(Table.PROGRESS, progress.id), undefined);
    for (const [queueId, queue] of progress.queues.entries()) {
      if (queue === undefined) continue;
      this.#setRow(queueKey(Table.FLOORS, progress.id, queueId), undefined);
      for (const offset of queue.retryOffsets()) {
        this.#setRow(retryKey(progress.id, queueId, offset), undefined);
      }
    }
  }

  #expireProducers(expired: ReadonlySet<number>): void {
    for (const topic of this.topics.all()) {
      for (const queue of topic.queues) {
        for (const producerId of queue.producers?.keys() ?? []) {
          if (!expired.has(producerId)) continue;
          queue.producers?.delete(producerId);
          queue.dirtyProducers?.delete(producerId);
          this.#setRow(producerKey(queue.topicId, queue.queueId, producerId), undefined);
        }
      }
    }
  }

  #setRow(key: Buffer, value: Buffer | undefined): void {
    this.#rows.set(key.toString('latin1'), value);
  }

  /** Has anything changed since the last batch? */
  get dirty(): boolean {
    return (
      this.#dirtyQueues.size +
        this.#dirtyProgress.size +
        this.#rows.size +
        this.doomed.size +
        this.#openQueues.size >
        0 ||
      this.segmentTimes.dirty ||
      this.epochs.dirty ||
      this.held.dirty ||
      this.transactions.dirty ||
      this.resent.dirty ||
      this.latest.dirty
    );
  }

  /** Everything that has changed, as rows that hold up to `meta.position`. */
  collect(meta: StateMeta): CollectedBatch {
    const puts: CollectedBatch['puts'] = [];
    const removes: Buffer[] = [];
    const stored: StoredChunk[] = [];
    this.#round++;
    for (const [key, value] of this.#rows) {
      const bytes = Buffer.from(key, 'latin1');
      if (value === undefined) removes.push(bytes);
      else puts.push({ key: bytes, value });
    }
    this.#rows.clear();
    for (const queue of this.#dirtyQueues) {
      collectQueue(queue, puts, stored);
      this.#openQueues.set(queue, this.#round);
    }
    this.#dirtyQueues.clear();
    for (const [progress, queueIds] of this.#dirtyProgress) {
      for (const queueId of queueIds) collectProgress(progress, queueId, puts, removes);
    }
    this.#dirtyProgress.clear();
    this.segmentTimes.collect(puts, removes);
    this.epochs.collect(puts, removes);
    this.held.collect(puts, removes);
    this.transactions.collect(puts, removes);
    this.resent.collect(puts, removes);
    this.latest.sweep(removes, (topicId, latest) => mayCount(this, topicId, latest));
    this.latest.collect(puts);
    this.#removeDoomed(removes);
    puts.push({ key: META_KEY, value: encodeMeta(this, meta) });
    return {
      puts,
      removes,
      position: meta.position,
      committed: () => {
        noteStored(stored);
        this.latest.committed();
        this.#forgetIdle();
      },
    };
  }

  /** Removes a part of the index of deleted topics; the rest follows with the next batches. */
  #removeDoomed(removes: Buffer[]): void {
    const KEYS_MAX = 10_000;
    for (const topicId of this.doomed) {
      for (const table of [Table.INDEX, Table.KEYS, Table.LATEST]) {
        const keys = this.#store.keys(idKey(table, topicId), idKey(table, topicId + 1), KEYS_MAX);
        removes.push(...keys);
        if (keys.length === KEYS_MAX) return;
      }
      this.doomed.delete(topicId);
      removes.push(idKey(Table.DOOMED, topicId));
    }
  }

  #forgetIdle(): void {
    for (const [queue, round] of this.#openQueues) {
      if (queue.dirty || this.#round - round < IDLE_ROUNDS) continue;
      queue.forgetOpenChunk();
      this.#openQueues.delete(queue);
    }
  }

  /** All full chunks that the store lacks, without anything else; only while the state is rebuilt. */
  spillChunks(): CollectedBatch {
    const puts: CollectedBatch['puts'] = [];
    const stored: StoredChunk[] = [];
    for (const queue of this.#dirtyQueues) spillQueue(queue, puts, stored);
    this.latest.collect(puts);
    return {
      puts,
      removes: [],
      position: 0,
      committed: () => {
        noteStored(stored);
        this.latest.committed();
      },
    };
  }
}
