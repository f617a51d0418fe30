// RecallMessage: takes a delayed message back that waits for its time.

import type {
  RecallMessageRequest,
  RecallMessageResponse,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { TernError } from '@ternmq/runtime';
import type { HeldRelease } from '../held/held-release.ts';
import type { StateLog } from '../state/state-log.ts';
import { parseMessageId } from './message-id.ts';

/** The RPC; answered when it is durable. */
export function recallMessage(
  brokerName: string,
  modules: { stateLog: StateLog; heldRelease: HeldRelease },
): (request: RecallMessageRequest) => Promise<RecallMessageResponse> {
  const { stateLog, heldRelease } = modules;
  return async (request) => {
    const { held } = stateLog.state;
    const { ours, topicId, offset } = parseMessageId(request.messageId, brokerName);
    if (!ours || topicId !== held.queue?.topicId || offset >= held.queue.next) {
      throw new TernError(
        'INVALID_ARGUMENT',
        'NOT_DELAYED',
        `${request.messageId} is no delayed message of broker ${brokerName}; recall with the id that the send returned`,
        { fields: [{ field: 'message_id', description: 'the id of a delayed message' }] },
      );
    }
    if (stateLog.state.transactions.holds(offset)) {
      throw new TernError(
        'INVALID_ARGUMENT',
        'NOT_DELAYED',
        'the message belongs to a transaction; roll that back instead',
      );
    }
    if (!held.isPending(offset)) {
      throw new TernError(
        'FAILED_PRECONDITION',
        'NOT_WAITING',
        'the message does not wait any more: it was delivered, or recalled before',
      );
    }
    heldRelease.drop([offset]);
    await stateLog.log.keptAt(stateLog.log.next);
    return { $typeName: 'ternmq.broker.v1.RecallMessageResponse' };
  };
}
