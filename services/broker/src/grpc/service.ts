// BrokerService: the table of contents. One line per RPC.

import type { ServerDuplexStream } from '@grpc/grpc-js';
import type {
  SettleRequest,
  SettleResponse,
  SubscribeRequest,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { type Handlers, unary } from '@ternmq/runtime';
import type { GroupCatalog } from '../catalog/group-catalog.ts';
import type { Delivery } from '../delivery/delivery.ts';
import type { CommitLog } from '../log/commit-log.ts';
import { type AssignModules, assignQueues } from './assign-queues.ts';
import { copyOffsets } from './copy-offsets.ts';
import { type DeadLetterModules, deadLetterHandlers } from './dead-letters.ts';
import { type DescribeModules, describeBroker } from './describe-broker.ts';
import { findMessages } from './find-messages.ts';
import { getMessage } from './get-message.ts';
import { groupHandlers } from './groups.ts';
import type { ProduceStreams } from './produce.ts';
import { getOffset, progressHandlers } from './progress.ts';
import { pull, pullStream } from './pull.ts';
import { recallMessage } from './recall-message.ts';
import { receive } from './receive.ts';
import { type ReplyModules, replyHandlers } from './request-reply.ts';
import { send } from './send.ts';
import { settlementChoices, settlementFailures } from './settlements.ts';
import { type StoppedModules, stoppedHandlers } from './stopped.ts';
import { type SubscribeModules, SubscribeStream } from './subscribe.ts';
import { topicHandlers } from './topics.ts';
import { traceMessage } from './trace-message.ts';
import { type TransactionModules, transactionHandlers } from './transactions.ts';

/** Everything that the RPCs use. */
export type ServiceModules = Parameters<typeof topicHandlers>[0] &
  Parameters<typeof groupHandlers>[0] &
  Parameters<typeof progressHandlers>[0] &
  Parameters<typeof receive>[0] &
  Parameters<typeof pull>[0] &
  Parameters<typeof send>[1] &
  Parameters<typeof getMessage>[1] &
  Parameters<typeof findMessages>[0] &
  Parameters<typeof recallMessage>[1] &
  Parameters<typeof copyOffsets>[0] &
  DeadLetterModules &
  StoppedModules &
  TransactionModules &
  ReplyModules &
  Parameters<typeof traceMessage>[1] &
  DescribeModules &
  SubscribeModules &
  AssignModules & { produce: ProduceStreams; readonly closing: AbortSignal };

/** Handlers of all RPCs, and the consumers' streams that are open, by group and consumer. */
export interface ServiceHandlers {
  readonly handlers: Handlers;
  readonly streams: ReadonlyMap<string, SubscribeStream>;
}

/** Methods that carry bytes instead of objects. */
export const RAW_METHODS = {
  produce: { request: true, response: true },
  send: { request: true, response: true },
  pull: { response: true },
  pullStream: { response: true },
  subscribe: { response: true },
  receive: { response: true },
  findMessages: { response: true },
} as const;

/** What the RPCs of consumers use. */
export type ConsumerModules = Parameters<typeof receive>[0] &
  Parameters<typeof settle>[0] &
  Parameters<typeof getOffset>[0] &
  SubscribeModules;

/** The RPCs with which consumers are served. */
export function consumerHandlers(modules: ConsumerModules): ServiceHandlers {
  const streams = new Map<string, SubscribeStream>();
  const handlers = {
    subscribe: (call: ServerDuplexStream<SubscribeRequest, Buffer>) => {
      new SubscribeStream(call, modules, streams);
    },
    receive: unary(receive(modules)),
    settle: unary(settle(modules)),
    getOffset: unary(getOffset(modules)),
  };
  return { handlers, streams };
}

/** The service of a broker that leads. */
export function brokerService(brokerName: string, modules: ServiceModules): ServiceHandlers {
  const consumers = consumerHandlers(modules);
  const topics = topicHandlers(modules);
  const groups = groupHandlers(modules);
  const stopped = stoppedHandlers(modules);
  const progress = progressHandlers(modules);
  const deadLetters = deadLetterHandlers(brokerName, modules);
  const transactions = transactionHandlers(brokerName, modules);
  const replies = replyHandlers(brokerName, modules);
  const handlers = {
    produce: modules.produce.handle,
    send: send(brokerName, modules),
    requestReply: unary(replies.requestReply),
    reply: unary(replies.reply),
    pull: unary(pull(modules)),
    pullStream: pullStream(modules),
    ...consumers.handlers,
    commitOffset: unary(progress.commitOffset),
    copyOffsets: unary(copyOffsets(modules)),
    queryOffset: unary(progress.queryOffset),
    assignQueues: assignQueues(modules),
    listDeadLetters: unary(deadLetters.listDeadLetters),
    resendDeadLetters: unary(deadLetters.resendDeadLetters),
    getMessage: unary(getMessage(brokerName, modules)),
    findMessages: unary(findMessages(modules)),
    traceMessage: traceMessage(brokerName, modules),
    recallMessage: unary(recallMessage(brokerName, modules)),
    endTransaction: unary(transactions.endTransaction),
    watchTransactions: transactions.watchTransactions,
    listTransactions: unary(transactions.listTransactions),
    createTopic: unary(topics.createTopic),
    updateTopic: unary(topics.updateTopic),
    deleteTopic: unary(topics.deleteTopic),
    listTopics: unary(topics.listTopics),
    describeTopic: unary(topics.describeTopic),
    createGroup: unary(groups.createGroup),
    updateGroup: unary(groups.updateGroup),
    deleteGroup: unary(groups.deleteGroup),
    removeMember: unary(groups.removeMember),
    listGroups: unary(groups.listGroups),
    listStopped: unary(stopped.listStopped),
    releaseStopped: unary(stopped.releaseStopped),
    describeGroup: unary(groups.describeGroup),
    describeBroker: unary(describeBroker(modules)),
  };
  return { handlers, streams: consumers.streams };
}

/** Settle, the unary twin of a consumer's settlements; answered when they are durable. */
function settle(modules: {
  groups: GroupCatalog;
  delivery: Delivery;
  log: CommitLog;
}): (request: SettleRequest) => Promise<SettleResponse> {
  const { groups, delivery, log } = modules;
  return async ({ group, settlements }) => {
    const refusals = delivery.settle(groups.get(group), '', settlementChoices(settlements));
    await log.visibleAt(log.next);
    return {
      $typeName: 'ternmq.broker.v1.SettleResponse',
      failures: settlementFailures(settlements, refusals),
    };
  };
}
