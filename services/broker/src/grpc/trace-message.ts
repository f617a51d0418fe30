// TraceMessage: what happened to a message.

import { create } from '@bufbuild/protobuf';
import type { ServerWritableStream } from '@grpc/grpc-js';
import {
  type TraceEvent as EventMessage,
  TraceEvent_Kind as Kind,
  TraceEventSchema,
  type TraceMessageRequest,
  type TraceMessageResponse,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { failStream, TernError } from '@ternmq/runtime';
import type { Place, TraceEvent, TraceKind } from '../find/trace-event.ts';
import type { Tracer } from '../find/tracer.ts';
import type { BrokerState } from '../state/broker-state.ts';
import { hostText } from './born-host.ts';
import { messageId, parseMessageId } from './message-id.ts';

const KINDS: Readonly<Record<TraceKind, Kind>> = {
  stored: Kind.STORED,
  held: Kind.HELD,
  released: Kind.RELEASED,
  recalled: Kind.RECALLED,
  transactionBegun: Kind.TRANSACTION_BEGUN,
  transactionChecked: Kind.TRANSACTION_CHECKED,
  committed: Kind.COMMITTED,
  rolledBack: Kind.ROLLED_BACK,
  leased: Kind.LEASED,
  filtered: Kind.FILTERED,
  skipped: Kind.SKIPPED,
  extended: Kind.EXTENDED,
  acknowledged: Kind.ACKNOWLEDGED,
  retried: Kind.RETRIED,
  leaseEnded: Kind.LEASE_ENDED,
  returned: Kind.RETURNED,
  dropped: Kind.DROPPED,
  deadLettered: Kind.DEAD_LETTERED,
  resent: Kind.RESENT,
  relocated: Kind.RELOCATED,
  progressSet: Kind.PROGRESS_SET,
  expired: Kind.EXPIRED,
};

/** The RPC. */
export function traceMessage(
  brokerName: string,
  modules: { state: BrokerState; tracer: Tracer; closing: AbortSignal },
): (call: ServerWritableStream<TraceMessageRequest, TraceMessageResponse>) => void {
  const { state, tracer, closing } = modules;

  const told = (event: TraceEvent): EventMessage => {
    const { topicId, queueId, offset } = event.place;
    const idOf = (place: Place): string => messageId({ brokerName, ...place });
    const topicOf = (id: number): string => state.topics.findById(id)?.name ?? '';
    const progress = state.groups.findProgress(event.progressId);
    const { other } = event;
    return create(TraceEventSchema, {
      kind: KINDS[event.kind],
      timeMs: BigInt(event.timeMs),
      position: BigInt(event.position),
      messageId: idOf({ topicId, queueId, offset }),
      topic: topicOf(topicId),
      group: state.groups.findById(progress?.groupId ?? 0)?.name ?? '',
      memberId: progress?.consumerId ?? '',
      consumerId: event.consumerId,
      attempt: event.attempt,
      untilMs: BigInt(event.untilMs),
      otherId: other === undefined ? '' : idOf(other),
      otherTopic: other === undefined ? '' : topicOf(other.topicId),
      offset: BigInt(event.offset),
      address: event.bornHost === undefined ? '' : hostText(event.bornHost),
      reason: event.reason,
    });
  };

  return (call) => {
    const ended = new AbortController();
    const end = (): void => ended.abort();
    call.on('cancelled', end);
    call.on('close', end);
    call.on('error', end);
    const signal = AbortSignal.any([ended.signal, closing]);
    const run = async (): Promise<void> => {
      const { ours, topicId, queueId, offset } = parseMessageId(call.request.messageId, brokerName);
      const queue = ours ? state.topics.findById(topicId)?.queues[queueId] : undefined;
      if (queue === undefined || offset >= queue.visibleEnd) throw notFound(brokerName);
      for await (const report of tracer.trace({ topicId, queueId, offset }, signal)) {
        call.write({
          $typeName: 'ternmq.broker.v1.TraceMessageResponse',
          events: report.events.map(told),
          position: BigInt(report.position),
          endPosition: BigInt(report.end),
          beginningGone: report.beginningGone,
          lostBytes: BigInt(report.lostBytes),
          truncated: report.truncated,
        });
      }
      if (closing.aborted) throw closing.reason;
      call.end();
    };
    run().catch((error: unknown) => {
      if (!ended.signal.aborted) failStream(call, error);
    });
  };
}

function notFound(brokerName: string): TernError {
  return new TernError(
    'NOT_FOUND',
    'MESSAGE_NOT_FOUND',
    `broker ${brokerName} never had a message of this id: it is another broker's, or its topic was deleted`,
  );
}
