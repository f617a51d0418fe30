import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { mergeSettled, settledFrom } from './merge.ts';
import { QueueProgress } from './queue-progress.ts';

const step = fc.record({
  kind: fc.constantFrom('lease', 'lease', 'acknowledge', 'acknowledge', 'retry', 'leaseRetry'),
  pick: fc.nat(1000),
  length: fc.integer({ min: 1, max: 9 }),
});
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;
const steps = fc.array(step, { maxLength: 40, size: 'max' });

/** Goes on with a progress; leases of two members of a group never have the same number. */
function live(progress: QueueProgress, list: readonly Step[], leaseBase: number): void {
  let leaseId = leaseBase;
  for (const { kind, pick, length } of list) {
    const { next } = progress;
    const first = pick % (next + 1);
    if (kind === 'lease') progress.lease(next, next + length, leaseId++, 50, 'c', true);
    else if (kind === 'leaseRetry') {
      const [due] = progress.dueRetries(100, 1);
      if (due !== undefined) progress.leaseRetry(due.offset, leaseId++, 50, 'c', true);
    } else {
      const ranges = progress.leasedRanges().filter(({ end }) => end > first);
      const range = ranges[0];
      if (range === undefined) continue;
      const end = Math.min(range.end, range.first + length);
      if (kind === 'retry') progress.retry(range.first, end, range.leaseId, pick % 100);
      else progress.acknowledge(range.first, end, range.leaseId);
    }
  }
}

function copyOf(progress: QueueProgress): QueueProgress {
  const copy = QueueProgress.decode(progress.encode());
  for (const offset of progress.retryOffsets()) {
    const row = progress.encodeRetry(offset);
    if (row !== undefined) copy.decodeRetry(offset, row);
  }
  return copy;
}

function settledSet(progress: QueueProgress): Set<number> {
  const unsettled = new Set(progress.unsettledOffsets());
  const all = Array.from({ length: progress.next }, (_, offset) => offset);
  return new Set(all.filter((offset) => !unsettled.has(offset)));
}

describe('merging what was settled elsewhere', () => {
  test('settles what either side has settled and nothing else, and leaves everything else to be delivered', () => {
    fc.assert(
      fc.property(steps, steps, steps, (before, here, there) => {
        const progress = new QueueProgress();
        live(progress, before, 100);
        const fork = copyOf(progress);
        const from = fork.oldestUnsettled;
        live(fork, there, 5000);
        live(progress, here, 1000);
        const wanted = new Set([...settledSet(progress), ...settledSet(fork)]);
        const next = Math.max(progress.next, Math.max(0, ...settledSet(fork)) + 1);
        const bounds = settledFrom(fork, from);
        mergeSettled(progress, bounds, 9000);
        expect(settledSet(progress)).toEqual(wanted);
        expect(progress.next).toBe(wanted.size === 0 ? progress.next : next);
        // Whatever is left is leased, and ends, or waits and comes.
        const coming = progress
          .dueRetries(Number.MAX_SAFE_INTEGER - 2, 1e6)
          .map((due) => due.offset);
        const leased = progress
          .leasedRanges()
          .flatMap(({ first, end }) => Array.from({ length: end - first }, (_, i) => first + i));
        const left = Array.from({ length: progress.next }, (_, offset) => offset).filter(
          (offset) => !wanted.has(offset),
        );
        expect([...coming, ...leased].sort((a, b) => a - b)).toEqual(left);
        const rows = [
          progress.encode(),
          progress.retryOffsets().map((at) => progress.encodeRetry(at)),
        ];
        mergeSettled(progress, bounds, 9500);
        expect([
          progress.encode(),
          progress.retryOffsets().map((at) => progress.encodeRetry(at)),
        ]).toEqual(rows);
      }),
      { numRuns: 300 },
    );
  });

  test('delivers what lies between at once, as if for the first time', () => {
    const progress = new QueueProgress();
    mergeSettled(progress, [0, 3, 5, 8], 77);
    expect(progress).toMatchObject({ floor: 8, next: 8, oldestUnsettled: 3 });
    expect(progress.dueRetries(0, 10)).toEqual([
      { offset: 3, attempt: 0 },
      { offset: 4, attempt: 0 },
    ]);
  });
});
