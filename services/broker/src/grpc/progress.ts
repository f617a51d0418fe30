// Progress and offsets: GetOffset, CommitOffset, QueryOffset.

import type {
  CommitOffsetRequest,
  CommitOffsetResponse,
  GetOffsetRequest,
  GetOffsetResponse,
  QueryOffsetRequest,
  QueryOffsetResponse,
  QueueProgress as QueueProgressMessage,
  RefusedOffset,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { TernError } from '@ternmq/runtime';
import type { GroupCatalog } from '../catalog/group-catalog.ts';
import type { TopicCatalog } from '../catalog/topic-catalog.ts';
import type { Delivery } from '../delivery/delivery.ts';
import type { LagTimes } from '../delivery/lag-times.ts';
import type { MatchingLag, MatchingLags } from '../delivery/matching-lag.ts';
import { parseMessageFilter } from '../delivery/message-filter.ts';
import type { OffsetFinder } from '../delivery/offsets.ts';
import type { CommitLog } from '../log/commit-log.ts';
import type { BrokerState } from '../state/broker-state.ts';
import { queueProgress, type TopicProgress } from '../state/groups.ts';
import { countKept, firstKept } from '../state/kept-messages.ts';
import type { Topic } from '../state/topics.ts';
import { findQueue } from './pull.ts';
import { commitOfMember, resetProgress, type SetModules } from './set-progress.ts';

/** How far a progress is in each queue of its topic. */
export async function queueProgressMessages(
  state: BrokerState,
  { lagTimes, matchingLag }: { lagTimes: LagTimes; matchingLag: MatchingLags },
  topic: Topic,
  progress: TopicProgress,
): Promise<QueueProgressMessage[]> {
  const lagMs = (await lagTimes.findAll(progress, topic.queues)).map(
    (ages) => ages?.unsettledMs ?? 0,
  );
  const filter = parseMessageFilter(progress.wanted.tags, progress.wanted.sql);
  const share = topic.queues.length;
  const wanted: MatchingLag[] = [];
  for (const queue of topic.queues) {
    const { next } = queueProgress(progress, queue.queueId);
    const matching = await matchingLag.count(queue, next, filter, share);
    wanted[queue.queueId] = matching;
    const { oldestUnsettled } = queueProgress(progress, queue.queueId);
    // What was delivered was wanted, and is older than what was not.
    if (filter.matchesAll || oldestUnsettled < next) continue;
    const { first, estimated } = matching;
    if (first >= 0) lagMs[queue.queueId] = await lagTimes.ageOf(queue, first);
    else if (!estimated) lagMs[queue.queueId] = 0;
  }
  return topic.queues.map((queue) => {
    const begin = firstKept(state, queue);
    const inQueue = queueProgress(progress, queue.queueId);
    const { floor, next, inFlight, waitingForRetry } = inQueue;
    const undelivered = countKept(state, queue, next);
    const { messages = 0, estimated = false } = wanted[queue.queueId] ?? {};
    return {
      $typeName: 'ternmq.broker.v1.QueueProgress',
      queueId: queue.queueId,
      floorOffset: BigInt(floor),
      nextOffset: BigInt(next),
      beginOffset: BigInt(begin),
      endOffset: BigInt(queue.visibleEnd),
      inFlight: BigInt(inFlight),
      waitingForRetry: BigInt(waitingForRetry),
      lag: BigInt(undelivered + inFlight + waitingForRetry),
      lagMatching: BigInt(Math.min(messages, undelivered) + inFlight + waitingForRetry),
      lagMatchingEstimated: estimated,
      lagMs: BigInt(Math.round(lagMs[queue.queueId] ?? 0)),
      stopped: BigInt(inQueue.stopped().length),
    };
  });
}

interface ReadModules {
  topics: TopicCatalog;
  groups: GroupCatalog;
  delivery: Delivery;
  offsets: OffsetFinder;
  lagTimes: LagTimes;
  matchingLag: MatchingLags;
  state: BrokerState;
  log: CommitLog;
}

/** How far a group is. */
export function getOffset(
  modules: ReadModules,
): (request: GetOffsetRequest) => Promise<GetOffsetResponse> {
  const { topics, groups, state } = modules;
  return async (request) => {
    const topic = topics.get(request.topic);
    const progress = state.groups.progressIn(groups.get(request.group), topic.id, '');
    return {
      $typeName: 'ternmq.broker.v1.GetOffsetResponse',
      queues:
        progress === undefined ? [] : await queueProgressMessages(state, modules, topic, progress),
    };
  };
}

/** The RPCs. */
export function progressHandlers(modules: SetModules & ReadModules): {
  commitOffset(request: CommitOffsetRequest): Promise<CommitOffsetResponse>;
  queryOffset(request: QueryOffsetRequest): Promise<QueryOffsetResponse>;
} {
  const { topics, groups, delivery, state, log } = modules;
  return {
    async commitOffset(request) {
      const topic = topics.get(request.topic);
      const wanted = request.offsets.map(({ queueId, offset, generation = 0n }) => {
        const { queue } = findQueue(topics, request.topic, queueId);
        const begin = firstKept(state, queue);
        if (Number(offset) < begin || Number(offset) > queue.visibleEnd) {
          throw new TernError(
            'OUT_OF_RANGE',
            'OFFSET_OUT_OF_RANGE',
            `queue ${queueId} of ${topic.name} has the offsets ${begin} to ${queue.visibleEnd}, and not ${offset}`,
            { metadata: { begin: String(begin), end: String(queue.visibleEnd) } },
          );
        }
        return { queueId, offset: Number(offset), generation: Number(generation) };
      });
      let refused: RefusedOffset[] = [];
      if (request.session > 0n) {
        const group = groups.get(request.group);
        refused = commitOfMember(modules, { group, topic }, wanted, Number(request.session));
      } else {
        const group = groups.getOrCreate(request.group);
        const from = { case: 'begin', value: beginTarget } as const;
        const progress = await delivery.begin(group, topic, '', from);
        resetProgress(modules, { group, topic, progress }, wanted);
      }
      await log.keptAt(log.next);
      return { $typeName: 'ternmq.broker.v1.CommitOffsetResponse', refused };
    },

    queryOffset: queryOffset(modules),
  };
}

/** QueryOffset. */
export function queryOffset(modules: {
  topics: TopicCatalog;
  offsets: OffsetFinder;
}): (request: QueryOffsetRequest) => Promise<QueryOffsetResponse> {
  const { topics, offsets } = modules;
  return async (request) => {
    const topic = topics.get(request.topic);
    const { queueId } = request;
    const queues =
      queueId === undefined ? topic.queues : [findQueue(topics, request.topic, queueId).queue];
    const found = queues.map(async (queue) => ({
      $typeName: 'ternmq.broker.v1.QueueOffset' as const,
      queueId: queue.queueId,
      offset: BigInt(await offsets.find(queue, request.target?.target)),
    }));
    return {
      $typeName: 'ternmq.broker.v1.QueryOffsetResponse',
      offsets: await Promise.all(found),
    };
  };
}

const beginTarget = { $typeName: 'ternmq.message.v1.OffsetTarget.Begin' } as const;
