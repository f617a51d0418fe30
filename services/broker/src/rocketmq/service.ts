// MessagingService: the table of contents. One line per RPC.

import type { UntypedHandleCall } from '@grpc/grpc-js';
import type { Handlers } from '@ternmq/runtime';
import { endTransaction } from './end-transaction.ts';
import { heartbeat, notifyClientTermination } from './heartbeat.ts';
import { getOffset, queryOffset, updateOffset } from './offsets.ts';
import { pullMessage } from './pull-message.ts';
import { queryAssignment } from './query-assignment.ts';
import { queryRoute, type RouteModules } from './query-route.ts';
import { recallMessage } from './recall-message.ts';
import { type ReceiveModules, receiveMessage } from './receive-message.ts';
import { sendMessage } from './send-message.ts';
import {
  ackMessage,
  changeInvisibleDuration,
  forwardToDeadLetters,
  type SettleModules,
} from './settle.ts';
import { type TelemetryModules, telemetry } from './telemetry.ts';

/** Everything that the RPCs use. */
export type MessagingModules = RouteModules & TelemetryModules & ReceiveModules & SettleModules;

/** Handlers of all RPCs. */
export function messagingService(modules: MessagingModules): Handlers {
  const { brokers, clients } = modules;
  return {
    queryRoute: queryRoute(modules),
    heartbeat: heartbeat(clients),
    sendMessage: sendMessage(modules),
    queryAssignment: queryAssignment(modules),
    receiveMessage: receiveMessage(modules) as UntypedHandleCall,
    ackMessage: ackMessage(modules),
    forwardMessageToDeadLetterQueue: forwardToDeadLetters(modules),
    pullMessage: pullMessage(modules) as UntypedHandleCall,
    updateOffset: updateOffset(brokers),
    getOffset: getOffset(brokers),
    queryOffset: queryOffset(brokers),
    endTransaction: endTransaction(brokers),
    telemetry: telemetry(modules) as UntypedHandleCall,
    notifyClientTermination: notifyClientTermination(clients),
    changeInvisibleDuration: changeInvisibleDuration(modules),
    recallMessage: recallMessage(brokers),
  };
}
