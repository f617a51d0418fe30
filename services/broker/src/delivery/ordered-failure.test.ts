import { expect, test } from 'vitest';
import { QueueProgress } from '../progress/queue-progress.ts';
import type { UnsettledRange } from '../progress/unsettled-range.ts';
import { orderedFailure } from './ordered-failure.ts';

/** Keys by offset: 1 and 2, and 0 for none. */
const KEYS = [1, 2, 1, 0, 1, 0, 2];
const keyOf = (offset: number): number => KEYS[offset] ?? 0;

const offsets = (ranges: readonly UnsettledRange[]): number[] =>
  ranges
    .flatMap(({ first, end }) => Array.from({ length: end - first }, (_, i) => first + i))
    .sort((one, other) => one - other);

/** A queue whose messages are leased to one stream. */
function leased(): QueueProgress {
  const progress = new QueueProgress();
  progress.lease(0, KEYS.length, 10, 1000, 'c', true);
  return progress;
}

test('of each key the first message fails, later ones are taken back, and those of no key fail by themselves', () => {
  const progress = leased();
  const failing = progress.affectedBy('retry', 0, KEYS.length, 10);
  const { failed, back } = orderedFailure(progress, failing, keyOf);
  expect(offsets(failed)).toEqual([0, 1, 3, 5]);
  expect(offsets(back)).toEqual([2, 4, 6]);
});

test('what is leased behind a failed message is taken back though it did not fail, and nothing before it', () => {
  const progress = leased();
  const failing = progress.affectedBy('retry', 2, 3, 10);
  const { failed, back } = orderedFailure(progress, failing, keyOf);
  expect(offsets(failed)).toEqual([2]);
  expect(offsets(back)).toEqual([4]);
});

test('a message that is delivered again fails before newer ones of its key, however the leases are listed', () => {
  const progress = leased();
  progress.retry(0, 1, 10, 0);
  progress.leaseRetry(0, 20, 1000, 'c', true);
  const failing = progress.leasesOf('c', true);
  expect(failing[0]?.first).not.toBe(0);
  const { failed, back } = orderedFailure(progress, failing, keyOf);
  expect(offsets(failed)).toEqual([0, 1, 3, 5]);
  expect(offsets(back)).toEqual([2, 4, 6]);
  expect(failed[0]).toEqual({ first: 0, end: 1, leaseId: 20, attempt: 2 });
});

test('what has failed without a key takes nothing along', () => {
  const progress = leased();
  const failing = progress.affectedBy('retry', 3, 4, 10);
  const { failed, back } = orderedFailure(progress, failing, keyOf);
  expect(offsets(failed)).toEqual([3]);
  expect(back).toEqual([]);
});
