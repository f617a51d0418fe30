// GetMessage: one message by its id.

import { fromBinary } from '@bufbuild/protobuf';
import type {
  GetMessageRequest,
  GetMessageResponse,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { StoredMessageSchema } from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import { TernError } from '@ternmq/runtime';
import type { Collector } from '../delivery/collect.ts';
import { RECORD_PREFIX_BYTES } from '../log/record.ts';
import type { BrokerState } from '../state/broker-state.ts';
import { isKept } from '../state/kept-messages.ts';
import { parseMessageId } from './message-id.ts';

/** The RPC. */
export function getMessage(
  brokerName: string,
  modules: { state: BrokerState; collector: Collector },
): (request: GetMessageRequest) => Promise<GetMessageResponse> {
  const { state, collector } = modules;
  return async (request) => {
    const { ours, topicId, queueId, offset } = parseMessageId(request.messageId, brokerName);
    const topic = ours ? state.topics.findById(topicId) : undefined;
    const queue = topic?.queues[queueId];
    const gone = queue?.sparse === true && !state.held.isPending(offset);
    const kept = !gone && queue !== undefined && isKept(state, queue, offset);
    if (topic === undefined || queue === undefined || !kept) throw notFound(brokerName);
    const record = await collector.copy(queue, offset);
    if (record === undefined) throw notFound(brokerName);
    return {
      $typeName: 'ternmq.broker.v1.GetMessageResponse',
      message: fromBinary(StoredMessageSchema, record.subarray(RECORD_PREFIX_BYTES)),
      topic: topic.name,
    };
  };
}

function notFound(brokerName: string): TernError {
  return new TernError(
    'NOT_FOUND',
    'MESSAGE_NOT_FOUND',
    `broker ${brokerName} has no message of this id: it is another broker's, its topic was deleted, or retention took it`,
  );
}
