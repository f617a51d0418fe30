// RecallMessage: takes a delayed message back.

import type { handleUnaryCall } from '@grpc/grpc-js';
import {
  type RecallMessageRequest,
  RecallMessageResponseSchema,
} from '@ternmq/proto/gen/apache/rocketmq/v2/service_pb';
import { BrokerService } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { answered } from './answered.ts';
import { type Brokers, reachable } from './brokers.ts';
import { readRecallHandle } from './recall-handle.ts';
import { topicNameOf } from './resource.ts';

/** The RPC. */
export function recallMessage(brokers: Brokers): handleUnaryCall<RecallMessageRequest, unknown> {
  return answered(RecallMessageResponseSchema, async (request: RecallMessageRequest, caller) => {
    const topic = topicNameOf(request.topic, caller.namespace);
    const { brokerName, messageId, producerMessageId } = readRecallHandle(request.recallHandle);
    const { link } = reachable(await brokers.find(topic, brokerName), brokerName, topic);
    await link.call(BrokerService.method.recallMessage, { messageId }, caller);
    return { messageId: producerMessageId };
  });
}
