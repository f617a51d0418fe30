// UpdateOffset, GetOffset and QueryOffset: progress of a group in a queue, and offsets of a queue.

import type { handleUnaryCall } from '@grpc/grpc-js';
import { Code, type MessageQueue } from '@ternmq/proto/gen/apache/rocketmq/v2/definition_pb';
import {
  type GetOffsetRequest,
  GetOffsetResponseSchema,
  QueryOffsetPolicy,
  type QueryOffsetRequest,
  QueryOffsetResponseSchema,
  type UpdateOffsetRequest,
  UpdateOffsetResponseSchema,
} from '@ternmq/proto/gen/apache/rocketmq/v2/service_pb';
import { BrokerService } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { TernError } from '@ternmq/runtime';
import { answered } from './answered.ts';
import type { BrokerLink } from './broker-link.ts';
import type { Brokers } from './brokers.ts';
import type { Caller } from './caller.ts';
import { servingBrokers } from './query-route.ts';
import { groupNameOf, topicNameOf } from './resource.ts';
import { Refused } from './status.ts';

/** UpdateOffset. */
export function updateOffset(brokers: Brokers): handleUnaryCall<UpdateOffsetRequest, unknown> {
  return answered(UpdateOffsetResponseSchema, async (request: UpdateOffsetRequest, caller) => {
    const group = groupNameOf(request.group, caller.namespace);
    const { topic, queueId, link } = await queueOf(brokers, request.messageQueue, caller);
    const offsets = [{ queueId, offset: request.offset }];
    await link.call(BrokerService.method.commitOffset, { group, topic, offsets }, caller);
    return {};
  });
}

/** GetOffset. */
export function getOffset(brokers: Brokers): handleUnaryCall<GetOffsetRequest, unknown> {
  return answered(GetOffsetResponseSchema, async (request: GetOffsetRequest, caller) => {
    const group = groupNameOf(request.group, caller.namespace);
    const { topic, queueId, link } = await queueOf(brokers, request.messageQueue, caller);
    let offset: bigint | undefined;
    try {
      const { queues } = await link.call(BrokerService.method.getOffset, { group, topic }, caller);
      offset = queues.find((queue) => queue.queueId === queueId)?.floorOffset;
    } catch (error) {
      if (!(error instanceof TernError) || error.reason !== 'GROUP_NOT_FOUND') throw error;
    }
    if (offset !== undefined) return { offset };
    throw new Refused(
      Code.OFFSET_NOT_FOUND,
      `group ${group} has no progress in queue ${queueId} of ${topic}`,
    );
  });
}

/** QueryOffset. */
export function queryOffset(brokers: Brokers): handleUnaryCall<QueryOffsetRequest, unknown> {
  return answered(QueryOffsetResponseSchema, async (request: QueryOffsetRequest, caller) => {
    const { topic, queueId, link } = await queueOf(brokers, request.messageQueue, caller);
    const target = targetOf(request);
    const { offsets } = await link.call(
      BrokerService.method.queryOffset,
      { topic, queueId, target: { target } },
      caller,
    );
    return { offset: offsets[0]?.offset ?? 0n };
  });
}

function targetOf({ queryOffsetPolicy, timestamp }: QueryOffsetRequest) {
  switch (queryOffsetPolicy) {
    case QueryOffsetPolicy.BEGINNING:
      return { case: 'begin' as const, value: {} };
    case QueryOffsetPolicy.END:
      return { case: 'end' as const, value: {} };
    case QueryOffsetPolicy.TIMESTAMP: {
      if (timestamp === undefined) throw new Refused(Code.BAD_REQUEST, 'say which timestamp');
      const ms = Number(timestamp.seconds) * 1000 + Math.floor(timestamp.nanos / 1e6);
      return { case: 'timeMs' as const, value: BigInt(Math.max(0, ms)) };
    }
    default:
      throw new Refused(Code.BAD_REQUEST, 'say which offset: BEGINNING, END or TIMESTAMP');
  }
}

/** A queue, and who serves it. Throws Refused (TOPIC_NOT_FOUND). */
export async function queueOf(
  brokers: Brokers,
  queue: MessageQueue | undefined,
  caller: Caller,
): Promise<{ topic: string; queueId: number; brokerName: string; link: BrokerLink }> {
  const topic = topicNameOf(queue?.topic, caller.namespace);
  const queueId = queue?.id ?? 0;
  const serving = await servingBrokers(brokers, topic);
  // A client that knows one broker need not name it.
  const name = queue?.broker?.name ?? '';
  const broker = serving.find(({ brokerName }) => brokerName === name) ?? serving[0];
  if (broker === undefined || (name !== '' && broker.brokerName !== name && serving.length > 1)) {
    throw new Refused(Code.TOPIC_NOT_FOUND, `broker ${name} does not serve topic ${topic}`);
  }
  if (queueId < 0 || queueId >= broker.queues) {
    throw new Refused(
      Code.TOPIC_NOT_FOUND,
      `topic ${topic} has the queues 0 to ${broker.queues - 1} on ${broker.brokerName}, and no ${queueId}`,
    );
  }
  return { topic, queueId, brokerName: broker.brokerName, link: broker.link };
}
