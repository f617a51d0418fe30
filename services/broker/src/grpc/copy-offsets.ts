// CopyOffsets: sets how far one group is to how far another one is.

import type {
  CopiedOffset,
  CopiedOffsets,
  CopyOffsetsRequest,
  CopyOffsetsResponse,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { TernError } from '@ternmq/runtime';
import type { GroupCatalog } from '../catalog/group-catalog.ts';
import type { TopicCatalog } from '../catalog/topic-catalog.ts';
import type { CommitLog } from '../log/commit-log.ts';
import type { BrokerState } from '../state/broker-state.ts';
import { type Group, queueProgress, type TopicProgress } from '../state/groups.ts';
import { nextKept } from '../state/kept-messages.ts';
import type { Topic } from '../state/topics.ts';
import { resetProgress, type SetModules } from './set-progress.ts';

const BEGIN = {
  case: 'begin',
  value: { $typeName: 'ternmq.message.v1.OffsetTarget.Begin' },
} as const;

/** The RPC; answered when it is durable. */
export function copyOffsets(
  modules: SetModules & {
    topics: TopicCatalog;
    groups: GroupCatalog;
    state: BrokerState;
    log: CommitLog;
  },
): (request: CopyOffsetsRequest) => Promise<CopyOffsetsResponse> {
  const { topics, groups, delivery, state, log } = modules;
  return async ({ fromGroup, toGroup, topic: name, dryRun }) => {
    const source = groups.get(fromGroup);
    if (fromGroup === toGroup) {
      throw new TernError(
        'INVALID_ARGUMENT',
        'SAME_GROUP',
        `group ${fromGroup} would be copied to itself; name another group to copy to`,
        { fields: [{ field: 'to_group', description: 'must not be from_group' }] },
      );
    }
    const sources = progressOf(source, name === '' ? undefined : topics.get(name), state);
    const target = state.groups.find(toGroup);
    const copied = sources.map(({ topic, progress }) => {
      const known = target && state.groups.progressIn(target, topic.id, '');
      return { topic, queues: copiedOffsets(state, topic, progress, known) };
    });
    if (!dryRun) {
      const group = groups.getOrCreate(toGroup);
      for (const { topic, queues } of copied) {
        const progress = await delivery.begin(group, topic, '', BEGIN);
        const offsets = queues.map(({ queueId, after }) => ({ queueId, offset: Number(after) }));
        resetProgress(modules, { group, topic, progress }, offsets);
      }
      await log.keptAt(log.next);
    }
    return {
      $typeName: 'ternmq.broker.v1.CopyOffsetsResponse',
      topics: copied.map(
        ({ topic, queues }): CopiedOffsets => ({
          $typeName: 'ternmq.broker.v1.CopiedOffsets',
          topic: topic.name,
          queues,
        }),
      ),
    };
  };
}

/** A group's own progress, by topic name. Throws NOT_FOUND (NO_PROGRESS) when there is none. */
function progressOf(
  group: Group,
  only: Topic | undefined,
  state: BrokerState,
): { topic: Topic; progress: TopicProgress }[] {
  const found: { topic: Topic; progress: TopicProgress }[] = [];
  for (const progress of group.progress.values()) {
    const topic = state.topics.findById(progress.topicId);
    if (topic === undefined || progress.consumerId !== '') continue;
    if (only === undefined || only === topic) found.push({ topic, progress });
  }
  if (found.length === 0) {
    const where = only === undefined ? 'any topic' : `topic ${only.name}`;
    throw new TernError(
      'NOT_FOUND',
      'NO_PROGRESS',
      `group ${group.name} has no progress in ${where} on this broker, so there is nothing to copy`,
      { metadata: { group: group.name } },
    );
  }
  return found.sort((one, other) => (one.topic.name < other.topic.name ? -1 : 1));
}

/** Messages that wait for a retry lie below the floor, and are not left out. */
function copiedOffsets(
  state: BrokerState,
  topic: Topic,
  from: TopicProgress,
  to: TopicProgress | undefined,
): CopiedOffset[] {
  return topic.queues.map((queue) => {
    const { oldestUnsettled } = queueProgress(from, queue.queueId);
    const after = Math.min(nextKept(state, queue, oldestUnsettled), queue.visibleEnd);
    return {
      $typeName: 'ternmq.broker.v1.CopiedOffset',
      queueId: queue.queueId,
      after: BigInt(after),
      ...(to === undefined ? {} : { before: BigInt(queueProgress(to, queue.queueId).floor) }),
    };
  });
}
