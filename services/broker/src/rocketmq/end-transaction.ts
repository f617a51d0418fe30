// EndTransaction: decides a transaction. May be repeated; what was decided stays.

import type { handleUnaryCall } from '@grpc/grpc-js';
import { Code, TransactionResolution } from '@ternmq/proto/gen/apache/rocketmq/v2/definition_pb';
import {
  type EndTransactionRequest,
  EndTransactionResponseSchema,
} from '@ternmq/proto/gen/apache/rocketmq/v2/service_pb';
import { BrokerService, TransactionState } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { parseMessageId } from '../grpc/message-id.ts';
import { answered } from './answered.ts';
import type { Brokers } from './brokers.ts';
import { servingBrokers } from './query-route.ts';
import { topicNameOf } from './resource.ts';
import { Refused } from './status.ts';

/** The RPC. */
export function endTransaction(brokers: Brokers): handleUnaryCall<EndTransactionRequest, unknown> {
  return answered(EndTransactionResponseSchema, async (request: EndTransactionRequest, caller) => {
    const { transactionId, resolution } = request;
    if (transactionId.trim() === '') {
      throw new Refused(Code.INVALID_TRANSACTION_ID, 'say which transaction ends');
    }
    const topic = topicNameOf(request.topic, caller.namespace);
    const state = stateOf(resolution);
    // A transaction's id tells which broker has it.
    const broker = (await servingBrokers(brokers, topic)).find(({ brokerName }) =>
      isOf(transactionId, brokerName),
    );
    if (broker === undefined) {
      throw new Refused(
        Code.INTERNAL_SERVER_ERROR,
        `no broker of topic ${topic} knows transaction ${transactionId}`,
      );
    }
    await broker.link.call(BrokerService.method.endTransaction, { transactionId, state }, caller);
    return {};
  });
}

function stateOf(resolution: TransactionResolution): TransactionState {
  if (resolution === TransactionResolution.COMMIT) return TransactionState.COMMITTED;
  if (resolution === TransactionResolution.ROLLBACK) return TransactionState.ROLLED_BACK;
  throw new Refused(Code.BAD_REQUEST, 'a transaction is committed or rolled back');
}

function isOf(transactionId: string, brokerName: string): boolean {
  try {
    return parseMessageId(transactionId, brokerName).ours;
  } catch {
    return false;
  }
}
