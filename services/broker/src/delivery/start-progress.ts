// Starts the progress of a group, or of a broadcasting member of one, in a topic.

import type { OffsetTarget } from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import { TernError } from '@ternmq/runtime';
import type { GroupCatalog } from '../catalog/group-catalog.ts';
import type { TopicCatalog } from '../catalog/topic-catalog.ts';
import type { Group, TopicProgress } from '../state/groups.ts';
import type { StateLog } from '../state/state-log.ts';
import type { Topic } from '../state/topics.ts';
import type { OffsetFinder } from './offsets.ts';

/** Most broadcasting members of a group in a topic. */
export const MEMBERS_MAX = 4096;

/** Whose progress in what, and where it starts. */
export interface ProgressChoice {
  readonly group: Group;
  readonly topic: Topic;
  /** The broadcasting member; empty for the group itself. */
  readonly member: string;
  /** Where a new progress starts; at the end when absent. */
  readonly from: OffsetTarget['target'] | undefined;
}

/** What starting a progress takes. */
export interface StartModules {
  readonly stateLog: StateLog;
  readonly topics: TopicCatalog;
  readonly groups: GroupCatalog;
  readonly offsets: OffsetFinder;
}

/**
 * The progress; started when there is none. Throws RESOURCE_EXHAUSTED (TOO_MANY_MEMBERS), and NOT_FOUND when topic or
 * group are deleted meanwhile.
 */
export async function startProgress(
  { group, topic, member, from }: ProgressChoice,
  { stateLog, topics, groups, offsets: finder }: StartModules,
): Promise<TopicProgress> {
  const { state } = stateLog;
  const known = state.groups.progressIn(group, topic.id, member);
  if (known !== undefined) return known;
  const offsets = await Promise.all(
    topic.queues.map(async (queue) => ({
      $typeName: 'ternmq.broker.v1.QueueOffset' as const,
      queueId: queue.queueId,
      offset: BigInt(await finder.find(queue, from)),
    })),
  );
  const meanwhile = state.groups.progressIn(group, topic.id, member);
  if (meanwhile !== undefined) return meanwhile;
  // Looked up again: both may have been deleted while the offsets were found.
  topics.get(topic.name);
  groups.get(group.name);
  if (member !== '' && state.groups.membersIn(group, topic.id).length >= MEMBERS_MAX) {
    throw new TernError(
      'RESOURCE_EXHAUSTED',
      'TOO_MANY_MEMBERS',
      `group ${group.name} has ${MEMBERS_MAX} broadcasting members in topic ${topic.name}, which is the limit; give ` +
        "members the same consumer id whenever they come, and remove others with 'tern group forget'",
      { metadata: { group: group.name } },
    );
  }
  const progressId = state.groups.nextProgressId;
  stateLog.change({
    case: 'progressStarted',
    value: {
      $typeName: 'ternmq.log.v1.ProgressStarted',
      groupId: group.id,
      topicId: topic.id,
      consumerId: member,
      offsets,
      progressId,
      seenMs: 0n,
      tags: '',
      sql: '',
    },
  });
  return state.groups.findProgress(progressId) as TopicProgress;
}
