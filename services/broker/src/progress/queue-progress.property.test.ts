// QueueProgress against a naive model: a map from offset to state.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { QueueProgress, type SettleAction, type SettleCheck } from './queue-progress.ts';
import type { UnsettledRange } from './unsettled-range.ts';

/** An unsettled offset. Those that were delivered and are not in the model are settled. */
interface Unsettled {
  leaseId: number;
  /** Deliveries that count; 1 for first deliveries. */
  attempt: number;
  /** Delivered for the first time and holds the floor. */
  first: boolean;
  /** Undefined while it waits. */
  lease: { deadlineMs: number; consumerId: string; streaming: boolean } | undefined;
  dueMs: number;
}

class Model {
  next = 0;
  readonly offsets = new Map<number, Unsettled>();

  get floor(): number {
    const held = [...this.offsets].filter(([, one]) => one.first).map(([offset]) => offset);
    return Math.min(this.next, ...held);
  }

  /** The unsettled offsets of a range that were last delivered under a lease. */
  under(first: number, end: number, leaseId: number): [number, Unsettled][] {
    return this.sorted().filter(
      ([offset, one]) => offset >= first && offset < end && one.leaseId === leaseId,
    );
  }

  sorted(): [number, Unsettled][] {
    return [...this.offsets].sort(([one], [other]) => one - other);
  }

  check(first: number, end: number, leaseId: number, action: SettleAction): SettleCheck {
    if (first >= end || end > this.next) return 'NOT_DELIVERED';
    let result: SettleCheck = 'ALREADY_SETTLED';
    for (const [offset, one] of this.sorted()) {
      if (offset < first || offset >= end) continue;
      if (one.leaseId !== leaseId) return 'LEASE_EXPIRED';
      if (one.lease !== undefined || action === 'acknowledge' || action === 'remove') {
        result = 'ok';
      } else if (action === 'extend') {
        return 'LEASE_EXPIRED';
      }
    }
    return result;
  }
}

const CONSUMERS = ['a', 'b'];
const ACTIONS: SettleAction[] = ['acknowledge', 'retry', 'extend', 'giveBack', 'remove'];

/** One step: what is done, and numbers that choose how, among what is there. */
const step = fc.record({
  kind: fc.constantFrom(
    'lease',
    'lease',
    'filteredLease',
    'leaseRetry',
    'leaseRetry',
    'acknowledge',
    'acknowledge',
    'retry',
    'retry',
    'extend',
    'giveBack',
    'remove',
    'set',
    'trim',
    'reload',
  ),
  pick: fc.nat(1000),
  length: fc.integer({ min: 1, max: 9 }),
  timeMs: fc.nat(20),
  bits: fc.nat(0x1ff),
  streaming: fc.boolean(),
  stale: fc.boolean(),
});
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

class Run {
  progress = new QueueProgress();
  readonly model = new Model();
  /** Retry rows as a store has them, kept up by the dirty offsets alone. */
  readonly rows = new Map<number, Buffer>();
  #row = this.progress.encode();
  #leaseId = 100;

  apply(chosen: Step): void {
    const { model, progress } = this;
    const { kind, pick, length, timeMs, streaming } = chosen;
    const consumerId = CONSUMERS[pick % 2] as string;
    const lease = { deadlineMs: timeMs, consumerId, streaming };
    switch (kind) {
      case 'lease':
      case 'filteredLease': {
        const first = model.next;
        const end = first + length;
        const leaseId = ++this.#leaseId;
        const bits = kind === 'lease' ? 0 : chosen.bits;
        const unmatched = kind === 'lease' ? undefined : Uint8Array.of(bits & 255, bits >> 8);
        expect(progress.lease(first, end, leaseId, timeMs, consumerId, streaming, unmatched)).toBe(
          true,
        );
        for (let offset = first; offset < end; offset++) {
          if ((bits >> (offset - first)) & 1) continue;
          model.offsets.set(offset, { leaseId, attempt: 1, first: true, lease, dueMs: 0 });
        }
        model.next = end;
        return;
      }
      case 'leaseRetry': {
        const offset = pick % (model.next + 1);
        const one = model.offsets.get(offset);
        const fits = one !== undefined && one.lease === undefined;
        const leaseId = ++this.#leaseId;
        expect(progress.leaseRetry(offset, leaseId, timeMs, consumerId, streaming)).toBe(fits);
        if (!fits) return;
        const attempt = one.attempt + 1;
        model.offsets.set(offset, { leaseId, attempt, first: false, lease, dueMs: 0 });
        return;
      }
      case 'remove': {
        const offset = pick % (model.next + 1);
        expect(progress.remove(offset)).toBe(model.offsets.delete(offset));
        return;
      }
      case 'set': {
        // Rarely, or nothing else would come to pass.
        if (pick % 8 !== 0) return;
        model.next = pick % (model.next + 3);
        model.offsets.clear();
        progress.set(model.next);
        return;
      }
      case 'trim': {
        const begin = pick % (model.next + 3);
        progress.trim(begin);
        model.next = Math.max(model.next, begin);
        for (const offset of model.offsets.keys()) if (offset < begin) model.offsets.delete(offset);
        return;
      }
      case 'reload':
        this.progress = QueueProgress.decode(this.#row);
        for (const [offset, row] of this.rows) this.progress.decodeRetry(offset, row);
        expect(this.progress.dirty).toBe(false);
        return;
      default:
        this.#settle(kind, chosen);
    }
  }

  #settle(action: Exclude<SettleAction, 'remove'>, chosen: Step): void {
    const { model, progress } = this;
    const { pick, length, timeMs } = chosen;
    const first = pick % (model.next + 1);
    const end = first + length;
    const leaseId = this.#someLease(chosen);
    const affected = model
      .under(first, end, leaseId)
      .filter(([, one]) => one.lease !== undefined || action === 'acknowledge');
    switch (action) {
      case 'acknowledge':
        expect(progress.acknowledge(first, end, leaseId)).toBe(affected.length);
        for (const [offset] of affected) model.offsets.delete(offset);
        return;
      case 'retry':
      case 'giveBack': {
        const dueMs = action === 'retry' ? timeMs : 0;
        const count =
          action === 'retry'
            ? progress.retry(first, end, leaseId, dueMs)
            : progress.giveBack(first, end, leaseId);
        expect(count).toBe(affected.length);
        for (const [offset, one] of affected) {
          const attempt = action === 'retry' ? one.attempt : one.attempt - 1;
          model.offsets.set(offset, { ...one, attempt, first: false, lease: undefined, dueMs });
        }
        return;
      }
      case 'extend':
        progress.extend(first, end, leaseId, timeMs);
        for (const [, one] of affected) {
          if (one.lease !== undefined) one.lease = { ...one.lease, deadlineMs: timeMs };
        }
        return;
      default:
        action satisfies never;
    }
  }

  /** The lease id of some unsettled offset, or one that nobody has. */
  #someLease({ pick, stale }: Step): number {
    const known = this.model.sorted();
    if (stale && pick % 4 === 0) return this.#leaseId + 1;
    const first = pick % (this.model.next + 1);
    const near = known.find(([offset]) => offset >= first) ?? known[0];
    return near?.[1].leaseId ?? 1;
  }

  /** Stores what is dirty. */
  store(): void {
    const { progress, rows } = this;
    const row = progress.encode();
    if (!progress.dirty) expect(row).toEqual(this.#row);
    progress.dirty = false;
    this.#row = row;
    for (const offset of progress.takeDirtyRetries()) {
      const retry = progress.encodeRetry(offset);
      if (retry === undefined) rows.delete(offset);
      else rows.set(offset, retry);
    }
  }

  /** Every query answers as the model does. */
  compare(chosen: Step): void {
    const { model, progress } = this;
    const all = model.sorted();
    const held = all.filter(([, one]) => one.lease !== undefined);
    const waiting = all.filter(([, one]) => one.lease === undefined);
    expect(progress.next).toBe(model.next);
    expect(progress.floor).toBe(model.floor);
    expect(progress.oldestUnsettled).toBe(Math.min(model.next, ...model.offsets.keys()));
    expect(progress.inFlight).toBe(held.length);
    expect(progress.waitingForRetry).toBe(waiting.length);

    const { pick, length, timeMs } = chosen;
    const due = waiting
      .filter(([, one]) => one.dueMs <= timeMs)
      .sort(([, one], [, other]) => one.dueMs - other.dueMs)
      .map(([offset, { attempt }]) => ({ offset, attempt }));
    expect(progress.dueRetries(timeMs, 1000)).toEqual(due);
    expect(progress.dueRetries(timeMs, length)).toEqual(due.slice(0, length));
    expect(progress.nextRetryDue()).toBe(Math.min(Infinity, ...waiting.map(([, w]) => w.dueMs)));

    const earliest = Math.min(Infinity, ...held.map(([, one]) => one.lease?.deadlineMs ?? 0));
    expect(progress.nextDeadline()).toBeLessThanOrEqual(earliest);
    const ended = held.filter(([, one]) => (one.lease?.deadlineMs ?? 0) <= timeMs);
    for (const streaming of [true, false]) {
      const theirs = ended.filter(([, one]) => one.lease?.streaming === streaming);
      expectRanges(progress.dueLeases(timeMs, streaming), theirs);
    }
    if (timeMs >= earliest) expect(progress.nextDeadline()).toBe(earliest);
    for (const consumerId of CONSUMERS) {
      const own = held.filter(([, one]) => one.lease?.consumerId === consumerId);
      expectRanges(progress.leasesOf(consumerId, false), own);
      const streaming = own.filter(([, one]) => one.lease?.streaming);
      expectRanges(progress.leasesOf(consumerId, true), streaming);
    }

    const streaming = held.flatMap(([, { lease }]) => (lease?.streaming ? [lease.consumerId] : []));
    expect(new Set(progress.streamingConsumers())).toEqual(new Set(streaming));

    const first = pick % (model.next + 2);
    const leaseId = this.#someLease(chosen);
    for (const action of ACTIONS) {
      const expected = model.check(first, first + length, leaseId, action);
      expect(progress.check(first, first + length, leaseId, action)).toBe(expected);
      const open = action === 'acknowledge' || action === 'remove';
      const affected = model
        .under(first, first + length, leaseId)
        .filter(([, one]) => open || one.lease !== undefined);
      expectRanges(progress.affectedBy(action, first, first + length, leaseId), affected);
    }
  }
}

/** The ranges name each of the offsets once, with its lease id and attempt. */
function expectRanges(ranges: readonly UnsettledRange[], offsets: [number, Unsettled][]): void {
  const named = ranges.flatMap(({ first, end, leaseId, attempt }) =>
    Array.from({ length: end - first }, (_, index) => ({
      offset: first + index,
      leaseId,
      attempt,
    })),
  );
  named.sort((one, other) => one.offset - other.offset);
  expect(named).toEqual(
    offsets.map(([offset, { leaseId, attempt }]) => ({ offset, leaseId, attempt })),
  );
}

test('does what a map from offset to state does, also when it is stored and loaded on the way', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60, size: 'max' }), (steps) => {
      const run = new Run();
      for (const chosen of steps) {
        run.apply(chosen);
        run.store();
        run.compare(chosen);
      }
    }),
    { numRuns: 150 },
  );
});

test('equal records give equal rows, whenever they were loaded in between', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60, size: 'max' }), (steps) => {
      const loaded = new Run();
      const kept = new Run();
      for (const chosen of steps) {
        loaded.apply(chosen);
        if (chosen.kind !== 'reload') kept.apply(chosen);
        loaded.store();
        kept.store();
        expect(loaded.progress.encode()).toEqual(kept.progress.encode());
        expect(loaded.rows).toEqual(kept.rows);
      }
    }),
    { numRuns: 100 },
  );
});
