// Bounds of request fields.

import { type Clock, TernError, type UnaryContext } from '@ternmq/runtime';

/** Longest that a call may wait for messages, in milliseconds. */
export const WAIT_MS_MAX = 30_000;
/** What is left of a call's deadline for the way back, in milliseconds. */
const RETURN_MS = 100;

/** A number from 1 to `max`; 0 takes the default. Throws INVALID_ARGUMENT. */
export function inRange(field: string, value: number, otherwise: number, max: number): number {
  if (value === 0) return otherwise;
  if (value <= max) return value;
  const description = `must be 1 to ${max}, or 0 for ${otherwise}`;
  throw new TernError('INVALID_ARGUMENT', 'INVALID_FIELD', `${field} ${description}`, {
    fields: [{ field, description }],
  });
}

/** How long a call may really wait: what it asks for, within the limit and its deadline. */
export function boundedWait(waitMs: number, context: UnaryContext, clock: Clock): number {
  if (waitMs > WAIT_MS_MAX) inRange('wait_ms', waitMs, 0, WAIT_MS_MAX);
  return Math.min(waitMs, leftOf(context, clock));
}

/** What a call may wait within its deadline, so that the answer still arrives, in milliseconds; Infinity without one. */
export function leftOf(context: UnaryContext, clock: Clock): number {
  return Math.max(0, context.deadlineMs - clock.nowMs() - RETURN_MS);
}
