// Topics: create, update, delete, list, describe.

import {
  type CreateTopicRequest,
  type CreateTopicResponse,
  type DeleteTopicRequest,
  type DeleteTopicResponse,
  type DescribeTopicRequest,
  type DescribeTopicResponse,
  type ListTopicsRequest,
  type ListTopicsResponse,
  TopicKind,
  type TopicSettings,
  type UpdateTopicRequest,
  type UpdateTopicResponse,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import type { TopicCatalog, TopicChoice } from '../catalog/topic-catalog.ts';
import type { CommitLog } from '../log/commit-log.ts';
import type { BrokerState } from '../state/broker-state.ts';
import { firstKept } from '../state/kept-messages.ts';
import { isHoldingTopic, topicMessage } from '../state/topics.ts';
import { page } from './page.ts';

function choiceOf(settings: TopicSettings | undefined): TopicChoice {
  return {
    queues: settings?.queues ?? 0,
    retentionMs: Number(settings?.retentionMs ?? 0n),
    retentionBytes: Number(settings?.retentionBytes ?? 0n),
    kind: settings?.kind ?? TopicKind.UNSPECIFIED,
    deduplicationWindowMs:
      settings?.deduplicationWindowMs === undefined
        ? undefined
        : Number(settings.deduplicationWindowMs),
    compacted: settings?.compacted,
    acknowledgement: settings?.acknowledgement,
  };
}

/** The RPCs. Changes are answered when they are durable. */
export function topicHandlers(modules: {
  topics: TopicCatalog;
  state: BrokerState;
  log: CommitLog;
}): {
  createTopic(request: CreateTopicRequest): Promise<CreateTopicResponse>;
  updateTopic(request: UpdateTopicRequest): Promise<UpdateTopicResponse>;
  deleteTopic(request: DeleteTopicRequest): Promise<DeleteTopicResponse>;
  listTopics(request: ListTopicsRequest): ListTopicsResponse;
  describeTopic(request: DescribeTopicRequest): DescribeTopicResponse;
} {
  const { topics, state, log } = modules;
  return {
    async createTopic({ name, settings }) {
      const topic = topics.create(name, choiceOf(settings));
      await log.keptAt(log.next);
      return { $typeName: 'ternmq.broker.v1.CreateTopicResponse', topic: topicMessage(topic) };
    },

    async updateTopic({ name, settings }) {
      const topic = topics.update(name, choiceOf(settings));
      await log.keptAt(log.next);
      return { $typeName: 'ternmq.broker.v1.UpdateTopicResponse', topic: topicMessage(topic) };
    },

    async deleteTopic({ name }) {
      topics.delete(name);
      await log.keptAt(log.next);
      return { $typeName: 'ternmq.broker.v1.DeleteTopicResponse' };
    },

    listTopics({ pageSize, pageToken }) {
      const listed = [...state.topics.all()].filter((topic) => !isHoldingTopic(topic.name));
      const { items, nextPageToken } = page(listed, pageSize, pageToken);
      return {
        $typeName: 'ternmq.broker.v1.ListTopicsResponse',
        topics: items.map(topicMessage),
        nextPageToken,
      };
    },

    describeTopic({ name }) {
      const topic = topics.get(name);
      return {
        $typeName: 'ternmq.broker.v1.DescribeTopicResponse',
        topic: topicMessage(topic),
        queues: topic.queues.map((queue) => ({
          $typeName: 'ternmq.broker.v1.QueueDescription',
          queueId: queue.queueId,
          beginOffset: BigInt(firstKept(state, queue)),
          endOffset: BigInt(queue.visibleEnd),
          lastStoreTimeMs: BigInt(queue.lastStoreTimeMs),
        })),
      };
    },
  };
}
