// Transactions: messages that nobody sees before the work they belong to is done.
//
//   begin (unary Send) -> the caller's work -> commit on return | roll back on throw (EndTransaction)
//
// When a producer dies in between, the broker asks its group for the outcome; see transaction-watch.ts.

import type { EncodedMessage } from './body-encoding.ts';
import { type Clock, pause } from './clock.ts';
import { isMqError, MqError } from './errors.ts';
import type { Events } from './events.ts';

import type { Channel } from './transport/channel.ts';
import type { Channels } from './transport/channels.ts';
import { broker } from './transport/methods.ts';
import type { RouteQueue } from './transport/route.ts';
import {
  committed,
  type EndTransaction,
  rolledBack,
  transactionBeginning,
} from './transport/transaction-messages.ts';

const RETRY_MS = 200;

/** What the work of a transaction is given. */
export interface Transaction {
  /** Names the transaction. */
  readonly transactionId: string;
}

/** Runs a transaction; see Producer.transaction. */
export async function runTransaction<Value>(
  place: { readonly topic: string; readonly queue: RouteQueue; readonly group: string },
  messages: readonly EncodedMessage[],
  work: (transaction: Transaction) => Promise<Value> | Value,
  options: { readonly deadlineMs: number; readonly signal?: AbortSignal | undefined },
  modules: { readonly channels: Channels; readonly clock: Clock; readonly events: Events },
): Promise<Value> {
  const { topic, queue, group } = place;
  const { clock, events } = modules;
  const channel = modules.channels.get(queue.address);
  const beginning = transactionBeginning(topic, queue.queueId, messages, group, clock.nowMs());
  const { transactionId } = await channel.unary(broker.send, beginning, options);
  let value: Value;
  try {
    value = await work({ transactionId });
  } catch (error) {
    const cause = error instanceof Error ? error.message : String(error);
    await endTransaction(
      channel,
      rolledBack(transactionId, cause),
      options.deadlineMs,
      clock,
    ).catch((failure: Error) => {
      // What nobody commits is rolled back in the end; the work's own error is what counts.
      events.emit({ type: 'sendFailed', topic, error: failure });
    });
    throw error;
  }
  await endTransaction(channel, committed(transactionId), options.deadlineMs, clock);
  return value;
}

/** Decides a transaction, and tries again while its broker cannot be reached. */
export async function endTransaction(
  channel: Channel,
  request: EndTransaction,
  deadlineMs: number,
  clock: Clock,
): Promise<void> {
  const untilMs = clock.monotonicMs() + deadlineMs;
  for (;;) {
    try {
      const leftMs = Math.max(1, untilMs - clock.monotonicMs());
      await channel.unary(broker.endTransaction, request, { deadlineMs: leftMs });
      return;
    } catch (error) {
      if (!isMqError(error) || !error.retryable) throw error;
      if (clock.monotonicMs() + RETRY_MS >= untilMs) {
        throw new MqError(
          'OUTCOME_UNKNOWN',
          `the broker has not confirmed the outcome of transaction ${request.transactionId}; it will ask the producer group for it`,
          { cause: error },
        );
      }
    }
    await pause(clock, RETRY_MS);
  }
}
