// What a producer says of transactions, as the broker takes it.

import type { MessageInitShape } from '@bufbuild/protobuf';
import {
  type EndTransactionRequestSchema,
  type SendRequestSchema,
  TransactionState,
  type WatchTransactionsResponse,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import type { EncodedMessage } from '../body-encoding.ts';
import { messageInit } from './message-init.ts';

/** Decides a transaction. */
export type EndTransaction = MessageInitShape<typeof EndTransactionRequestSchema> & {
  readonly transactionId: string;
};
/** Asks for the outcome of a transaction. */
export type AskedTransaction = WatchTransactionsResponse;

const CAUSE_CHARACTERS_MAX = 256;

/** Begins a transaction with messages for one queue. */
export function transactionBeginning(
  topic: string,
  queueId: number,
  messages: readonly EncodedMessage[],
  producerGroup: string,
  bornTimeMs: number,
): MessageInitShape<typeof SendRequestSchema> {
  return {
    topic,
    queueId,
    transaction: { producerGroup },
    messages: messages.map((message) => messageInit(message, bornTimeMs)),
  };
}

/** Commits a transaction. */
export function committed(transactionId: string): EndTransaction {
  return { transactionId, state: TransactionState.COMMITTED };
}

/** Rolls a transaction back. */
export function rolledBack(transactionId: string, cause: string): EndTransaction {
  // The broker's bound counts bytes, up to three for a character.
  const short = cause.slice(0, CAUSE_CHARACTERS_MAX);
  return { transactionId, state: TransactionState.ROLLED_BACK, cause: short };
}
