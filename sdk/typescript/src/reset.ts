// What a reset of a group's progress comes to.

import type { StartPoint } from './message.ts';

/** Where a group's progress shall be set: a place, an offset, or so many messages from where it is. */
export type ResetTarget = StartPoint | { readonly shift: number };

/** What a reset does to one queue. */
export interface ResetStep {
  readonly broker: string;
  readonly queueId: number;
  readonly before: number | undefined;
  readonly after: number;
}

interface Place {
  readonly broker: string;
  readonly queueId: number;
  readonly offset: number;
}

/**
 * The steps of a reset; each stays within its queue. The lists of places are of the same queues, in the same order.
 *
 * @param shift messages from where the group is; undefined to go to the targets
 */
export function resetSteps(
  shift: number | undefined,
  found: {
    readonly progress: readonly { broker: string; queueId: number; floorOffset: number }[];
    readonly begins: readonly Place[];
    readonly ends: readonly Place[];
    readonly targets: readonly Place[];
  },
): ResetStep[] {
  const { progress, begins, ends, targets } = found;
  const before = new Map(progress.map((one) => [`${one.broker} ${one.queueId}`, one.floorOffset]));
  return targets.map(({ broker, queueId, offset }, index) => {
    const from = before.get(`${broker} ${queueId}`);
    const wanted = shift === undefined ? offset : (from ?? offset) + shift;
    const [begin, end] = [begins[index]?.offset ?? 0, ends[index]?.offset ?? 0];
    return { broker, queueId, before: from, after: Math.min(Math.max(wanted, begin), end) };
  });
}
