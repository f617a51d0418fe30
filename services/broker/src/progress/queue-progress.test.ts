import { TernError } from '@ternmq/runtime';
import { describe, expect, test } from 'vitest';
import { LEASES_MAX, PASSED_RANGES_MAX, QueueProgress, UNSETTLED_MAX } from './queue-progress.ts';

/** Progress in which one consumer has [0, count) under lease 7 until 1000. */
function leased(count: number): QueueProgress {
  const progress = new QueueProgress();
  progress.lease(0, count, 7, 1000, 'a', true);
  return progress;
}

/** As it is after its rows were stored and loaded. */
function reloaded(progress: QueueProgress): QueueProgress {
  const copy = QueueProgress.decode(progress.encode());
  for (const offset of progress.retryOffsets()) {
    const row = progress.encodeRetry(offset);
    if (row !== undefined) copy.decodeRetry(offset, row);
  }
  return copy;
}

describe('first deliveries', () => {
  test('a lease moves next and holds the floor', () => {
    const progress = leased(10);
    expect([progress.floor, progress.next, progress.inFlight]).toEqual([0, 10, 10]);
    expect(progress.dirty).toBe(true);
  });

  test('a lease that does not begin at next changes nothing', () => {
    const progress = leased(10);
    expect(progress.lease(11, 12, 8, 1000, 'a', true)).toBe(false);
    expect(progress.lease(9, 12, 8, 1000, 'a', true)).toBe(false);
    expect(progress.lease(10, 10, 8, 1000, 'a', true)).toBe(false);
    expect(progress.next).toBe(10);
  });

  test('messages that the filter does not match are settled with the lease', () => {
    const progress = new QueueProgress();
    // Offsets 0, 1, 3 and 9 do not match; the bit of 10 lies behind the lease.
    progress.lease(0, 10, 7, 1000, 'a', true, Uint8Array.of(0b0000_1011, 0b0000_0110));
    expect([progress.floor, progress.inFlight]).toEqual([2, 6]);
    expect(progress.affectedBy('acknowledge', 0, 10, 7)).toEqual([
      { first: 2, end: 3, leaseId: 7, attempt: 1 },
      { first: 4, end: 9, leaseId: 7, attempt: 1 },
    ]);
    expect(progress.acknowledge(0, 10, 7)).toBe(6);
    expect(progress.floor).toBe(10);
  });

  test('a lease of nothing that matches only moves floor and next', () => {
    const progress = new QueueProgress();
    progress.lease(0, 5, 7, 1000, 'a', true, Uint8Array.of(0b11111));
    expect([progress.floor, progress.next, progress.inFlight]).toEqual([5, 5, 0]);
    expect(progress.nextDeadline()).toBe(Infinity);
  });
});

describe('acknowledgements', () => {
  test('the floor follows what is acknowledged without a gap', () => {
    const progress = leased(10);
    expect(progress.acknowledge(4, 6, 7)).toBe(2);
    expect([progress.floor, progress.passedRanges]).toEqual([0, 1]);
    expect(progress.acknowledge(0, 4, 7)).toBe(4);
    expect([progress.floor, progress.passedRanges, progress.inFlight]).toEqual([6, 0, 4]);
  });

  test('acknowledging twice, or under any id, is harmless once it is settled', () => {
    const progress = leased(10);
    progress.acknowledge(0, 10, 7);
    expect(progress.check(0, 10, 7)).toBe('ALREADY_SETTLED');
    expect(progress.check(3, 4, 99)).toBe('ALREADY_SETTLED');
    expect(progress.acknowledge(0, 10, 7)).toBe(0);
  });

  test('one range may span several leases of one delivery and what is settled between', () => {
    const progress = leased(3);
    progress.retry(0, 1, 7, 0);
    progress.acknowledge(1, 3, 7);
    progress.leaseRetry(0, 8, 1000, 'a', true);
    progress.lease(3, 6, 8, 1000, 'a', true);
    expect(progress.check(0, 6, 8)).toBe('ok');
    expect(progress.acknowledge(0, 6, 8)).toBe(4);
    expect([progress.floor, progress.inFlight]).toEqual([6, 0]);
  });

  test('what was not delivered cannot be settled', () => {
    const progress = leased(10);
    expect(progress.check(9, 11, 7)).toBe('NOT_DELIVERED');
    expect(progress.check(5, 5, 7)).toBe('NOT_DELIVERED');
    expect(progress.check(6, 5, 7)).toBe('NOT_DELIVERED');
    expect(progress.acknowledge(10, 20, 7)).toBe(0);
  });

  test('another lease id settles nothing', () => {
    const progress = leased(10);
    expect(progress.check(0, 10, 8)).toBe('LEASE_EXPIRED');
    expect(progress.acknowledge(0, 10, 8)).toBe(0);
    expect(progress.inFlight).toBe(10);
  });

  test('a late one counts until the message is delivered again', () => {
    const progress = leased(2);
    progress.retry(0, 2, 7, 5000);
    expect(progress.check(0, 1, 7)).toBe('ok');
    expect(progress.acknowledge(0, 1, 7)).toBe(1);
    expect(progress.waitingForRetry).toBe(1);
    progress.leaseRetry(1, 8, 9000, 'b', true);
    expect(progress.check(1, 2, 7)).toBe('LEASE_EXPIRED');
    expect(progress.acknowledge(1, 2, 7)).toBe(0);
    expect(progress.check(1, 2, 8)).toBe('ok');
  });

  test('the part of a range that is still held is known when the rest is not', () => {
    const progress = leased(4);
    progress.retry(1, 2, 7, 0);
    progress.leaseRetry(1, 8, 2000, 'b', true);
    expect(progress.check(0, 4, 7)).toBe('LEASE_EXPIRED');
    expect(progress.affectedBy('acknowledge', 0, 4, 7)).toEqual([
      { first: 0, end: 1, leaseId: 7, attempt: 1 },
      { first: 2, end: 4, leaseId: 7, attempt: 1 },
    ]);
  });
});

describe('retries', () => {
  test('a failed message no longer holds the floor', () => {
    const progress = leased(3);
    progress.retry(0, 1, 7, 5000);
    expect([progress.floor, progress.inFlight, progress.waitingForRetry]).toEqual([1, 2, 1]);
    expect(progress.check(0, 1, 7, 'retry')).toBe('ALREADY_SETTLED');
    expect(progress.retry(0, 1, 7, 1)).toBe(0);
    expect(progress.nextRetryDue()).toBe(5000);
  });

  test('are due by time and then by offset, at most as many as wanted', () => {
    const progress = leased(6);
    progress.retry(4, 5, 7, 100);
    progress.retry(2, 4, 7, 300);
    progress.retry(0, 2, 7, 200);
    progress.retry(5, 6, 7, 200);
    const offsets = (nowMs: number, max: number): number[] =>
      progress.dueRetries(nowMs, max).map(({ offset }) => offset);
    expect(offsets(99, 10)).toEqual([]);
    expect(offsets(200, 10)).toEqual([4, 0, 1, 5]);
    expect(offsets(300, 10)).toEqual([4, 0, 1, 5, 2, 3]);
    expect(offsets(300, 3)).toEqual([4, 0, 1]);
    expect(offsets(300, 0)).toEqual([]);
    expect(progress.nextRetryDue()).toBe(100);
  });

  test('each delivery counts as an attempt', () => {
    const progress = leased(1);
    progress.retry(0, 1, 7, 10);
    expect(progress.dueRetries(10, 1)).toEqual([{ offset: 0, attempt: 1 }]);
    expect(progress.leaseRetry(0, 8, 2000, 'b', false)).toBe(true);
    expect(progress.nextRetryDue()).toBe(Infinity);
    expect(progress.dueLeases(2000, false)).toEqual([{ first: 0, end: 1, leaseId: 8, attempt: 2 }]);
    progress.retry(0, 1, 8, 20);
    expect(progress.dueRetries(20, 1)).toEqual([{ offset: 0, attempt: 2 }]);
  });

  test('a delivery that was given back does not count, and is due at once', () => {
    const progress = leased(2);
    expect(progress.giveBack(0, 2, 7)).toBe(2);
    expect(progress.dueRetries(0, 9)).toEqual([
      { offset: 0, attempt: 0 },
      { offset: 1, attempt: 0 },
    ]);
    progress.leaseRetry(0, 8, 2000, 'b', true);
    progress.retry(0, 1, 8, 0);
    progress.leaseRetry(0, 9, 3000, 'c', true);
    progress.giveBack(0, 1, 9);
    expect(progress.dueRetries(0, 1)).toEqual([{ offset: 0, attempt: 1 }]);
    expect(progress.giveBack(0, 1, 9)).toBe(0);
    expect(progress.dueRetries(0, 1)).toEqual([{ offset: 0, attempt: 1 }]);
  });

  test('only a waiting message is leased again', () => {
    const progress = leased(2);
    expect(progress.leaseRetry(0, 8, 2000, 'b', true)).toBe(false);
    progress.retry(0, 1, 7, 0);
    progress.leaseRetry(0, 8, 2000, 'b', true);
    expect(progress.leaseRetry(0, 9, 2000, 'b', true)).toBe(false);
    expect(progress.leaseRetry(5, 9, 2000, 'b', true)).toBe(false);
    expect(progress.check(0, 1, 8)).toBe('ok');
  });

  test('a message that moved to the dead letters is gone, wherever it was', () => {
    const progress = leased(3);
    progress.retry(0, 1, 7, 10);
    expect(progress.remove(0)).toBe(true);
    expect(progress.remove(1)).toBe(true);
    expect(progress.remove(1)).toBe(false);
    expect(progress.remove(3)).toBe(false);
    expect([progress.floor, progress.inFlight, progress.waitingForRetry]).toEqual([2, 1, 0]);
  });
});

describe('deadlines', () => {
  test('a lease that has ended stays until a record says what follows', () => {
    const progress = leased(3);
    progress.acknowledge(1, 2, 7);
    expect(progress.nextDeadline()).toBe(1000);
    expect(progress.dueLeases(999, true)).toEqual([]);
    const due = [
      { first: 0, end: 1, leaseId: 7, attempt: 1 },
      { first: 2, end: 3, leaseId: 7, attempt: 1 },
    ];
    expect(progress.dueLeases(1000, true)).toEqual(due);
    expect(progress.dueLeases(1000, true)).toEqual(due);
    expect(progress.inFlight).toBe(2);
  });

  test('a part of a lease can be extended', () => {
    const progress = leased(10);
    progress.extend(3, 6, 7, 5000);
    expect(progress.dueLeases(1000, true)).toEqual([
      { first: 0, end: 3, leaseId: 7, attempt: 1 },
      { first: 6, end: 10, leaseId: 7, attempt: 1 },
    ]);
    progress.retry(0, 10, 7, 0);
    expect(progress.waitingForRetry).toBe(10);
  });

  test('extending message by message gives the lease of the whole back', () => {
    const progress = leased(10);
    const whole = new QueueProgress();
    whole.lease(0, 10, 7, 5000, 'a', true);
    for (const offset of [5, 0, 9, 1, 4, 3, 2, 8, 7, 6]) {
      progress.extend(offset, offset + 1, 7, 5000);
    }
    expect(progress.encode()).toEqual(whole.encode());
  });

  test('extending reaches messages that are delivered again, but not those that wait', () => {
    const progress = leased(2);
    progress.retry(0, 2, 7, 0);
    expect(progress.check(0, 1, 7, 'extend')).toBe('LEASE_EXPIRED');
    progress.leaseRetry(0, 8, 1000, 'b', true);
    expect(progress.check(0, 1, 8, 'extend')).toBe('ok');
    progress.extend(0, 2, 8, 4000);
    expect(progress.dueLeases(3999, true)).toEqual([]);
    expect(progress.nextDeadline()).toBe(4000);
    expect(progress.waitingForRetry).toBe(1);
  });

  test('the next deadline becomes exact when leases are looked at', () => {
    const progress = leased(1);
    progress.lease(1, 2, 8, 3000, 'a', true);
    progress.acknowledge(0, 1, 7);
    expect(progress.nextDeadline()).toBeLessThanOrEqual(3000);
    expect(progress.dueLeases(1000, true)).toEqual([]);
    expect(progress.nextDeadline()).toBe(3000);
    progress.acknowledge(1, 2, 8);
    expect(progress.nextDeadline()).toBe(Infinity);
  });

  test('the leases of a consumer are known, also only those of its stream', () => {
    const progress = leased(3);
    progress.lease(3, 4, 8, 1000, 'a', false);
    progress.lease(4, 5, 9, 1000, 'b', true);
    progress.retry(1, 2, 7, 0);
    progress.leaseRetry(1, 10, 2000, 'a', false);
    expect(progress.leasesOf('a', true)).toEqual([
      { first: 0, end: 1, leaseId: 7, attempt: 1 },
      { first: 2, end: 3, leaseId: 7, attempt: 1 },
    ]);
    expect(progress.leasesOf('a', false)).toHaveLength(4);
    expect(progress.leasesOf('c', false)).toEqual([]);
    expect(progress.streamingConsumers().sort()).toEqual(['a', 'b']);
  });
});

describe('offsets set from outside', () => {
  test('setting progress drops leases, settled messages and retries', () => {
    const progress = leased(10);
    progress.acknowledge(5, 6, 7);
    progress.retry(0, 1, 7, 10);
    progress.takeDirtyRetries();
    progress.set(3);
    expect([progress.floor, progress.next, progress.inFlight, progress.waitingForRetry]).toEqual([
      3, 3, 0, 0,
    ]);
    expect(progress.takeDirtyRetries()).toEqual([0]);
    expect(progress.encodeRetry(0)).toBeUndefined();
    expect(progress.check(5, 6, 7)).toBe('NOT_DELIVERED');
    expect(progress.lease(3, 5, 20, 1000, 'a', true)).toBe(true);
  });

  test('trimming settles what lies below and keeps the rest', () => {
    const progress = leased(10);
    progress.retry(1, 2, 7, 10);
    progress.retry(6, 7, 7, 20);
    progress.trim(5);
    expect([progress.floor, progress.next, progress.inFlight, progress.waitingForRetry]).toEqual([
      5, 10, 4, 1,
    ]);
    expect(progress.acknowledge(0, 10, 7)).toBe(5);
    expect(progress.floor).toBe(10);
  });

  test('trimming below the floor drops the retries there', () => {
    const progress = leased(3);
    progress.retry(0, 3, 7, 10);
    progress.trim(2);
    expect([progress.floor, progress.next, progress.waitingForRetry]).toEqual([3, 3, 1]);
  });

  test('trimming beyond everything leaves idle progress', () => {
    const progress = leased(3);
    progress.trim(100);
    expect([progress.floor, progress.next, progress.inFlight]).toEqual([100, 100, 0]);
    expect(progress.lease(100, 101, 8, 1000, 'a', true)).toBe(true);
  });
});

describe('bounds', () => {
  test('too many separate settled ranges stop further leases', () => {
    const progress = leased(2 * PASSED_RANGES_MAX + 1);
    for (let offset = 1; offset < 2 * PASSED_RANGES_MAX; offset += 2) {
      expect(progress.canLeaseMore).toBe(true);
      progress.acknowledge(offset, offset + 1, 7);
    }
    expect(progress.canLeaseMore).toBe(false);
    progress.acknowledge(0, 1, 7);
    expect(progress.canLeaseMore).toBe(true);
  });

  test('too many leases stop further ones', () => {
    const progress = new QueueProgress();
    for (let offset = 0; offset < LEASES_MAX; offset++) {
      expect(progress.canLeaseMore).toBe(true);
      progress.lease(offset, offset + 1, offset + 1, 1000, 'a', true);
    }
    expect(progress.canLeaseMore).toBe(false);
    progress.acknowledge(500, 501, 501);
    expect(progress.canLeaseMore).toBe(true);
  });

  test('too many unsettled messages stop further leases, whether held or waiting', () => {
    const progress = leased(UNSETTLED_MAX);
    expect(progress.canLeaseMore).toBe(false);
    progress.retry(0, UNSETTLED_MAX, 7, 10);
    expect(progress.canLeaseMore).toBe(false);
    progress.acknowledge(0, 1, 7);
    expect(progress.canLeaseMore).toBe(true);
  });

  test('a settlement of a huge range costs what is unsettled, and not its length', () => {
    const progress = new QueueProgress();
    progress.set(2 ** 50);
    progress.lease(2 ** 50, 2 ** 50 + 3, 7, 1000, 'a', true);
    progress.retry(2 ** 50 + 1, 2 ** 50 + 2, 7, 10);
    expect(progress.check(0, 2 ** 50 + 3, 7)).toBe('ok');
    expect(progress.acknowledge(0, 2 ** 50 + 3, 7)).toBe(3);
  });
});

describe('rows', () => {
  test('idle progress is a few bytes', () => {
    const progress = new QueueProgress();
    progress.set(1_000_000);
    expect(progress.encode().length).toBeLessThan(10);
    expect(reloaded(progress).next).toBe(1_000_000);
  });

  test('loading gives what was stored', () => {
    const progress = leased(10);
    progress.lease(10, 20, 2 ** 52, 2 ** 45, 'größer', false);
    progress.acknowledge(5, 8, 7);
    progress.acknowledge(0, 2, 7);
    progress.retry(3, 5, 7, 1234);
    progress.leaseRetry(3, 9, 4321, 'b', true);
    const copy = reloaded(progress);
    expect(copy.encode()).toEqual(progress.encode());
    expect(copy.dirty).toBe(false);
    expect(copy.takeDirtyRetries()).toEqual([]);
    for (const streaming of [true, false]) {
      expect(copy.dueLeases(5000, streaming)).toEqual(progress.dueLeases(5000, streaming));
    }
    expect(copy.dueRetries(5000, 9)).toEqual([{ offset: 4, attempt: 1 }]);
    expect(copy.leasesOf('größer', false)).toHaveLength(1);
    expect(copy.leasesOf('größer', true)).toEqual([]);
    expect(copy.inFlight).toBe(progress.inFlight);
  });

  test('only what a change touches is dirty', () => {
    const progress = leased(3);
    progress.dirty = false;
    progress.retry(0, 2, 7, 10);
    expect(progress.dirty).toBe(true);
    expect(progress.takeDirtyRetries()).toEqual([0, 1]);
    progress.dirty = false;
    progress.leaseRetry(1, 8, 1000, 'a', true);
    progress.acknowledge(0, 1, 7);
    expect(progress.dirty).toBe(false);
    expect(progress.takeDirtyRetries().sort()).toEqual([0, 1]);
    expect(progress.encodeRetry(0)).toBeUndefined();
    expect(progress.encodeRetry(1)).toBeDefined();
    progress.check(0, 3, 8);
    progress.acknowledge(0, 1, 7);
    expect(progress.dirty).toBe(false);
    expect(progress.takeDirtyRetries()).toEqual([]);
  });

  test('rows of deleted retries are named until they were taken', () => {
    const progress = leased(2);
    progress.retry(0, 2, 7, 10);
    progress.takeDirtyRetries();
    progress.acknowledge(0, 1, 7);
    expect(progress.retryOffsets().sort()).toEqual([0, 1]);
    progress.takeDirtyRetries();
    expect(progress.retryOffsets()).toEqual([1]);
  });

  test('a row that is cut short anywhere is refused', () => {
    const progress = leased(10);
    progress.acknowledge(5, 8, 7);
    progress.retry(1, 2, 7, 1234);
    progress.leaseRetry(1, 8, 1000, 'b', true);
    const row = progress.encode();
    for (let length = 0; length < row.length; length++) {
      expect(() => QueueProgress.decode(row.subarray(0, length))).toThrow(TernError);
    }
    const retry = progress.encodeRetry(1) as Buffer;
    for (let length = 0; length < retry.length; length++) {
      const copy = QueueProgress.decode(row);
      expect(() => copy.decodeRetry(1, retry.subarray(0, length))).toThrow(TernError);
    }
  });

  test('a row says who has set the progress last, and one of an older broker says nobody', () => {
    const progress = leased(2);
    progress.generation = 2 ** 52 + 1;
    expect(QueueProgress.decode(progress.encode()).generation).toBe(2 ** 52 + 1);
    expect(QueueProgress.decode(Uint8Array.of(1, 3, 0, 0, 0, 0))).toMatchObject({
      generation: 0,
      floor: 3,
    });
  });

  test('a row that contradicts itself or another is refused', () => {
    const retried = leased(1);
    retried.retry(0, 1, 7, 10);
    const retry = retried.encodeRetry(0) as Buffer;
    expect(() => leased(3).decodeRetry(2, retry)).toThrow('offset 2 is not passed');
    expect(() => leased(3).decodeRetry(3, retry)).toThrow('offset 3 is not passed');
    // version, floor, next - floor, ranges, consumers, leases
    expect(() => QueueProgress.decode(Uint8Array.of(3, 0, 0, 0, 0, 0))).toThrow('version');
    expect(() => QueueProgress.decode(Uint8Array.of(1, 0, 5, 0, 0, 0))).toThrow('outstanding');
    expect(() => QueueProgress.decode(Uint8Array.of(1, 0, 5, 1, 0, 2, 0, 0))).toThrow('touch');
    expect(() => QueueProgress.decode(Uint8Array.of(1, 0, 5, 1, 1, 9, 0, 0))).toThrow('behind');
    const lease = [1, 0, 1, 0, 1, 1, 97, 1, 0, 1, 7, 9];
    expect(QueueProgress.decode(Uint8Array.of(...lease, 0)).inFlight).toBe(1);
    expect(() => QueueProgress.decode(Uint8Array.of(...lease, 2))).toThrow('no consumer');
    expect(() => QueueProgress.decode(Uint8Array.of(...lease, 0, 0))).toThrow('behind its end');
  });
});
