// The leases of messages that are delivered for the first time, of one group in one queue. Offsets are first
// delivered in order, so the leases lie side by side in one array:
//
//   leases   [first, end) [first, end) …      lease id, deadline and consumer of each
//
// A lease keeps its range until nothing of it is outstanding; which of its offsets are, the owner knows. A part
// that is extended becomes a lease of its own with the same id, so (lease id, first) names a lease.
//
// Invariants: first < end <= first of the next one; 0 < outstanding <= end - first; `outstanding` of the
// list is the sum of those of its leases; no lease ends before `earliestDeadlineMs`.

import { assert } from '@ternmq/runtime';

/** A stretch of a queue that is handed to a consumer for the first time. */
export interface Lease {
  /** Offset of the first message. */
  first: number;
  /** Offset behind the last message. */
  end: number;
  /** Position of the record that leased it. */
  readonly leaseId: number;
  /** When it ends by itself, in milliseconds since the Unix epoch. */
  deadlineMs: number;
  /** Who has it. */
  readonly consumerId: string;
  /** The end of the consumer's stream ends it. */
  readonly streaming: boolean;
  /** Messages of the range that are not settled. */
  outstanding: number;
}

/** Counts the outstanding offsets of a range. */
type CountOutstanding = (first: number, end: number) => number;

/** The leases of first deliveries, by offset. */
export class LeaseList {
  #leases: Lease[] = [];
  /** Messages under all leases. */
  outstanding = 0;
  /** No lease ends before this time; it may be too early when leases have gone or were extended. */
  earliestDeadlineMs = Infinity;

  /** Number of leases. */
  get size(): number {
    return this.#leases.length;
  }

  /** All leases in the order of their offsets. */
  get all(): readonly Lease[] {
    return this.#leases;
  }

  /** Adds a lease behind all others. */
  append(lease: Lease): void {
    assert(lease.outstanding > 0, 'a lease has outstanding messages');
    assert(lease.first >= (this.#leases.at(-1)?.end ?? 0), 'first deliveries are leased in order');
    this.#leases.push(lease);
    this.outstanding += lease.outstanding;
    this.earliestDeadlineMs = Math.min(this.earliestDeadlineMs, lease.deadlineMs);
  }

  /** Index in `all` of the first lease that ends behind the offset. */
  indexBehind(offset: number): number {
    const leases = this.#leases;
    let low = 0;
    let high = leases.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((leases[middle] as Lease).end <= offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Some messages of a lease are no longer outstanding; call `dropSettled` after the last lease of a change. */
  settle(lease: Lease, count: number): void {
    assert(count <= lease.outstanding, 'no more is settled than was outstanding');
    lease.outstanding -= count;
    this.outstanding -= count;
  }

  /** Removes the leases [from, to) of `all` that have nothing outstanding. */
  dropSettled(from: number, to: number): void {
    const leases = this.#leases;
    let kept = from;
    for (let at = from; at < to; at++) {
      const lease = leases[at] as Lease;
      if (lease.outstanding > 0) leases[kept++] = lease;
    }
    if (kept < to) leases.splice(kept, to - kept);
  }

  /** Moves the deadline of what lies in [first, end) under a lease id; returns whether anything changed. */
  extend(
    first: number,
    end: number,
    leaseId: number,
    deadlineMs: number,
    countOutstanding: CountOutstanding,
  ): boolean {
    const leases = this.#leases;
    // With a neighbour on each side, so that parts that are extended one by one are joined again.
    const from = Math.max(0, this.indexBehind(first) - 1);
    const parts: Lease[] = [];
    let to = from;
    let changed = false;
    for (let behind = false; to < leases.length && !behind; to++) {
      const lease = leases[to] as Lease;
      behind = lease.first >= end;
      const extendedFrom = Math.max(first, lease.first);
      const extendedTo = Math.min(end, lease.end);
      const meant = lease.leaseId === leaseId && extendedFrom < extendedTo;
      if (!meant || lease.deadlineMs === deadlineMs) {
        addPart(parts, lease, lease.first, lease.end, lease.deadlineMs, lease.outstanding);
        continue;
      }
      changed = true;
      const below = countOutstanding(lease.first, extendedFrom);
      const extended = countOutstanding(extendedFrom, extendedTo);
      const above = lease.outstanding - below - extended;
      addPart(parts, lease, lease.first, extendedFrom, lease.deadlineMs, below);
      addPart(parts, lease, extendedFrom, extendedTo, deadlineMs, extended);
      addPart(parts, lease, extendedTo, lease.end, lease.deadlineMs, above);
    }
    if (!changed) return false;
    this.earliestDeadlineMs = Math.min(this.earliestDeadlineMs, deadlineMs);
    if (parts.length === to - from) {
      for (const [index, part] of parts.entries()) leases[from + index] = part;
    } else {
      this.#leases = [...leases.slice(0, from), ...parts, ...leases.slice(to)];
    }
    return true;
  }

  /** Drops what lies below an offset. */
  trimBelow(begin: number, countOutstanding: CountOutstanding): void {
    const leases = this.#leases;
    const kept = this.indexBehind(begin);
    leases.splice(0, kept);
    const cut = leases[0];
    if (cut !== undefined && cut.first < begin) {
      cut.first = begin;
      cut.outstanding = countOutstanding(begin, cut.end);
    }
    this.dropSettled(0, Math.min(1, leases.length));
    this.outstanding = leases.reduce((sum, lease) => sum + lease.outstanding, 0);
  }

  /** Makes `earliestDeadlineMs` exact. */
  findEarliestDeadline(): void {
    let earliest = Infinity;
    for (const lease of this.#leases) earliest = Math.min(earliest, lease.deadlineMs);
    this.earliestDeadlineMs = earliest;
  }
}

/** Adds a part of a lease, joined to the part before it when nothing tells them apart. */
function addPart(
  parts: Lease[],
  lease: Lease,
  first: number,
  end: number,
  deadlineMs: number,
  outstanding: number,
): void {
  if (outstanding === 0) return;
  const last = parts.at(-1);
  if (last?.end === first && last.leaseId === lease.leaseId && last.deadlineMs === deadlineMs) {
    last.end = end;
    last.outstanding += outstanding;
  } else {
    parts.push({ ...lease, first, end, deadlineMs, outstanding });
  }
}
