// The messages of one queue that failed for one group at least once, by offset.
//
// States of an entry, and what moves it:
//   waiting   may be delivered again from `dueMs` on    -> leased (lease), gone (delete)
//   leased    a consumer has it until `lease.deadlineMs` -> waiting (wait), gone (delete)
//
// The waiting ones are in a binary heap by (dueMs, offset); each entry knows its place in it.
//
//   row of RETRIES, numbers and texts as in row-bytes.ts:
//     version   number   1
//     attempt   number   deliveries so far
//     lease id  number   of the last delivery
//     state     number   0 waiting, 1 leased, 3 leased by a stream
//     waiting:  due      number   milliseconds since the Unix epoch
//     leased:   deadline number   milliseconds since the Unix epoch
//               consumer text
//
// Invariants: heap[entry.heapIndex] is the entry while it waits, and heapIndex is -1 while it is leased; no
// lease ends before `earliestDeadlineMs`.

import { corruptRow, RowReader, RowWriter } from './row-bytes.ts';
import { addRange, type UnsettledRange } from './unsettled-range.ts';

/** A message that waits until its ordering key lets it: its due time. */
export const HELD_MS: number = Number.MAX_SAFE_INTEGER - 1;
/** A message that waits until somebody resumes it: its due time. */
export const STOPPED_MS: number = Number.MAX_SAFE_INTEGER;

const ROW_VERSION = 1;
const STATE_LEASED = 1;
const STATE_STREAMING = 2;

/** Who has a message that is delivered again. */
export interface RetryLease {
  /** When the lease ends by itself, in milliseconds since the Unix epoch. */
  readonly deadlineMs: number;
  /** The consumer. */
  readonly consumerId: string;
  /** The end of the consumer's stream ends the lease. */
  readonly streaming: boolean;
}

/** A message that failed at least once. */
export interface RetryEntry {
  readonly offset: number;
  /** Deliveries so far; those that were given back unprocessed do not count. */
  readonly attempt: number;
  /** Lease id of the last delivery. */
  readonly leaseId: number;
  /** When it may be delivered again, in milliseconds since the Unix epoch; 0 while it is leased. */
  readonly dueMs: number;
  /** Absent while it waits. */
  readonly lease: RetryLease | undefined;
}

interface MutableEntry extends RetryEntry {
  attempt: number;
  leaseId: number;
  dueMs: number;
  lease: RetryLease | undefined;
  heapIndex: number;
}

const NONE: readonly RetryEntry[] = [];

function isBefore(one: MutableEntry, other: MutableEntry): boolean {
  return one.dueMs < other.dueMs || (one.dueMs === other.dueMs && one.offset < other.offset);
}

/** Messages that failed at least once. */
export class RetryTable {
  readonly #entries = new Map<number, MutableEntry>();
  readonly #heap: MutableEntry[] = [];
  /** Offsets whose rows the store lacks or has no longer any use for. */
  readonly #dirty = new Set<number>();
  /** Lowest offset; NaN when it must be looked for. */
  #oldest = Infinity;
  /** No lease ends before this time; it may be too early when leases have gone or were extended. */
  earliestDeadlineMs = Infinity;

  /** Number of messages. */
  get size(): number {
    return this.#entries.size;
  }

  /** Number of messages that wait. */
  get waiting(): number {
    return this.#heap.length;
  }

  /** Number of messages that are leased. */
  get leased(): number {
    return this.#entries.size - this.#heap.length;
  }

  /** Nothing in it, and nothing that the store has to be told. */
  get idle(): boolean {
    return this.#entries.size === 0 && this.#dirty.size === 0;
  }

  /** When the first message is due, in milliseconds since the Unix epoch; Infinity when none waits. */
  get nextDueMs(): number {
    return this.#heap[0]?.dueMs ?? Infinity;
  }

  /** Lowest offset of a message; Infinity when there is none. */
  get oldest(): number {
    if (Number.isNaN(this.#oldest)) {
      this.#oldest = Infinity;
      for (const offset of this.#entries.keys()) this.#oldest = Math.min(this.#oldest, offset);
    }
    return this.#oldest;
  }

  /** The message at an offset. */
  find(offset: number): RetryEntry | undefined {
    return this.#entries.get(offset);
  }

  /** The messages of a range, by offset. Costs no more than the smaller of the range and the table. */
  within(first: number, end: number): readonly RetryEntry[] {
    if (this.#entries.size === 0) return NONE;
    const found: RetryEntry[] = [];
    if (end - first <= this.#entries.size) {
      for (let offset = first; offset < end; offset++) {
        const entry = this.#entries.get(offset);
        if (entry !== undefined) found.push(entry);
      }
      return found;
    }
    for (const entry of this.#entries.values()) {
      if (entry.offset >= first && entry.offset < end) found.push(entry);
    }
    return found.sort((one, other) => one.offset - other.offset);
  }

  /** The messages, in no order. */
  all(): Iterable<RetryEntry> {
    return this.#entries.values();
  }

  /** The leased messages, by offset. */
  allLeased(): RetryEntry[] {
    if (this.leased === 0) return [];
    const found = [...this.#entries.values()].filter((entry) => entry.lease !== undefined);
    return found.sort((one, other) => one.offset - other.offset);
  }

  /** Messages that are due, by (dueMs, offset), at most `max`. */
  due(nowMs: number, max: number): RetryEntry[] {
    const due: MutableEntry[] = [];
    while (due.length < max && this.nextDueMs <= nowMs) {
      const entry = this.#heap[0] as MutableEntry;
      this.#removeFromHeap(entry);
      due.push(entry);
    }
    for (const entry of due) this.#addToHeap(entry);
    return due;
  }

  /** A message waits until it is due; it is new here, or was leased or waiting. */
  wait(offset: number, attempt: number, leaseId: number, dueMs: number): void {
    let entry = this.#entries.get(offset);
    if (entry === undefined) {
      entry = { offset, attempt, leaseId, dueMs, lease: undefined, heapIndex: -1 };
      this.#entries.set(offset, entry);
      this.#oldest = Math.min(this.#oldest, offset);
    } else if (entry.heapIndex >= 0) {
      this.#removeFromHeap(entry);
    }
    entry.attempt = attempt;
    entry.leaseId = leaseId;
    entry.dueMs = dueMs;
    entry.lease = undefined;
    this.#addToHeap(entry);
    this.#dirty.add(offset);
  }

  /** A message is leased, or its lease changes; false when there is no such message. */
  lease(offset: number, attempt: number, leaseId: number, lease: RetryLease): boolean {
    const entry = this.#entries.get(offset);
    if (entry === undefined) return false;
    if (entry.heapIndex >= 0) this.#removeFromHeap(entry);
    entry.attempt = attempt;
    entry.leaseId = leaseId;
    entry.dueMs = 0;
    entry.lease = lease;
    this.earliestDeadlineMs = Math.min(this.earliestDeadlineMs, lease.deadlineMs);
    this.#dirty.add(offset);
    return true;
  }

  /** A message is settled; false when there is no such message. */
  delete(offset: number): boolean {
    const entry = this.#entries.get(offset);
    if (entry === undefined) return false;
    if (entry.heapIndex >= 0) this.#removeFromHeap(entry);
    this.#entries.delete(offset);
    if (offset === this.#oldest) this.#oldest = Number.NaN;
    this.#dirty.add(offset);
    return true;
  }

  /** Every message below an offset is settled. */
  deleteBelow(offset: number): void {
    for (const known of this.#entries.keys()) {
      if (known < offset) this.delete(known);
    }
  }

  /** Makes `earliestDeadlineMs` exact. */
  findEarliestDeadline(): void {
    let earliest = Infinity;
    if (this.leased > 0) {
      for (const { lease } of this.#entries.values()) {
        if (lease !== undefined) earliest = Math.min(earliest, lease.deadlineMs);
      }
    }
    this.earliestDeadlineMs = earliest;
  }

  /** Offsets whose entry was changed or deleted since the last call. */
  takeDirty(): number[] {
    const dirty = [...this.#dirty];
    this.#dirty.clear();
    return dirty;
  }

  /** Every offset that has a row in the store, and maybe some that have none. */
  rowOffsets(): number[] {
    return [...new Set([...this.#entries.keys(), ...this.#dirty])];
  }

  /** The row of a message; undefined when it has none. */
  encode(offset: number): Buffer | undefined {
    const entry = this.#entries.get(offset);
    if (entry === undefined) return undefined;
    const { attempt, leaseId, dueMs, lease } = entry;
    const row = new RowWriter();
    row.number(ROW_VERSION);
    row.number(attempt);
    row.number(leaseId);
    if (lease === undefined) {
      row.number(0);
      row.number(dueMs);
    } else {
      row.number(STATE_LEASED + (lease.streaming ? STATE_STREAMING : 0));
      row.number(lease.deadlineMs);
      row.text(lease.consumerId);
    }
    return row.finish();
  }

  /** Takes a row as the store has it. */
  decode(offset: number, bytes: Uint8Array): void {
    const row = new RowReader(bytes);
    if (row.number() !== ROW_VERSION) throw corruptRow('it has an unknown version');
    const attempt = row.number();
    const leaseId = row.number();
    const state = row.number();
    if (state === 0) {
      const dueMs = row.number();
      row.end();
      this.wait(offset, attempt, leaseId, dueMs);
    } else if (state === STATE_LEASED || state === STATE_LEASED + STATE_STREAMING) {
      const deadlineMs = row.number();
      const consumerId = row.text();
      row.end();
      this.wait(offset, attempt, leaseId, 0);
      const streaming = state !== STATE_LEASED;
      this.lease(offset, attempt, leaseId, { deadlineMs, consumerId, streaming });
    } else {
      throw corruptRow('it has an unknown state');
    }
    this.#dirty.delete(offset);
  }

  #addToHeap(entry: MutableEntry): void {
    this.#heap.push(entry);
    this.#moveUp(entry, this.#heap.length - 1);
  }

  #removeFromHeap(entry: MutableEntry): void {
    const heap = this.#heap;
    const at = entry.heapIndex;
    const last = heap.pop() as MutableEntry;
    entry.heapIndex = -1;
    if (last === entry) return;
    const parent = heap[(at - 1) >> 1];
    if (parent !== undefined && isBefore(last, parent)) this.#moveUp(last, at);
    else this.#moveDown(last, at);
  }

  #moveUp(entry: MutableEntry, from: number): void {
    const heap = this.#heap;
    let at = from;
    while (at > 0) {
      const parentAt = (at - 1) >> 1;
      const parent = heap[parentAt] as MutableEntry;
      if (!isBefore(entry, parent)) break;
      heap[at] = parent;
      parent.heapIndex = at;
      at = parentAt;
    }
    heap[at] = entry;
    entry.heapIndex = at;
  }

  #moveDown(entry: MutableEntry, from: number): void {
    const heap = this.#heap;
    let at = from;
    for (let childAt = 2 * at + 1; childAt < heap.length; childAt = 2 * at + 1) {
      const right = heap[childAt + 1];
      if (right !== undefined && isBefore(right, heap[childAt] as MutableEntry)) childAt++;
      const child = heap[childAt] as MutableEntry;
      if (!isBefore(child, entry)) break;
      heap[at] = child;
      child.heapIndex = at;
      at = childAt;
    }
    heap[at] = entry;
    entry.heapIndex = at;
  }
}

/** Adds an entry's message to a list. */
export function addEntry(ranges: UnsettledRange[], entry: RetryEntry): void {
  addRange(ranges, entry.offset, entry.offset + 1, entry.leaseId, entry.attempt);
}
