// ListStopped and ReleaseStopped: messages of ordered groups that hold back their ordering keys.
//
// A page token names the last message of the page before: topic, queue and offset.

import type {
  ListStoppedRequest,
  ListStoppedResponse,
  ReleaseStoppedRequest,
  ReleaseStoppedResponse,
  StoppedMessage,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { TernError } from '@ternmq/runtime';
import type { GroupCatalog } from '../catalog/group-catalog.ts';
import type { TopicCatalog } from '../catalog/topic-catalog.ts';
import type { Delivery } from '../delivery/delivery.ts';
import type { CommitLog } from '../log/commit-log.ts';
import type { BrokerState } from '../state/broker-state.ts';
import type { Group } from '../state/groups.ts';
import { inRange } from './bounds.ts';

const PAGE_SIZE_DEFAULT = 100;
const PAGE_SIZE_MAX = 1000;
const PAGE_TOKEN = /^(\S{1,127}) (\d{1,10}) (\d{1,16})$/;

/** What the RPCs use. */
export interface StoppedModules {
  readonly groups: GroupCatalog;
  readonly topics: TopicCatalog;
  readonly delivery: Delivery;
  readonly state: BrokerState;
  readonly log: CommitLog;
}

/** The RPCs. A release is answered when it is durable. */
export function stoppedHandlers(modules: StoppedModules): {
  listStopped(request: ListStoppedRequest): ListStoppedResponse;
  releaseStopped(request: ReleaseStoppedRequest): Promise<ReleaseStoppedResponse>;
} {
  const { groups, topics, delivery, state, log } = modules;
  return {
    listStopped({ group, pageSize, pageToken }) {
      const size = inRange('page_size', pageSize, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX);
      const found = stoppedMessages(groups.get(group), state, size + 1, placeOf(pageToken));
      const stopped = found.slice(0, size);
      const last = found.length > size ? stopped.at(-1) : undefined;
      return {
        $typeName: 'ternmq.broker.v1.ListStoppedResponse',
        stopped,
        nextPageToken: last === undefined ? '' : `${last.topic} ${last.queueId} ${last.offset}`,
      };
    },

    async releaseStopped({ group, topic, queueId, offset, deadLetter }) {
      const place = [topics.get(topic), queueId, Number(offset)] as const;
      await delivery.release(groups.get(group), ...place, deadLetter);
      await log.keptAt(log.next);
      return { $typeName: 'ternmq.broker.v1.ReleaseStoppedResponse' };
    },
  };
}

type Place = Pick<StoppedMessage, 'topic' | 'queueId' | 'offset'>;

/**
 * The messages of a group that hold back their ordering keys, by topic, queue and offset.
 *
 * @param max most that are told
 * @param behind only those behind this place
 */
export function stoppedMessages(
  group: Group,
  state: BrokerState,
  max: number,
  behind?: Place,
): StoppedMessage[] {
  const found: StoppedMessage[] = [];
  for (const progress of group.progress.values()) {
    const topic = state.topics.findById(progress.topicId)?.name ?? '';
    for (const [queueId, queue] of progress.queues.entries()) {
      for (const { offset, attempt } of queue?.stopped() ?? []) {
        const one = {
          $typeName: 'ternmq.broker.v1.StoppedMessage' as const,
          topic,
          queueId,
          offset: BigInt(offset),
          attempts: attempt,
        };
        if (behind === undefined || compare(one, behind) > 0) found.push(one);
      }
    }
  }
  return found.sort(compare).slice(0, max);
}

function compare(one: Place, other: Place): number {
  if (one.topic !== other.topic) return one.topic < other.topic ? -1 : 1;
  return one.queueId - other.queueId || Number(one.offset - other.offset);
}

/** The place that a page token names. Throws INVALID_ARGUMENT. */
function placeOf(token: string): Place | undefined {
  if (token === '') return undefined;
  const [, topic = '', queueId = '', offset = ''] = PAGE_TOKEN.exec(token) ?? [];
  if (topic !== '') return { topic, queueId: Number(queueId), offset: BigInt(offset) };
  const description = 'is none of this list';
  throw new TernError('INVALID_ARGUMENT', 'INVALID_FIELD', `page_token ${description}`, {
    fields: [{ field: 'page_token', description }],
  });
}
