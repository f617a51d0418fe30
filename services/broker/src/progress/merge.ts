// Takes for settled what a group has settled elsewhere, in a copy of this progress that has gone on by itself.

import { mark } from './marks.ts';
import type { QueueProgress } from './queue-progress.ts';

/** What is settled from an offset on: from, to, from, to, … */
export function settledFrom(progress: QueueProgress, from: number): number[] {
  const unsettled = progress.unsettledOffsets().sort((one, other) => one - other);
  const bounds: number[] = [];
  let begin = from;
  for (const offset of unsettled) {
    if (offset < from) continue;
    if (offset > begin) bounds.push(begin, offset);
    begin = offset + 1;
  }
  if (progress.next > begin) bounds.push(begin, progress.next);
  return bounds;
}

/**
 * Messages are settled, whoever has a lease of them. What was never delivered and lies before the last of them is to be
 * delivered at once; it waits in the retry table, with no delivery counted.
 *
 * @param bounds from, to, from, to, …: ranges in their order, which do not touch
 * @param position of the record, in the place of a lease id
 */
export function mergeSettled(
  progress: QueueProgress,
  bounds: readonly number[],
  position: number,
): void {
  for (const { first, end, leaseId } of progress.leasedRanges()) {
    for (let at = rangeBehind(bounds, first); at < bounds.length; at += 2) {
      const from = Math.max(first, bounds[at] as number);
      const to = Math.min(end, bounds[at + 1] as number);
      if (from >= to) break;
      progress.acknowledge(from, to, leaseId);
    }
  }
  const waiting: number[] = [];
  progress.forEachUnsettled((offset, leased) => {
    if (!leased && (bounds[rangeBehind(bounds, offset)] ?? Infinity) <= offset) {
      waiting.push(offset);
    }
  });
  for (const offset of waiting) progress.remove(offset);
  passOver(progress, bounds, position);
  // Who holds which ordering key is found anew: messages wait that were never handed out.
  progress.observer?.reset();
}

function passOver(progress: QueueProgress, bounds: readonly number[], position: number): void {
  const first = progress.next;
  const end = bounds.at(-1) ?? 0;
  if (end <= first) return;
  const left: number[] = [];
  let settled: Uint8Array | undefined;
  let waits: Uint8Array | undefined;
  let at = rangeBehind(bounds, first);
  for (let offset = first; offset < end; offset++) {
    if (offset >= (bounds[at + 1] as number)) at += 2;
    if (offset >= (bounds[at] as number)) settled = mark(settled, offset - first);
    else {
      waits = mark(waits, offset - first);
      left.push(offset);
    }
  }
  progress.lease(first, end, position, 0, '', false, settled, waits);
  for (const offset of left) progress.resume(offset, 0);
}

/** Index of the first range that ends behind an offset; behind the last range when there is none. */
function rangeBehind(bounds: readonly number[], offset: number): number {
  let low = 0;
  let high = bounds.length / 2;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((bounds[2 * middle + 1] as number) <= offset) low = middle + 1;
    else high = middle;
  }
  return 2 * low;
}
