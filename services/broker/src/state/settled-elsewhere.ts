// What groups have settled at another member of the broker group, while it had no master.

import { create } from '@bufbuild/protobuf';
import {
  OffsetRangeSchema,
  type SettledElsewhere,
  SettledElsewhereSchema,
} from '@ternmq/proto/gen/ternmq/broker/v1/replication_pb';
import { mergeSettled } from '../progress/merge.ts';
import type { BrokerState } from './broker-state.ts';

/** As the API and the log tell it. @param bounds from, to, from, to, … */
export function settledElsewhere(
  progressId: number,
  queueId: number,
  bounds: readonly number[],
): SettledElsewhere {
  const ranges = [];
  for (let at = 0; at < bounds.length; at += 2) {
    const [firstOffset, endOffset] = [
      BigInt(bounds[at] as number),
      BigInt(bounds[at + 1] as number),
    ];
    ranges.push(create(OffsetRangeSchema, { firstOffset, endOffset }));
  }
  return create(SettledElsewhereSchema, { progressId, queueId, ranges });
}

/** From, to, from, to, … */
export function boundsOf({ ranges }: SettledElsewhere): number[] {
  return ranges.flatMap(({ firstOffset, endOffset }) => [Number(firstOffset), Number(endOffset)]);
}

/** Do ranges hold something each, in their order, without touching? */
export function isWellFormed(settled: SettledElsewhere): boolean {
  const bounds = boundsOf(settled);
  return bounds.every((bound, at) => bound > (bounds[at - 1] ?? -1));
}

/** What is left of it where a state knows the progress, and up to the messages that it has. */
export function clipSettled(
  list: readonly SettledElsewhere[],
  state: BrokerState,
): SettledElsewhere[] {
  return list.flatMap((one) => {
    const { progressId, queueId } = one;
    const progress = state.groups.findProgress(progressId);
    const end = state.topics.findById(progress?.topicId ?? 0)?.queues[queueId]?.next ?? 0;
    const bounds: number[] = [];
    const all = boundsOf(one);
    for (let at = 0; at < all.length && (all[at] as number) < end; at += 2) {
      bounds.push(all[at] as number, Math.min(end, all[at + 1] as number));
    }
    return bounds.length === 0 ? [] : [settledElsewhere(progressId, queueId, bounds)];
  });
}

/** Messages were settled elsewhere. */
export function applyMerged(state: BrokerState, merged: SettledElsewhere, position: number): void {
  const progress = state.groups.findProgress(merged.progressId);
  if (progress === undefined) return;
  mergeSettled(state.changeQueue(progress, merged.queueId), boundsOf(merged), position);
}
