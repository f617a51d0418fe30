// The service of a broker that follows, or is about to take its role: reads by offset and looks, from what its master has
// confirmed. Everything else is refused, with the master's address if it is known.

import type { DescMethod } from '@bufbuild/protobuf';
import type { ServiceError, UntypedHandleCall } from '@grpc/grpc-js';
import { BrokerService } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import {
  type Clock,
  failStream,
  type Handlers,
  type Logger,
  statusOf,
  type TernError,
  unary,
} from '@ternmq/runtime';
import { TopicCatalog } from '../catalog/topic-catalog.ts';
import { Collector } from '../delivery/collect.ts';
import { OffsetFinder } from '../delivery/offsets.ts';
import { Puller } from '../delivery/pull.ts';
import type { DiskGuard } from '../disk-guard.ts';
import { MessageSearch } from '../find/message-search.ts';
import { Tracer } from '../find/tracer.ts';
import type { Replica } from '../replication/replica.ts';
import { type BrokerIdentity, describeBroker } from './describe-broker.ts';
import { findMessages } from './find-messages.ts';
import { getMessage } from './get-message.ts';
import { queryOffset } from './progress.ts';
import { pull, pullStream } from './pull.ts';
import { topicHandlers } from './topics.ts';
import { traceMessage } from './trace-message.ts';

/** What the service uses. */
export interface FollowerModules {
  readonly replica: Replica;
  readonly guard: DiskGuard;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly identity: BrokerIdentity;
  /** As BrokerOptions.pullFromSlaveBytes: who is less than half as far behind goes on at the master. */
  readonly pullFromSlaveBytes: number;
  /** Aborts when the broker's role ends. */
  readonly closing: AbortSignal;
}

/** Refuses every call. */
export function refusingService(refusal: () => TernError): Handlers {
  const handlers: Record<string, UntypedHandleCall> = {};
  for (const method of BrokerService.methods) handlers[method.localName] = refuse(method, refusal);
  return handlers;
}

function refuse(method: DescMethod, refusal: () => TernError): UntypedHandleCall {
  if (method.methodKind === 'unary') {
    return ((_call: unknown, callback: (error: Partial<ServiceError>) => void) =>
      callback(statusOf(refusal()))) as UntypedHandleCall;
  }
  return ((call: NodeJS.EventEmitter) => failStream(call, refusal())) as UntypedHandleCall;
}

/** Serves reads, and refuses the rest. */
export function followerService(
  brokerName: string,
  modules: FollowerModules,
  refusal: () => TernError,
): Handlers {
  const { replica, clock, logger } = modules;
  const { log, state, stateLog, writer } = replica;
  const topics = new TopicCatalog(
    { autoCreateTopics: false, queuesDefault: 1 },
    { stateLog, changed() {} },
  );
  const collector = new Collector({ log, state, logger });
  const offsets = new OffsetFinder({ log, state });
  const near = modules.pullFromSlaveBytes / 2;
  const puller = new Puller({
    log,
    state,
    collector,
    clock,
    place: (_queue, behindBytes) =>
      near === 0 || behindBytes <= near ? modules.identity.standing().master : undefined,
  });
  const search = new MessageSearch({ state, collector, offsets, clock, logger });
  const tracer = new Tracer({ log, state, clock });
  const parts = {
    ...modules,
    topics,
    collector,
    offsets,
    puller,
    search,
    tracer,
    log,
    state,
    writer,
  };
  const { listTopics, describeTopic } = topicHandlers(parts);
  return {
    ...refusingService(refusal),
    pull: unary(pull(parts)),
    pullStream: pullStream(parts),
    getMessage: unary(getMessage(brokerName, parts)),
    findMessages: unary(findMessages(parts)),
    traceMessage: traceMessage(brokerName, parts),
    queryOffset: unary(queryOffset(parts)),
    listTopics: unary(listTopics),
    describeTopic: unary(describeTopic),
    describeBroker: unary(describeBroker(parts)),
  };
}
