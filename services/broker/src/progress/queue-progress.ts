// How far one group is in one queue.
//
//                 floor                          next
//   ──────────────┼───────────────────────────────┼──────────────►  offsets
//     passed      │ passed or under a first lease │ never delivered
//
// "Passed" is settled, or in the retry table. Which of the offsets above the floor are passed stands in
// `#passed`; those below the floor all are. States of an offset, and what moves it:
//
//   never delivered   -> leased (lease), settled (lease, when the filter does not match)
//   leased            -> settled (acknowledge, remove), in the retry table (retry, giveBack)
//   in the retry table, waiting or leased again; see retry-table.ts
//                     -> settled (acknowledge, remove)
//   settled           final
//
// The methods that change something apply records of the log, so equal records make equal progress. A record
// that does not fit changes nothing: that happens when settlements cross, and in a log that lost records to
// damage, where the messages are then delivered again rather than lost. Queries change nothing.
//
// Invariants: floor <= next; the floor is not in `#passed` and `#passed` lies between floor and next; an offset
// in [floor, next) is either passed or outstanding under exactly one lease; an offset in the retry table is
// passed. A lease may reach below the floor; what lies there is settled.
//
// Rows: progress-row.ts, and retry-table.ts for messages in the retry table. Idle progress is two numbers and no objects.

import { assert } from '@ternmq/runtime';
import { type Lease, LeaseList } from './lease-list.ts';
import { forEachMarkedRun } from './marks.ts';
import type { ProgressObserver } from './progress-observer.ts';
import { decodeProgressRow, encodeProgressRow } from './progress-row.ts';
import { RangeSet } from './range-set.ts';
import { addEntry, HELD_MS, type RetryEntry, RetryTable, STOPPED_MS } from './retry-table.ts';
import { corruptRow } from './row-bytes.ts';
import { addRange, type UnsettledRange } from './unsettled-range.ts';

/** Nothing more is leased while settled messages above the floor form so many ranges. */
export const PASSED_RANGES_MAX = 4096;
/** Nothing more is leased for the first time while so many leases are open. */
export const LEASES_MAX = 10_000;
/** Nothing more is leased for the first time while so many messages are leased or wait for a retry. */
export const UNSETTLED_MAX = 100_000;

/** What may happen to leased messages. */
export type SettleAction = 'acknowledge' | 'retry' | 'extend' | 'giveBack' | 'remove';

/**
 * Whether a settlement can be carried out. ALREADY_SETTLED is harmless: there is nothing left to do.
 * LEASE_EXPIRED: some messages are, or were, delivered under another lease, or wait for that.
 */
export type SettleCheck = 'ok' | 'ALREADY_SETTLED' | 'LEASE_EXPIRED' | 'NOT_DELIVERED';

/** A message to deliver again. */
export interface DueRetry {
  /** Its offset. */
  readonly offset: number;
  /** Deliveries so far; those that were given back do not count. */
  readonly attempt: number;
}

/** One group's progress in one queue. */
export class QueueProgress {
  #floor = 0;
  #next = 0;
  #passed: RangeSet | undefined;
  #leases: LeaseList | undefined;
  #retries: RetryTable | undefined;
  /** Names the last time that somebody else than a member that pulls has set the progress; 0 before the first. */
  generation = 0;
  /** The row that `encode` makes has changed; who stores it clears this. */
  dirty = false;
  /** Told of changes while the group's messages are delivered in order. */
  observer: ProgressObserver | undefined;

  // ---- queries ----

  /** Every message below this offset is settled or in the retry table. */
  get floor(): number {
    return this.#floor;
  }

  /** The next message that was never delivered. */
  get next(): number {
    return this.#next;
  }

  /** The oldest message that is not settled; `next` when all that was delivered is. */
  get oldestUnsettled(): number {
    return Math.min(this.#floor, this.#retries?.oldest ?? Infinity);
  }

  /** Messages that consumers have a lease of. */
  get inFlight(): number {
    return (this.#leases?.outstanding ?? 0) + (this.#retries?.leased ?? 0);
  }

  /** Messages that wait for another delivery. */
  get waitingForRetry(): number {
    return this.#retries?.waiting ?? 0;
  }

  /** Ranges of passed messages above the floor. */
  get passedRanges(): number {
    return this.#passed?.size ?? 0;
  }

  /**
   * May messages be leased for the first time? When not, consumers must settle first. The bounds are checked
   * before a lease and not within it, so the last lease may go past them.
   */
  get canLeaseMore(): boolean {
    return (
      this.passedRanges < PASSED_RANGES_MAX &&
      (this.#leases?.size ?? 0) < LEASES_MAX &&
      this.inFlight + this.waitingForRetry < UNSETTLED_MAX
    );
  }

  /**
   * Can messages that a consumer names be settled under its lease? Settled ones among them are ignored.
   *
   * A message that waits for a retry may still be acknowledged or removed under its last lease; retrying it or
   * giving it back has no effect; its lease can no longer be extended.
   */
  check(
    first: number,
    end: number,
    leaseId: number,
    action: SettleAction = 'acknowledge',
  ): SettleCheck {
    if (!(first < end && end <= this.#next)) return 'NOT_DELIVERED';
    let open = false;
    const leases = this.#leases?.all ?? [];
    for (let at = this.#leases?.indexBehind(first) ?? 0; at < leases.length; at++) {
      const lease = leases[at] as Lease;
      if (lease.first >= end) break;
      if (this.#countOutstanding(Math.max(first, lease.first), Math.min(end, lease.end)) === 0) {
        continue;
      }
      if (lease.leaseId !== leaseId) return 'LEASE_EXPIRED';
      open = true;
    }
    for (const entry of this.#retries?.within(first, end) ?? []) {
      if (entry.leaseId !== leaseId) return 'LEASE_EXPIRED';
      if (isOpenTo(action, entry)) open = true;
      else if (action === 'extend') return 'LEASE_EXPIRED';
    }
    return open ? 'ok' : 'ALREADY_SETTLED';
  }

  /**
   * The messages of a range that an action under a lease has an effect on: a part of the range when
   * `check` says LEASE_EXPIRED, nothing when it says ALREADY_SETTLED.
   */
  affectedBy(action: SettleAction, first: number, end: number, leaseId: number): UnsettledRange[] {
    const ranges: UnsettledRange[] = [];
    const leases = this.#leases?.all ?? [];
    for (let at = this.#leases?.indexBehind(first) ?? 0; at < leases.length; at++) {
      const lease = leases[at] as Lease;
      if (lease.first >= end) break;
      if (lease.leaseId === leaseId) this.#addOutstanding(ranges, lease, first, end);
    }
    for (const entry of this.#retries?.within(first, end) ?? []) {
      if (entry.leaseId === leaseId && isOpenTo(action, entry)) addEntry(ranges, entry);
    }
    return ranges;
  }

  /**
   * No lease ends before this time, in milliseconds since the Unix epoch; Infinity when nothing is leased. It is
   * too early when the lease that was to end first has gone; `dueLeases` makes it exact.
   */
  nextDeadline(): number {
    const first = this.#leases?.earliestDeadlineMs ?? Infinity;
    const again = this.#retries?.earliestDeadlineMs ?? Infinity;
    return this.inFlight === 0 ? Infinity : Math.min(first, again);
  }

  /** The messages whose lease has ended, of consumers with a stream or of others. They stay leased until a record comes. */
  dueLeases(nowMs: number, streaming: boolean): UnsettledRange[] {
    if (this.nextDeadline() > nowMs) return [];
    const ranges: UnsettledRange[] = [];
    for (const lease of this.#leases?.all ?? []) {
      if (lease.deadlineMs > nowMs || lease.streaming !== streaming) continue;
      this.#addOutstanding(ranges, lease, lease.first, lease.end);
    }
    for (const entry of this.#retries?.allLeased() ?? []) {
      const { deadlineMs = Infinity, streaming: streams } = entry.lease ?? {};
      if (deadlineMs <= nowMs && streams === streaming) addEntry(ranges, entry);
    }
    this.#leases?.findEarliestDeadline();
    this.#retries?.findEarliestDeadline();
    return ranges;
  }

  /** The messages that a consumer has a lease of: all, or those that end with its stream. */
  leasesOf(consumerId: string, streamingOnly: boolean): UnsettledRange[] {
    const ranges: UnsettledRange[] = [];
    for (const lease of this.#leases?.all ?? []) {
      if (lease.consumerId !== consumerId || (streamingOnly && !lease.streaming)) continue;
      this.#addOutstanding(ranges, lease, lease.first, lease.end);
    }
    for (const entry of this.#retries?.allLeased() ?? []) {
      if (entry.lease?.consumerId !== consumerId) continue;
      if (!streamingOnly || entry.lease.streaming) addEntry(ranges, entry);
    }
    return ranges;
  }

  /** The consumers that have a lease which ends with their stream. */
  streamingConsumers(): string[] {
    const consumers = new Set<string>();
    for (const { consumerId, streaming } of this.#leases?.all ?? []) {
      if (streaming) consumers.add(consumerId);
    }
    for (const { lease } of this.#retries?.allLeased() ?? []) {
      if (lease?.streaming) consumers.add(lease.consumerId);
    }
    return [...consumers];
  }

  /** Every message that was delivered and is not settled: leased, or waiting for a retry. */
  unsettledOffsets(): number[] {
    const offsets: number[] = [];
    this.forEachUnsettled((offset) => offsets.push(offset));
    return offsets;
  }

  /** Visits every message that was delivered, or passed over, and is not settled. */
  forEachUnsettled(visit: (offset: number, leased: boolean) => void): void {
    for (const { first, end } of this.leasedRanges()) {
      for (let offset = first; offset < end; offset++) visit(offset, true);
    }
    for (const { offset, lease } of this.#retries?.all() ?? []) {
      if (lease === undefined) visit(offset, false);
    }
  }

  /** The messages that consumers have a lease of. */
  leasedRanges(): UnsettledRange[] {
    const ranges: UnsettledRange[] = [];
    for (const lease of this.#leases?.all ?? []) {
      this.#addOutstanding(ranges, lease, lease.first, lease.end);
    }
    for (const entry of this.#retries?.allLeased() ?? []) addEntry(ranges, entry);
    return ranges;
  }

  /** A message that waits: its deliveries so far and when it is due; undefined when it does not wait. */
  waiting(offset: number): { readonly attempt: number; readonly dueMs: number } | undefined {
    const entry = this.#retries?.find(offset);
    return entry?.lease === undefined ? entry : undefined;
  }

  /** The messages that wait until somebody resumes them. */
  stopped(): { readonly offset: number; readonly attempt: number }[] {
    return [...(this.#retries?.all() ?? [])].filter(
      ({ dueMs, lease }) => lease === undefined && dueMs === STOPPED_MS,
    );
  }

  /** When the first retry is due, in milliseconds since the Unix epoch; Infinity when none waits. */
  nextRetryDue(): number {
    return this.#retries?.nextDueMs ?? Infinity;
  }

  /** The messages to deliver again, those due longest first, then by offset; at most `max`. */
  dueRetries(nowMs: number, max: number): DueRetry[] {
    const due = this.#retries?.due(nowMs, max) ?? [];
    return due.map(({ offset, attempt }) => ({ offset, attempt }));
  }

  // ---- records ----

  /**
   * Messages are delivered for the first time.
   *
   * @param first must be `next`
   * @param leaseId position of the record
   * @param unmatched one bit a message, lowest first: 1 for those that the filter does not match, which are
   *   settled with this; absent when all match
   * @param held the same for those that are passed over: they wait for their ordering key and are not delivered
   * @returns false when the record does not fit
   */
  lease(
    first: number,
    end: number,
    leaseId: number,
    deadlineMs: number,
    consumerId: string,
    streaming: boolean,
    unmatched?: Uint8Array,
    held?: Uint8Array,
  ): boolean {
    if (first !== this.#next || end <= first) return false;
    this.#next = end;
    this.dirty = true;
    let passed = 0;
    forEachMarkedRun(first, end, unmatched, (from, to) => {
      passed += this.#pass(from, to);
    });
    forEachMarkedRun(first, end, held, (from, to) => {
      this.#retries ??= new RetryTable();
      for (let offset = from; offset < to; offset++) {
        this.#retries.wait(offset, 0, leaseId, HELD_MS);
      }
      passed += this.#pass(from, to);
    });
    const outstanding = end - first - passed;
    if (outstanding > 0) {
      this.#leases ??= new LeaseList();
      const lease = { first, end, leaseId, deadlineMs, consumerId, streaming, outstanding };
      this.#leases.append(lease);
    }
    return true;
  }

  /** A message from the retry table is delivered once more; false when the record does not fit. */
  leaseRetry(
    offset: number,
    leaseId: number,
    deadlineMs: number,
    consumerId: string,
    streaming: boolean,
  ): boolean {
    const entry = this.#retries?.find(offset);
    if (entry === undefined || entry.lease !== undefined) return false;
    const lease = { deadlineMs, consumerId, streaming };
    return this.#retries?.lease(offset, entry.attempt + 1, leaseId, lease) ?? false;
  }

  /** Messages are done with; returns how many were not before. */
  acknowledge(first: number, end: number, leaseId: number): number {
    let count = 0;
    for (const entry of this.#retries?.within(first, end) ?? []) {
      if (entry.leaseId !== leaseId) continue;
      this.#retries?.delete(entry.offset);
      this.observer?.settled(entry.offset, entry.offset + 1);
      count++;
    }
    return count + this.#passLeased(first, end, leaseId);
  }

  /** Messages shall be delivered again from `dueMs` on; returns how many. */
  retry(first: number, end: number, leaseId: number, dueMs: number): number {
    return this.#putBack(first, end, leaseId, dueMs, 0);
  }

  /** Messages come back unprocessed, to be delivered again from `dueMs` on; returns how many. */
  giveBack(first: number, end: number, leaseId: number, dueMs = 0): number {
    return this.#putBack(first, end, leaseId, dueMs, 1);
  }

  /** A message that was stopped, or waits for its ordering key, may be delivered again from `dueMs` on. */
  resume(offset: number, dueMs: number): void {
    const entry = this.#retries?.find(offset);
    if (entry === undefined || entry.lease !== undefined || entry.dueMs < HELD_MS) return;
    this.#retries?.wait(offset, entry.attempt, entry.leaseId, dueMs);
  }

  /** Leases of messages end at another time. */
  extend(first: number, end: number, leaseId: number, deadlineMs: number): void {
    const extended = this.#leases?.extend(first, end, leaseId, deadlineMs, (from, to) =>
      this.#countOutstanding(from, to),
    );
    if (extended) this.dirty = true;
    for (const { offset, attempt, leaseId: last, lease } of this.#retries?.within(first, end) ??
      []) {
      if (last !== leaseId || lease === undefined) continue;
      this.#retries?.lease(offset, attempt, leaseId, { ...lease, deadlineMs });
    }
  }

  /** A message was moved elsewhere, under whatever lease; false when it was settled before. */
  remove(offset: number): boolean {
    if (this.#retries?.delete(offset)) {
      this.observer?.settled(offset, offset + 1);
      return true;
    }
    const lease = this.#leases?.all[this.#leases.indexBehind(offset)];
    if (lease === undefined || lease.first > offset) return false;
    return this.#passLeased(offset, offset + 1, lease.leaseId) > 0;
  }

  /** Progress is set to an offset: what lies below is settled, the rest was never delivered. */
  set(offset: number): void {
    this.#retries?.deleteBelow(Infinity);
    this.#floor = offset;
    this.#next = offset;
    this.#passed = undefined;
    this.#leases = undefined;
    this.dirty = true;
    this.observer?.reset();
  }

  /** The queue begins at an offset: what lies below is settled. */
  trim(begin: number): void {
    this.#retries?.deleteBelow(begin);
    if (begin <= this.#floor) return;
    this.#next = Math.max(this.#next, begin);
    this.#raiseFloor(begin);
    this.#leases?.trimBelow(begin, (from, to) => this.#countOutstanding(from, to));
    if (this.#leases?.size === 0) this.#leases = undefined;
    this.dirty = true;
    this.#assertInvariants();
    this.observer?.reset();
  }

  // ---- rows ----

  /** The row of everything but the retry table. */
  encode(): Buffer {
    return encodeProgressRow({
      floor: this.#floor,
      next: this.#next,
      generation: this.generation,
      passed: this.#passed?.bounds ?? [],
      leases: this.#leases?.all ?? [],
    });
  }

  /**
   * Progress from its row. The rows of its retry table must follow before anything else.
   *
   * @throws TernError DATA_LOSS with reason CORRUPT_STATE
   */
  static decode(bytes: Uint8Array): QueueProgress {
    const { floor, next, generation, passed, leases } = decodeProgressRow(bytes);
    const progress = new QueueProgress();
    progress.generation = generation;
    progress.#floor = floor;
    progress.#next = next;
    for (let at = 0; at < passed.length; at += 2) {
      progress.#passed ??= new RangeSet();
      progress.#passed.add(passed[at] as number, passed[at + 1] as number);
    }
    for (const lease of leases) {
      const outstanding = progress.#countOutstanding(lease.first, lease.end);
      if (outstanding === 0) throw corruptRow('a lease has nothing outstanding');
      progress.#leases ??= new LeaseList();
      progress.#leases.append({ ...lease, outstanding });
    }
    if ((progress.#leases?.outstanding ?? 0) !== progress.#countOutstanding(floor, next)) {
      throw corruptRow('its leases are not what is outstanding');
    }
    return progress;
  }

  /** The row of a message in the retry table; undefined when it is not there. */
  encodeRetry(offset: number): Buffer | undefined {
    return this.#retries?.encode(offset);
  }

  /**
   * Takes the row of a message in the retry table.
   *
   * @throws TernError DATA_LOSS with reason CORRUPT_STATE
   */
  decodeRetry(offset: number, bytes: Uint8Array): void {
    if (offset >= this.#next || this.#countOutstanding(offset, offset + 1) > 0) {
      throw corruptRow(`offset ${offset} is not passed`);
    }
    this.#retries ??= new RetryTable();
    this.#retries.decode(offset, bytes);
  }

  /** Offsets whose row in the retry table was changed or deleted since the last call. */
  takeDirtyRetries(): number[] {
    const dirty = this.#retries?.takeDirty() ?? [];
    if (this.#retries?.idle) this.#retries = undefined;
    return dirty;
  }

  /** Every offset that has a row of its own in the store, and maybe some that have none. */
  retryOffsets(): number[] {
    return this.#retries?.rowOffsets() ?? [];
  }

  // ---- inside ----

  /** Messages of [first, end) under a lease go to the retry table, the given-back ones with one attempt less. */
  #putBack(first: number, end: number, leaseId: number, dueMs: number, uncounted: number): number {
    let count = 0;
    for (const entry of this.#retries?.within(first, end) ?? []) {
      if (entry.leaseId !== leaseId || entry.lease === undefined) continue;
      this.#retries?.wait(entry.offset, entry.attempt - uncounted, leaseId, dueMs);
      this.observer?.waits(entry.offset, entry.offset + 1);
      count++;
    }
    const attempt = 1 - uncounted;
    return (
      count +
      this.#passLeased(first, end, leaseId, (from, to) => {
        this.#retries ??= new RetryTable();
        for (let offset = from; offset < to; offset++) {
          this.#retries.wait(offset, attempt, leaseId, dueMs);
        }
        this.observer?.waits(from, to);
      })
    );
  }

  /**
   * The messages of [first, end) that are outstanding under first leases of an id are passed; returns how many.
   *
   * @param visit told of each stretch of them beforehand
   */
  #passLeased(
    first: number,
    end: number,
    leaseId: number,
    visit?: (from: number, to: number) => void,
  ): number {
    const list = this.#leases;
    if (list === undefined) return 0;
    const begin = list.indexBehind(first);
    let at = begin;
    let count = 0;
    for (; at < list.all.length; at++) {
      const lease = list.all[at] as Lease;
      if (lease.first >= end) break;
      if (lease.leaseId !== leaseId) continue;
      const from = Math.max(first, lease.first, this.#floor);
      const to = Math.min(end, lease.end);
      if (from >= to) continue;
      if (visit !== undefined) this.#forEachOutstanding(from, to, visit);
      else if (this.observer !== undefined) {
        const { observer } = this;
        this.#forEachOutstanding(from, to, (begin, behind) => observer.settled(begin, behind));
      }
      const passed = this.#pass(from, to);
      list.settle(lease, passed);
      count += passed;
    }
    if (count === 0) return 0;
    list.dropSettled(begin, at);
    if (list.size === 0) this.#leases = undefined;
    this.dirty = true;
    this.#assertInvariants();
    return count;
  }

  /** Offsets from the floor on are passed; returns how many were not before. */
  #pass(from: number, to: number): number {
    assert(from >= this.#floor && to <= this.#next, 'what is passed was delivered');
    if (from > this.#floor) {
      this.#passed ??= new RangeSet();
      return this.#passed.add(from, to);
    }
    const count = this.#countOutstanding(from, to);
    this.#raiseFloor(to);
    return count;
  }

  /** Raises the floor to an offset, and over what is passed from there on. */
  #raiseFloor(offset: number): void {
    this.#floor = offset;
    if (this.#passed === undefined) return;
    this.#floor = this.#passed.firstGap(offset);
    this.#passed.trimBelow(this.#floor);
    if (this.#passed.size === 0) this.#passed = undefined;
  }

  /** How many delivered offsets of [first, end) are not passed. */
  #countOutstanding(first: number, end: number): number {
    const from = Math.max(first, this.#floor);
    if (from >= end) return 0;
    return end - from - (this.#passed?.countWithin(from, end) ?? 0);
  }

  #forEachOutstanding(first: number, end: number, visit: (from: number, to: number) => void): void {
    const from = Math.max(first, this.#floor);
    if (from >= end) return;
    if (this.#passed === undefined) visit(from, end);
    else this.#passed.forEachGap(from, end, visit);
  }

  #addOutstanding(ranges: UnsettledRange[], lease: Lease, first: number, end: number): void {
    const from = Math.max(first, lease.first);
    this.#forEachOutstanding(from, Math.min(end, lease.end), (gapFrom, gapTo) => {
      addRange(ranges, gapFrom, gapTo, lease.leaseId, 1);
    });
  }

  #assertInvariants(): void {
    assert(this.#floor <= this.#next, 'the floor is not above the next offset');
    assert(
      this.#floor === this.#next || this.#leases !== undefined,
      'what is not passed is under a lease',
    );
    assert(
      this.#floor < this.#next || (this.#leases === undefined && this.#passed === undefined),
      'nothing is leased when all is passed',
    );
  }
}

/** May an action still have an effect on a message in the retry table, under its last lease? */
function isOpenTo(action: SettleAction, entry: RetryEntry): boolean {
  return entry.lease !== undefined || action === 'acknowledge' || action === 'remove';
}
