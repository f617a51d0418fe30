// PullMessage: reads a queue from an offset on, without a lease. Frames: the status, the messages, the offset to go on with.

import type { ServerWritableStream } from '@grpc/grpc-js';
import { Code } from '@ternmq/proto/gen/apache/rocketmq/v2/definition_pb';
import type {
  PullMessageRequest,
  PullMessageResponse,
} from '@ternmq/proto/gen/apache/rocketmq/v2/service_pb';
import { BrokerService } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { type Clock, TernError } from '@ternmq/runtime';
import type { Brokers } from './brokers.ts';
import { type Caller, callerOf } from './caller.ts';
import { messageOut } from './message-out.ts';
import { queueOf } from './offsets.ts';
import { filterOf } from './receive-message.ts';
import { groupNameOf } from './resource.ts';
import { LONG_POLL_MS_MAX, msOf } from './settings.ts';
import { failureStatus, okStatus, Refused } from './status.ts';

const MESSAGES_MAX = 256;
const RETURN_MS = 500;

type Call = ServerWritableStream<PullMessageRequest, PullMessageResponse>;

/** The RPC. */
export function pullMessage(modules: {
  readonly brokers: Brokers;
  readonly clock: Clock;
}): (call: Call) => void {
  return (call) => {
    const going = new AbortController();
    call.on('cancelled', () => going.abort());
    const pulled = async (): Promise<PullMessageResponse['content'][]> => {
      const caller = callerOf({
        metadata: call.metadata,
        peer: call.getPeer(),
        deadlineMs: Number(call.getDeadline()),
        signal: going.signal,
      });
      return await pull(call.request, caller, modules);
    };
    pulled()
      .catch((error: unknown) => [{ case: 'status' as const, value: failureStatus(error) }])
      .then((frames) => {
        if (call.cancelled) return;
        for (const content of frames) {
          call.write({ $typeName: 'apache.rocketmq.v2.PullMessageResponse', content });
        }
        call.end();
      });
  };
}

async function pull(
  request: PullMessageRequest,
  caller: Caller,
  { brokers, clock }: { readonly brokers: Brokers; readonly clock: Clock },
): Promise<PullMessageResponse['content'][]> {
  groupNameOf(request.group, caller.namespace);
  const { topic, queueId, brokerName, link } = await queueOf(brokers, request.messageQueue, caller);
  const leftMs = Math.max(0, caller.deadlineMs - clock.nowMs() - RETURN_MS);
  const waitMs = Math.min(msOf(request.longPollingTimeout) ?? 0, LONG_POLL_MS_MAX, leftMs);
  const { tags, sql } = filterOf(request.filterExpression);
  try {
    const { messages, nextOffset } = await link.call(
      BrokerService.method.pull,
      {
        ...{ topic, queueId, tags, sql },
        offset: request.offset,
        messagesMax: Math.min(Math.max(1, request.batchSize), MESSAGES_MAX),
        waitMs: Math.round(waitMs),
      },
      caller,
    );
    return [
      { case: 'status', value: okStatus() },
      ...messages.map((stored) => ({
        case: 'message' as const,
        value: messageOut(stored, brokerName, request.messageQueue?.topic),
      })),
      { case: 'nextOffset', value: nextOffset },
    ];
  } catch (error) {
    if (error instanceof TernError && error.reason === 'OFFSET_OUT_OF_RANGE') {
      throw new Refused(Code.ILLEGAL_OFFSET, error.message);
    }
    throw error;
  }
}
