// Applies the records of transactions.

import { TransactionState } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import type { StateRecord } from '@ternmq/proto/gen/ternmq/log/v1/log_pb';
import type { BrokerState } from './broker-state.ts';

/** A change that concerns transactions. */
export type TransactionChange = Extract<
  StateRecord['change'],
  { case: 'transactionBegun' | 'transactionChecked' | 'transactionEnded' | 'transactionsForgotten' }
>;

/** Applies a change at the time of its record. */
export function applyTransaction(
  state: BrokerState,
  change: TransactionChange,
  timeMs: number,
): void {
  const { transactions } = state;
  switch (change.case) {
    case 'transactionBegun':
      transactions.begun(change.value);
      return;
    case 'transactionChecked':
      transactions.checked(Number(change.value.firstOffset), Number(change.value.nextCheckMs));
      return;
    case 'transactionEnded': {
      const { firstOffset, state: outcome, cause } = change.value;
      const ended = transactions.ended(Number(firstOffset), outcome, cause, timeMs);
      // Rolling back drops the messages; committed ones are released by records of their own.
      if (ended?.state !== TransactionState.ROLLED_BACK) return;
      for (let i = 0; i < ended.messages; i++) state.heldDone(ended.first + i);
      return;
    }
    case 'transactionsForgotten':
      for (const first of change.value.firstOffsets) transactions.forget(Number(first));
      return;
    default:
      change satisfies never;
  }
}
