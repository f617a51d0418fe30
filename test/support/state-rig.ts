import { createLogger, type Disk, type ManualClock, nodeDisk } from '@ternmq/runtime';
import { expect } from 'vitest';
import { OffsetFinder } from '../../services/broker/src/delivery/offsets.ts';
import { DiskGuard } from '../../services/broker/src/disk-guard.ts';
import type { CommitLog } from '../../services/broker/src/log/commit-log.ts';
import { LOG_DEFAULTS } from '../../services/broker/src/log/log-options.ts';
import { Retention } from '../../services/broker/src/retention.ts';
import type { BrokerState } from '../../services/broker/src/state/broker-state.ts';
import { keyEntries } from '../../services/broker/src/state/key-chunks.ts';
import { idOf, Table, tableEnd, tableStart } from '../../services/broker/src/state/keys.ts';
import {
  decodeLatest,
  type Latest,
  LatestUse,
} from '../../services/broker/src/state/latest-table.ts';
import { type OpenedState, openState } from '../../services/broker/src/state/open-state.ts';
import { CHUNK_ENTRIES, entryKeyHash, type Queue } from '../../services/broker/src/state/queue.ts';
import { isRepeated, mayCount } from '../../services/broker/src/state/repeats.ts';
import { StateLog } from '../../services/broker/src/state/state-log.ts';
import { StateWriter } from '../../services/broker/src/state/state-writer.ts';
import type { StateStore } from '../../services/broker/src/state/store.ts';

const RETENTION_MS = 20_000;

/** How a rig is opened. */
export interface RigOptions {
  readonly folder: string;
  readonly clock: ManualClock;
  readonly openStore: (folder: string) => StateStore;
  readonly segmentBytes?: number;
  readonly disk?: Disk;
}

/** Log, state, store, writer and retention of a broker, without what serves clients. */
export class StateRig {
  readonly opened: OpenedState;
  readonly log: CommitLog;
  readonly state: BrokerState;
  readonly stateLog: StateLog;
  readonly writer: StateWriter;
  readonly retention: Retention;
  readonly guard: DiskGuard;

  private constructor(opened: OpenedState, guard: DiskGuard, clock: ManualClock) {
    const { log, state, store } = opened;
    this.opened = opened;
    this.log = log;
    this.state = state;
    this.guard = guard;
    this.stateLog = new StateLog(log, state, clock);
    const failed = (error: Error): void => {
      throw error;
    };
    this.writer = new StateWriter(opened.storePosition, { log, state, store, clock }, failed);
    log.observe({ advanced: () => this.stateLog.advanced(), failed });
    this.retention = new Retention(
      { retentionMs: RETENTION_MS, retentionBytes: Number.POSITIVE_INFINITY, intervalMs: 60_000 },
      {
        stateLog: this.stateLog,
        store,
        writer: this.writer,
        offsets: new OffsetFinder({ log, state }),
        guard,
        clock,
        logger: quiet,
      },
    );
  }

  static async open(options: RigOptions): Promise<StateRig> {
    const { folder, clock, openStore } = options;
    const disk = options.disk ?? nodeDisk;
    const opened = await openState(
      { ...LOG_DEFAULTS, folder, segmentBytes: options.segmentBytes ?? 64 << 10, slabs: 2 },
      { disk, clock, logger: quiet, openStore },
    );
    const guard = await DiskGuard.create(folder, { disk, clock, log: opened.log, logger: quiet });
    return new StateRig(opened, guard, clock);
  }

  async close(): Promise<void> {
    await this.retention.close();
    await this.writer.close();
    await this.crash();
  }

  /** Closes without writing the state to the store. */
  async crash(): Promise<void> {
    this.writer.abandon();
    this.guard.close();
    await this.log.close();
    await this.opened.store.close();
  }

  /** A message's bytes as they lie in the log. */
  async read(queue: Queue, offset: number): Promise<Buffer | undefined> {
    const { position, length } = this.state.locate(queue, offset);
    if (length === 0) return undefined;
    if (this.log.read.find(position, length) === undefined)
      await this.log.read.load(position, length);
    return this.log.read.find(position, length);
  }

  /**
   * Everything the state holds, comparable: rows of all small tables, and of every queue what its index says from its
   * begin on.
   */
  async dump(): Promise<Record<string, unknown>> {
    const { state } = this;
    const index: Record<string, unknown> = {};
    for (const topic of state.topics.all()) {
      for (const queue of topic.queues) {
        if (queue.sparse) continue;
        const entries: unknown[] = [];
        for (let offset = state.beginOf(queue); offset < queue.next; offset++) {
          const { position, length, tagHash } = state.locate(queue, offset);
          const chunk = state.chunk(queue, Math.floor(offset / CHUNK_ENTRIES));
          const keyHash = entryKeyHash(chunk, offset % CHUNK_ENTRIES);
          entries.push([offset, position, length, tagHash, keyHash]);
        }
        index[`${topic.id}/${queue.queueId}`] = [entries, this.#keys(queue)];
      }
    }
    const timers = this.#timers();
    await this.writer.write();
    const rows: Record<string, string> = {};
    for (const table of [
      Table.TOPICS,
      Table.GROUPS,
      Table.QUEUES,
      Table.PROGRESS,
      Table.FLOORS,
      Table.RETRIES,
      Table.PRODUCERS,
      Table.RELOCATED,
      Table.HELD_DONE,
      Table.TRANSACTIONS,
      Table.RESENT,
    ]) {
      for (const { key, value } of this.opened.store.range(tableStart(table), tableEnd(table))) {
        rows[key.toString('hex')] = value.toString('hex');
      }
    }
    const latest = this.#latest();
    const { topics, groups, lastTimeMs, logStart } = state;
    const next = [topics.nextId, groups.nextId, groups.nextProgressId];
    return { rows, index, timers, latest, next, lastTimeMs, logStart };
  }

  /** The rows of LATEST that count. */
  #latest(): Record<string, Omit<Latest, 'position'>> {
    const { state } = this;
    const rows: Record<string, Omit<Latest, 'position'>> = {};
    const { store } = this.opened;
    for (const { key, value } of store.range(tableStart(Table.LATEST), tableEnd(Table.LATEST))) {
      const topic = state.topics.findById(idOf(key));
      const latest = decodeLatest(value);
      if (topic === undefined || !mayCount(state, topic.id, latest)) continue;
      const repeats = latest.use === LatestUse.REPEATS;
      if (repeats && !isRepeated(state, topic, latest, state.lastTimeMs)) continue;
      // The message may have been noted where it was appended first, or again.
      const { position: _, ...row } = latest;
      rows[key.toString('hex')] = row;
    }
    return rows;
  }

  /** The keys of a queue's messages: offset and hash of each, as far as the index has them. */
  #keys(queue: Queue): [number, number][] {
    const { state } = this;
    const keys: [number, number][] = [];
    const begin = state.beginOf(queue);
    for (let c = Math.floor(begin / CHUNK_ENTRIES); c * CHUNK_ENTRIES < queue.next; c++) {
      for (const { index, hash } of keyEntries(state.keyChunk(queue, c) ?? Buffer.alloc(0))) {
        const offset = c * CHUNK_ENTRIES + index;
        if (offset >= begin && !queue.relocated?.has(offset)) keys.push([offset, hash]);
      }
    }
    return keys;
  }

  /** The delayed messages that wait, in the order in which they fall due, and where they lie. */
  #timers(): unknown[] {
    const { held } = this.state;
    const waiting: [number, number][] = [];
    for (let dueMs = held.firstDueMs(); dueMs < Infinity; dueMs = held.firstDueMs()) {
      waiting.push([held.take(), dueMs]);
    }
    for (const [offset, dueMs] of waiting) held.putBack(offset, dueMs);
    let half = 0;
    for (const transaction of this.state.transactions.all()) {
      for (let i = 0; i < transaction.messages; i++) {
        if (held.isPending(transaction.first + i)) half++;
      }
    }
    expect(waiting).toHaveLength(held.pending - half);
    return waiting.map(([offset, dueMs]) => [
      dueMs,
      offset,
      this.state.locate(held.queue as Queue, offset),
    ]);
  }
}

const quiet = createLogger({ level: 'silent' });
