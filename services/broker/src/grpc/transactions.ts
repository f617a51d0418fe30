// Transactions: EndTransaction, WatchTransactions, ListTransactions.

import { create, fromBinary } from '@bufbuild/protobuf';
import type { ServerWritableStream } from '@grpc/grpc-js';
import {
  type EndTransactionRequest,
  type EndTransactionResponse,
  type ListTransactionsRequest,
  type ListTransactionsResponse,
  type Transaction as TransactionMessage,
  TransactionSchema,
  TransactionState,
  type WatchTransactionsRequest,
  type WatchTransactionsResponse,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import {
  type StoredMessage,
  StoredMessageSchema,
} from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import { failStream, TernError } from '@ternmq/runtime';
import { isTopicName } from '../catalog/names.ts';
import type { Collector } from '../delivery/collect.ts';
import { RECORD_PREFIX_BYTES } from '../log/record.ts';
import type { BrokerState } from '../state/broker-state.ts';
import type { Queue } from '../state/queue.ts';
import type { Transaction } from '../state/transaction-table.ts';
import type { Transactions } from '../transactions/transactions.ts';
import { inRange } from './bounds.ts';
import { messageId, parseMessageId } from './message-id.ts';

const CAUSE_BYTES_MAX = 1024;
const PAGE_SIZE_DEFAULT = 100;
const PAGE_SIZE_MAX = 1000;

/** What the RPCs use. */
export interface TransactionModules {
  readonly transactions: Transactions;
  readonly state: BrokerState;
  readonly collector: Collector;
  /** Why streams end when the server does. */
  readonly closing: AbortSignal;
}

/** The RPCs. */
export function transactionHandlers(
  brokerName: string,
  modules: TransactionModules,
): {
  endTransaction(request: EndTransactionRequest): Promise<EndTransactionResponse>;
  listTransactions(request: ListTransactionsRequest): ListTransactionsResponse;
  watchTransactions(
    call: ServerWritableStream<WatchTransactionsRequest, WatchTransactionsResponse>,
  ): void;
} {
  const { transactions, state, collector, closing } = modules;

  const told = (transaction: Transaction): TransactionMessage => {
    const { first, topicId, begunMs, nextCheckMs, endedMs, ...rest } = transaction;
    const open = transaction.state === TransactionState.OPEN;
    return create(TransactionSchema, {
      ...rest,
      transactionId: messageId({
        brokerName,
        topicId: state.held.queue?.topicId ?? 0,
        queueId: 0,
        offset: first,
      }),
      topic: state.topics.findById(topicId)?.name ?? '',
      begunMs: BigInt(begunMs),
      nextCheckMs: BigInt(open ? nextCheckMs : 0),
      endedMs: BigInt(endedMs),
    });
  };

  const messagesOf = async ({ first, messages }: Transaction): Promise<StoredMessage[]> => {
    const found: StoredMessage[] = [];
    for (let offset = first; offset < first + messages; offset++) {
      const record = await collector.copy(state.held.queue as Queue, offset);
      if (record === undefined) continue;
      found.push(fromBinary(StoredMessageSchema, record.subarray(RECORD_PREFIX_BYTES)));
    }
    return found;
  };

  return {
    async endTransaction(request) {
      const { ours, topicId, offset } = parseMessageId(request.transactionId, brokerName);
      if (Buffer.byteLength(request.cause) > CAUSE_BYTES_MAX) {
        throw invalid('cause', `has at most ${CAUSE_BYTES_MAX} bytes`);
      }
      const wanted = request.state;
      if (wanted !== TransactionState.COMMITTED && wanted !== TransactionState.ROLLED_BACK) {
        throw invalid('state', 'must be COMMITTED or ROLLED_BACK');
      }
      const first = ours && topicId === state.held.queue?.topicId ? offset : -1;
      const transaction = await transactions.end(first, wanted, request.cause || 'its producer');
      return {
        $typeName: 'ternmq.broker.v1.EndTransactionResponse',
        transaction: told(transaction),
      };
    },

    listTransactions(request) {
      const size = inRange('page_size', request.pageSize, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX);
      if (request.pageToken !== '' && !/^\d{1,15}$/.test(request.pageToken)) {
        throw invalid('page_token', 'is none of this list');
      }
      const behind = request.pageToken === '' ? -1 : Number(request.pageToken);
      const found: Transaction[] = [];
      for (const one of state.transactions.all()) {
        if (one.first <= behind) continue;
        if (request.producerGroup !== '' && one.producerGroup !== request.producerGroup) continue;
        if (request.state !== TransactionState.UNSPECIFIED && one.state !== request.state) continue;
        found.push(one);
        if (found.length > size) break;
      }
      const shown = found.slice(0, size);
      return {
        $typeName: 'ternmq.broker.v1.ListTransactionsResponse',
        transactions: shown.map(told),
        nextPageToken: found.length > size ? String(shown.at(-1)?.first ?? '') : '',
      };
    },

    watchTransactions(call) {
      const { producerGroup } = call.request;
      if (!isTopicName(producerGroup)) {
        failStream(call, invalid('producer_group', 'has 1 to 127 characters of [%|a-zA-Z0-9_-]'));
        return;
      }
      let clogged = false;
      const stopWatching = transactions.watch(producerGroup, {
        ask(transaction) {
          if (clogged) return false;
          messagesOf(transaction).then(
            (messages) => {
              if (closing.aborted || transaction.state !== TransactionState.OPEN) return;
              clogged = !call.write({
                $typeName: 'ternmq.broker.v1.WatchTransactionsResponse',
                transaction: told(transaction),
                messages,
              });
            },
            // It cannot be read; the next question tries again.
            () => {},
          );
          return true;
        },
      });
      const fail = (): void => failStream(call, closing.reason);
      const end = (): void => {
        stopWatching();
        closing.removeEventListener('abort', fail);
      };
      closing.addEventListener('abort', fail);
      call.on('drain', () => {
        clogged = false;
      });
      call.on('cancelled', end);
      call.on('close', end);
      call.on('error', end);
    },
  };
}

function invalid(field: string, description: string): TernError {
  return new TernError('INVALID_ARGUMENT', 'INVALID_FIELD', `${field} ${description}`, {
    fields: [{ field, description }],
  });
}
