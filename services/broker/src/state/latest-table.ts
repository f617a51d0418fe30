// The newest message of each key, for topics that ask for it: to know repeats, and what compaction retains.
//
//   row of LATEST: use 1 | queue id 2 | offset 6 | store time 6, ms since the Unix epoch | position 6; big-endian
//                  rows that were written before there was a position end in front of it
//
// The key of a row is a digest of 128 bits, so that keys of any length are told apart. Rows stay in the store; only what it
// lacks is in memory. The newer of two messages is the one stored later, then, in one millisecond, the one that lies further on
// in the log: that does not depend on what else was known when the log is read. (What is appended again because its segment
// goes is the newest of its key at that moment, so a copy lies in front of everything that is newer.)
//
// A row counts only while its message is kept, and for repeats only within their window. So rows that do not count any
// more may be removed whenever there is time, and everything that counts can be found in the log again.

import { hash } from 'node:crypto';
import { idKey, latestKey, Table, tableEnd, tableStart } from './keys.ts';
import { nextKey, orderingKeyOf, type Slice } from './message-tag.ts';
import type { Queue } from './queue.ts';
import type { Batch, StateStore } from './store.ts';

/** What a row is for: the key is the first business key, or the ordering key. */
export const LatestUse = { REPEATS: 1, COMPACTION: 2 } as const;
export type LatestUse = (typeof LatestUse)[keyof typeof LatestUse];

/** Rows that one batch looks at to see whether they still count. */
const SWEPT_AT_ONCE = 1000;
const DIGEST_BYTES = 16;
const ROW_BYTES = 21;
const POSITION_AT = 15;
const MS_HIGH = 2 ** 32;

/** The newest message of a key. */
export interface Latest {
  readonly use: LatestUse;
  readonly queueId: number;
  readonly offset: number;
  readonly timeMs: number;
  /** Where its record lay in the log when it was noted. */
  readonly position: number;
}

const slice: Slice = { start: 0, end: 0 };

/** The digest of the key by which a message's repeats are known; undefined when it has none. */
export function repeatDigest(bytes: Buffer, at: number, end: number): Buffer | undefined {
  if (nextKey(bytes, at, end, slice) < 0) return undefined;
  return digest(LatestUse.REPEATS, bytes, slice);
}

/** The digest of the key that compaction retains the newest message of; undefined when it has none. */
export function compactionDigest(bytes: Buffer, at: number, end: number): Buffer | undefined {
  if (!orderingKeyOf(bytes, at, end, slice)) return undefined;
  return digest(LatestUse.COMPACTION, bytes, slice);
}

function digest(use: LatestUse, bytes: Buffer, { start, end }: Slice): Buffer {
  const input = Buffer.allocUnsafe(1 + end - start);
  input[0] = use;
  bytes.copy(input, 1, start, end);
  return hash('sha256', input, 'buffer').subarray(0, DIGEST_BYTES);
}

/** The newest messages by key. */
export class LatestTable {
  readonly #store: StateStore;
  /** By key as text: what has changed since the last batch, and what a batch brings to the store now. */
  #dirty = new Map<string, Latest>();
  #committing = new Map<string, Latest>();
  /** Where the next sweep goes on. */
  #swept: Buffer = tableStart(Table.LATEST);

  constructor(store: StateStore) {
    this.#store = store;
  }

  /** The newest message of a key, kept or not. */
  find(topicId: number, ofKey: Buffer): Latest | undefined {
    const key = latestKey(topicId, ofKey);
    const name = key.toString('latin1');
    const known = this.#dirty.get(name) ?? this.#committing.get(name);
    if (known !== undefined) return known;
    const row = this.#store.get(key);
    return row === undefined ? undefined : decodeLatest(row);
  }

  /** A message is in a queue, its record at a position of the log; its bytes are [at, end). */
  note(
    queue: Queue,
    offset: number,
    timeMs: number,
    position: number,
    bytes: Buffer,
    at: number,
    end: number,
  ): void {
    const { topicId, queueId } = queue;
    if (queue.deduplicated) {
      const ofKey = repeatDigest(bytes, at, end);
      this.#note(topicId, ofKey, { use: LatestUse.REPEATS, queueId, offset, timeMs, position });
    }
    if (queue.compacted) {
      const ofKey = compactionDigest(bytes, at, end);
      this.#note(topicId, ofKey, { use: LatestUse.COMPACTION, queueId, offset, timeMs, position });
    }
  }

  #note(topicId: number, ofKey: Buffer | undefined, latest: Latest): void {
    if (ofKey === undefined) return;
    const known = this.find(topicId, ofKey);
    if (known !== undefined && !isNewer(latest, known)) return;
    this.#dirty.set(latestKey(topicId, ofKey).toString('latin1'), latest);
  }

  /** Is there something that the store lacks? */
  get dirty(): boolean {
    return this.#dirty.size > 0;
  }

  /** The rows that have changed since the last call; `committed` must follow when the store has them. */
  collect(puts: Batch['puts']): void {
    this.#committing = this.#dirty;
    this.#dirty = new Map();
    for (const [name, latest] of this.#committing) {
      puts.push({ key: Buffer.from(name, 'latin1'), value: encodeLatest(latest) });
    }
  }

  /** The store has what was collected. */
  committed(): void {
    this.#committing = new Map();
  }

  /**
   * Rows of a topic as the store has them, at most so many.
   *
   * @param from what the call before has returned as `next`; undefined at first
   */
  rows(
    topicId: number,
    from: Buffer | undefined,
    max: number,
  ): { rows: Latest[]; next: Buffer | undefined } {
    const rows: Latest[] = [];
    const start = from ?? idKey(Table.LATEST, topicId);
    for (const { key, value } of this.#store.range(start, idKey(Table.LATEST, topicId + 1))) {
      if (rows.length === max) return { rows, next: key };
      rows.push(decodeLatest(value));
    }
    return { rows, next: undefined };
  }

  /** Looks at some rows of the store, and has those removed that do not count any more. */
  sweep(removes: Buffer[], counts: (topicId: number, latest: Latest) => boolean): void {
    let looked = 0;
    for (const { key, value } of this.#store.range(this.#swept, tableEnd(Table.LATEST))) {
      if (looked++ === SWEPT_AT_ONCE) {
        this.#swept = key;
        return;
      }
      if (!counts(key.readUInt32BE(1), decodeLatest(value))) removes.push(key);
    }
    this.#swept = tableStart(Table.LATEST);
  }
}

function isNewer(one: Latest, other: Latest): boolean {
  if (one.timeMs !== other.timeMs) return one.timeMs > other.timeMs;
  return one.position >= other.position;
}

function encodeLatest({ use, queueId, offset, timeMs, position }: Latest): Buffer {
  const row = Buffer.allocUnsafe(ROW_BYTES);
  row[0] = use;
  row.writeUInt16BE(queueId, 1);
  row.writeUIntBE(offset, 3, 6);
  row.writeUInt16BE(Math.floor(timeMs / MS_HIGH), 9);
  row.writeUInt32BE(timeMs % MS_HIGH, 11);
  row.writeUIntBE(position, POSITION_AT, 6);
  return row;
}

/** Reads a row. */
export function decodeLatest(row: Buffer): Latest {
  return {
    use: row[0] as LatestUse,
    queueId: row.readUInt16BE(1),
    offset: row.readUIntBE(3, 6),
    timeMs: row.readUInt16BE(9) * MS_HIGH + row.readUInt32BE(11),
    position: row.length > POSITION_AT ? row.readUIntBE(POSITION_AT, 6) : 0,
  };
}
