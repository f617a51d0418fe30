// What a failure means for an ordered group: of each ordering key only the first message of those that fail together has
// failed. The later ones of its key that are leased, together with it or not, are taken back, and count as not delivered.
// Pure.

import type { QueueProgress } from '../progress/queue-progress.ts';
import { addRange, type UnsettledRange } from '../progress/unsettled-range.ts';

/** Parts of failing messages and of those behind them. */
export interface OrderedFailure {
  /** What has failed. */
  readonly failed: UnsettledRange[];
  /** What is taken back. */
  readonly back: UnsettledRange[];
}

/**
 * Splits failing messages.
 *
 * @param failing leased messages, each once, in any order
 * @param keyOf hash of a message's ordering key; 0 for none
 */
export function orderedFailure(
  progress: QueueProgress,
  failing: readonly UnsettledRange[],
  keyOf: (offset: number) => number,
): OrderedFailure {
  const failed: UnsettledRange[] = [];
  const back: UnsettledRange[] = [];
  /** Offset of the first failing message, by key. */
  const firsts = new Map<number, number>();
  const inOrder = failing.toSorted((one, other) => one.first - other.first);
  for (const { first, end, leaseId, attempt } of inOrder) {
    for (let offset = first; offset < end; offset++) {
      const key = keyOf(offset);
      if (key !== 0 && firsts.has(key)) continue;
      if (key !== 0) firsts.set(key, offset);
      addRange(failed, offset, offset + 1, leaseId, attempt);
    }
  }
  if (firsts.size === 0) return { failed, back };
  for (const { first, end, leaseId, attempt } of progress.leasedRanges()) {
    for (let offset = first; offset < end; offset++) {
      const failedAt = firsts.get(keyOf(offset));
      if (failedAt !== undefined && offset > failedAt) {
        addRange(back, offset, offset + 1, leaseId, attempt);
      }
    }
  }
  return { failed, back };
}
