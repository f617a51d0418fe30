// What a producer is told when a frame cannot be taken.

import { AssertionFailed, stopProcess, TernError } from '@ternmq/runtime';

/** Why a frame is refused: a stable reason and a sentence that tells what to do. */
export interface Refusal {
  readonly reason: string;
  readonly message: string;
}

/** The refusal for an error that came up while a frame was taken. */
export function frameRefusal(error: unknown): Refusal {
  if (error instanceof TernError) return { reason: error.reason, message: error.message };
  // A frame may be half in the log: nothing may go on from here.
  const failure =
    error instanceof AssertionFailed
      ? error
      : new AssertionFailed(`taking a frame failed: ${String(error)}`);
  stopProcess(failure);
  return { reason: 'INTERNAL', message: 'the broker has failed and stops; try again' };
}
