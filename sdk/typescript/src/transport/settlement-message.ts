// A settlement as the unary call takes it.

import { create } from '@bufbuild/protobuf';
import {
  type Settlement as SettlementMessage,
  SettlementSchema,
} from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import type { Settlement } from '../wire/subscribe-request.ts';

/** Turns a settlement into its message. */
export function settlementMessage(settlement: Settlement): SettlementMessage {
  const { topicId, queueId, first, end, leaseId, action, delayMs, reason } = settlement;
  return create(SettlementSchema, {
    topicId,
    queueId,
    firstOffset: BigInt(first),
    endOffset: BigInt(end),
    leaseId: BigInt(leaseId),
    action,
    delayMs,
    reason,
  });
}
