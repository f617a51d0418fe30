// Sets how far a group is. Members that pull set it again and again, and somebody else may at any time: what a member
// commits counts only while the queue is its own and nobody else has set the progress since the member heard of it.

import type { RefusedOffset } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import type { Random } from '@ternmq/runtime';
import type { Assignments } from '../assignment/assignments.ts';
import type { Delivery } from '../delivery/delivery.ts';
import type { SetOffset } from '../delivery/offsets.ts';
import type { BrokerState } from '../state/broker-state.ts';
import { type Group, generationOf, type TopicProgress } from '../state/groups.ts';
import type { Topic } from '../state/topics.ts';

/** Random generations are at least this; below are the numbers of progress. */
const GENERATION_MIN = 2 ** 32;

/** What setting takes. */
export interface SetModules {
  readonly delivery: Delivery;
  readonly assignments: Assignments;
  readonly random: Random;
}

/**
 * Sets the progress on behalf of an operator: consumers and members that pull go on from there.
 *
 * @param target.progress the group's own in the topic
 */
export function resetProgress(
  { delivery, assignments, random }: SetModules,
  { group, topic, progress }: { group: Group; topic: Topic; progress: TopicProgress },
  offsets: readonly SetOffset[],
): void {
  const generation = GENERATION_MIN + random.integer(Number.MAX_SAFE_INTEGER - GENERATION_MIN);
  delivery.setOffsets(progress, offsets, generation);
  assignments.find(group, topic)?.progressSet(offsets.map(({ queueId }) => queueId));
}

/** Sets the progress where the member of a session may; returns where it may not. */
export function commitOfMember(
  { delivery, assignments, state }: SetModules & { state: BrokerState },
  { group, topic }: { group: Group; topic: Topic },
  offsets: readonly (SetOffset & { readonly generation: number })[],
  session: number,
): RefusedOffset[] {
  const assignment = assignments.find(group, topic);
  const progress = state.groups.progressIn(group, topic.id, '');
  const refused: RefusedOffset[] = [];
  const accepted = offsets.filter(({ queueId, generation }) => {
    const owned = progress !== undefined && assignment?.has(session, queueId) === true;
    if (owned && generation === generationOf(progress, queueId)) return true;
    refused.push(owned ? wasReset(queueId) : notOwned(queueId));
    return false;
  });
  if (progress !== undefined && accepted.length > 0) delivery.setOffsets(progress, accepted, 0);
  return refused;
}

function wasReset(queueId: number): RefusedOffset {
  return {
    $typeName: 'ternmq.broker.v1.RefusedOffset',
    queueId,
    reason: 'OFFSET_WAS_RESET',
    message: `the group's progress in queue ${queueId} was set by somebody else meanwhile; go on where the stream says`,
  };
}

function notOwned(queueId: number): RefusedOffset {
  return {
    $typeName: 'ternmq.broker.v1.RefusedOffset',
    queueId,
    reason: 'QUEUE_NOT_OWNED',
    message: `queue ${queueId} is not assigned to the stream of this session; go on when a stream assigns it`,
  };
}
