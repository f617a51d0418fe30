// Why a broker refuses what only another member of its group may do.

import { TernError } from '@ternmq/runtime';

/** @param master where the master is, if that is known */
export function notMaster(master: string | undefined): TernError {
  return new TernError(
    'UNAVAILABLE',
    'NOT_MASTER',
    master === undefined
      ? 'this broker does not lead its group, and knows of nobody who does yet; try again'
      : `this broker does not lead its group: the master is at ${master}`,
    { retryAfterMs: 100, ...(master === undefined ? {} : { metadata: { master } }) },
  );
}

/** The broker is about to end. */
export function stopping(): TernError {
  return new TernError('UNAVAILABLE', 'NOT_READY', 'the broker is stopping; try again');
}
