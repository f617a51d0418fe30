import { expect, test } from 'vitest';
import { LeaseList } from './lease-list.ts';

const all = (first: number, end: number): number => end - first;

function lease(first: number, end: number, leaseId: number) {
  const outstanding = end - first;
  return { first, end, leaseId, deadlineMs: 10, consumerId: 'a', streaming: true, outstanding };
}

test('leases are added in the order of their offsets only', () => {
  const list = new LeaseList();
  list.append(lease(5, 10, 1));
  expect(() => list.append(lease(9, 12, 2))).toThrow('in order');
  expect(() => list.append(lease(10, 10, 2))).toThrow('outstanding');
});

test('more cannot be settled than is outstanding', () => {
  const list = new LeaseList();
  const one = lease(0, 3, 1);
  list.append(one);
  expect(() => list.settle(one, 4)).toThrow('no more is settled');
});

test('leases of different deliveries side by side are never joined', () => {
  const list = new LeaseList();
  list.append(lease(0, 5, 1));
  list.append(lease(5, 10, 2));
  list.extend(0, 5, 1, 20, all);
  list.extend(5, 10, 2, 20, all);
  expect(list.all.map(({ first, end, leaseId }) => [first, end, leaseId])).toEqual([
    [0, 5, 1],
    [5, 10, 2],
  ]);
});

test('extending to the same time, under another id or elsewhere changes nothing', () => {
  const list = new LeaseList();
  list.append(lease(0, 5, 1));
  expect(list.extend(0, 5, 1, 10, all)).toBe(false);
  expect(list.extend(0, 5, 2, 20, all)).toBe(false);
  expect(list.extend(5, 9, 1, 20, all)).toBe(false);
  expect(list.earliestDeadlineMs).toBe(10);
});

test('an earlier time shortens a lease', () => {
  const list = new LeaseList();
  list.append(lease(0, 5, 1));
  expect(list.extend(0, 2, 1, 4, all)).toBe(true);
  expect(list.earliestDeadlineMs).toBe(4);
  expect(list.outstanding).toBe(5);
});
