// What a log answers when it cannot be written.

import { TernError } from '@ternmq/runtime';

/** Has the disk no room? */
export function isFull(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ENOSPC' || code === 'EDQUOT';
}

/** The disk is full: writing is tried again. */
export function diskFull(): TernError {
  return new TernError(
    'RESOURCE_EXHAUSTED',
    'DISK_FULL',
    "the broker's disk is full; free space or delete topics, sending resumes by itself",
    { retryAfterMs: 1000 },
  );
}

/** The log takes nothing any more: it is closed, or has failed for good. */
export function logStopped(failure: Error | undefined): TernError {
  return failure === undefined
    ? new TernError('UNAVAILABLE', 'NOT_READY', 'the broker is stopping; try again')
    : new TernError(
        'UNAVAILABLE',
        'LOG_FAILED',
        'the broker cannot write its log and stops; its log file tells why',
        { cause: failure },
      );
}
