// Settlements: from the wire to the delivery core, and the failures back.

import {
  type Settlement,
  Settlement_Action,
  type SettlementFailure,
} from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import { TernError } from '@ternmq/runtime';
import { LEASE_MS_MAX, RETRY_DELAY_MS_MAX } from '../catalog/retry-policy.ts';
import type { SettlementChoice, SettlementRefusal } from '../delivery/settlement.ts';

const ACTIONS: Readonly<Record<Settlement_Action, SettlementChoice['action'] | undefined>> = {
  [Settlement_Action.UNSPECIFIED]: undefined,
  [Settlement_Action.ACKNOWLEDGE]: 'acknowledge',
  [Settlement_Action.RETRY]: 'retry',
  [Settlement_Action.EXTEND]: 'extend',
  [Settlement_Action.DEAD_LETTER]: 'deadLetter',
  [Settlement_Action.RETURN]: 'giveBack',
};

const REASON_LENGTH_MAX = 1000;

/** Checks and reads settlements. Throws INVALID_ARGUMENT (INVALID_SETTLEMENT). */
export function settlementChoices(settlements: readonly Settlement[]): SettlementChoice[] {
  return settlements.map((settlement, index) => {
    const action = ACTIONS[settlement.action];
    if (action === undefined) throw invalid(index, 'action', 'say what shall happen');
    if (settlement.endOffset <= settlement.firstOffset) {
      throw invalid(index, 'end_offset', 'it must be greater than first_offset');
    }
    const delayMax = action === 'extend' ? LEASE_MS_MAX : RETRY_DELAY_MS_MAX;
    if (settlement.delayMs > delayMax) {
      throw invalid(index, 'delay_ms', `it may be at most ${delayMax} ms`);
    }
    if (action === 'extend' && settlement.delayMs === 0) {
      throw invalid(index, 'delay_ms', 'say how long the lease shall be extended, in milliseconds');
    }
    return {
      topicId: settlement.topicId,
      queueId: settlement.queueId,
      first: Number(settlement.firstOffset),
      end: Number(settlement.endOffset),
      leaseId: Number(settlement.leaseId),
      action,
      delayMs: settlement.delayMs,
      reason: settlement.reason.slice(0, REASON_LENGTH_MAX),
    };
  });
}

/** The failures among settlements, as they are told. */
export function settlementFailures(
  settlements: readonly Settlement[],
  refusals: readonly (SettlementRefusal | undefined)[],
): SettlementFailure[] {
  const failures: SettlementFailure[] = [];
  for (const [index, refusal] of refusals.entries()) {
    const settlement = settlements[index];
    if (refusal === undefined || settlement === undefined) continue;
    failures.push({
      $typeName: 'ternmq.message.v1.SettlementFailure',
      settlement,
      reason: refusal.reason,
      message: refusal.message,
    });
  }
  return failures;
}

function invalid(index: number, name: string, description: string): TernError {
  const field = `settlements[${index}].${name}`;
  return new TernError('INVALID_ARGUMENT', 'INVALID_SETTLEMENT', `${field}: ${description}`, {
    fields: [{ field, description }],
  });
}
