// What the fate of a frame means for its messages.

import { MqError } from './errors.ts';

/** Refusals after which trying again, soon or elsewhere, may help. */
const RETRYABLE = new Set([
  'DISK_FULL',
  'NOT_READY',
  'NOT_MASTER',
  'NOT_ENOUGH_REPLICAS',
  'OVERLOADED',
  'LOG_FAILED',
  'INTERNAL',
]);

/** The frame was stored when it was sent before; only its offsets are not known any more. */
export function wasStored(reason: string): boolean {
  return reason === 'SEQUENCE_TOO_OLD';
}

/** The error of a message whose frame the broker has refused. */
export function refusalError(reason: string, message: string): MqError {
  if (wasStored(reason)) {
    return new MqError(
      'ALREADY_STORED',
      'the message is stored, since an earlier try, and the broker no longer knows its offset: do not send it ' +
        'again; who needs the offset finds it by reading the queue',
    );
  }
  return new MqError(reason, message, { retryable: RETRYABLE.has(reason) });
}

/**
 * The error of a message that has no outcome when its time is up.
 *
 * @param left it was written to a connection
 * @param lastError why the broker cannot be reached, if it cannot
 */
export function expiredError(left: boolean, lastError: MqError | undefined): MqError {
  if (left) {
    return new MqError(
      'OUTCOME_UNKNOWN',
      'the broker has not answered before the deadline: the message may be stored or not; ' +
        'sending it again may store it twice',
      lastError === undefined ? {} : { cause: lastError },
    );
  }
  return (
    lastError ??
    new MqError('DEADLINE_EXCEEDED', 'the message could not be sent before its deadline', {
      retryable: true,
    })
  );
}
