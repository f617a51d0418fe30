// Whether a group is used, as far as its consumers tell.

import { TernError } from '@ternmq/runtime';
import type { Group } from '../state/groups.ts';
import type { Delivery } from './delivery.ts';

/** Throws FAILED_PRECONDITION (GROUP_IN_USE) while a group has consumers, or so many members that pull. */
export function assertUnused(delivery: Delivery, group: Group, pulling: number): void {
  const count = delivery.consumersOf(group).size + pulling;
  if (count === 0) return;
  throw new TernError(
    'FAILED_PRECONDITION',
    'GROUP_IN_USE',
    `group ${group.name} has ${count} consumer${count === 1 ? '' : 's'}; stop them first`,
    { metadata: { group: group.name } },
  );
}
