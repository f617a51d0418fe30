// When a message that failed is delivered again, and when no more. Pure.

import { type FieldViolation, TernError } from '@ternmq/runtime';
import type { GroupSettings, RetryBackoff } from '../state/groups.ts';

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;

/** Deliveries of a message when the group does not say. */
export const ATTEMPTS_DEFAULT = 16;
/** Most deliveries that a group may ask for. */
export const ATTEMPTS_MAX = 1000;
/** Longest pause before a delivery, in milliseconds: 40 days. */
export const RETRY_DELAY_MS_MAX = 40 * 24 * HOUR_MS;
/** How long a delivered message may stay unsettled when nobody says, in milliseconds. */
export const LEASE_MS_DEFAULT = MINUTE_MS;
/** Shortest lease, in milliseconds. */
export const LEASE_MS_MIN = SECOND_MS;
/** Longest lease, in milliseconds. */
export const LEASE_MS_MAX = 12 * HOUR_MS;
/** Pauses before the second, third, … delivery when the group does not say, in milliseconds: RocketMQ's. */
export const RETRY_DELAYS_MS_DEFAULT: readonly number[] = [
  10 * SECOND_MS,
  30 * SECOND_MS,
  ...[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30].map((minutes) => minutes * MINUTE_MS),
  HOUR_MS,
  2 * HOUR_MS,
];

/** How many times longer each pause is than the one before when the group does not say. */
export const MULTIPLIER_DEFAULT = 2;
/** Fastest growth of pauses. */
export const MULTIPLIER_MAX = 100;
/** Longest pause of those that grow when the group does not say, in milliseconds. */
export const BACKOFF_MS_MAX_DEFAULT: number = 2 * HOUR_MS;

/** What a group says of retries; zeros and empty lists take the defaults. */
export type RetrySettings = Pick<
  GroupSettings,
  'attemptsMax' | 'retryDelaysMs' | 'leaseMs' | 'retryBackoff'
>;

/** What a group does with messages that fail. */
export class RetryPolicy {
  /** Deliveries of a message before it moves to the dead-letter topic. */
  readonly attemptsMax: number;
  /** How long a delivered message may stay unsettled when the consumer does not say, in milliseconds. */
  readonly leaseMs: number;
  readonly #delaysMs: readonly number[];
  readonly #backoff: RetryBackoff | undefined;

  /** @param settings must be valid, see checkRetrySettings */
  constructor(settings: RetrySettings) {
    this.attemptsMax = settings.attemptsMax || ATTEMPTS_DEFAULT;
    this.leaseMs = settings.leaseMs || LEASE_MS_DEFAULT;
    const { retryDelaysMs, retryBackoff } = settings;
    this.#backoff = retryBackoff;
    this.#delaysMs = retryDelaysMs.length === 0 ? RETRY_DELAYS_MS_DEFAULT : retryDelaysMs;
  }

  /**
   * Pause before a delivery, in milliseconds.
   *
   * @param attempt which delivery, 2 for the first retry; there is no pause before the first delivery
   */
  delayMs(attempt: number): number {
    if (attempt < 2) return 0;
    if (this.#backoff !== undefined) return growingDelayMs(this.#backoff, attempt);
    return this.#delaysMs[Math.min(attempt - 2, this.#delaysMs.length - 1)] as number;
  }

  /** Has a message that was delivered so often, and failed, had its last delivery? */
  exhausted(attempt: number): boolean {
    return attempt >= this.attemptsMax;
  }
}

function growingDelayMs({ initialMs, multiplier, maxMs }: RetryBackoff, attempt: number): number {
  const longestMs = maxMs || Math.max(initialMs, BACKOFF_MS_MAX_DEFAULT);
  const grownMs = initialMs * (multiplier || MULTIPLIER_DEFAULT) ** (attempt - 2);
  return Math.round(Math.min(grownMs, longestMs));
}

/**
 * Checks what a request says of retries.
 *
 * @throws TernError INVALID_ARGUMENT with reason INVALID_GROUP_SETTINGS that names every wrong field
 */
export function checkRetrySettings(settings: RetrySettings): void {
  const fields: FieldViolation[] = [];
  const { attemptsMax, retryDelaysMs, leaseMs, retryBackoff } = settings;
  if (attemptsMax !== 0 && !isWithin(attemptsMax, 1, ATTEMPTS_MAX)) {
    const description = `must be 1 to ${ATTEMPTS_MAX}, or 0 for ${ATTEMPTS_DEFAULT}`;
    fields.push({ field: 'settings.attempts_max', description });
  }
  if (retryDelaysMs.length > ATTEMPTS_MAX) {
    const description = `must have at most ${ATTEMPTS_MAX} pauses; the last one repeats`;
    fields.push({ field: 'settings.retry_delays_ms', description });
  } else {
    const wrong = retryDelaysMs.findIndex((delay) => !isWithin(delay, 0, RETRY_DELAY_MS_MAX));
    if (wrong >= 0) {
      const description = `must be 0 to ${RETRY_DELAY_MS_MAX} (40 days)`;
      fields.push({ field: `settings.retry_delays_ms[${wrong}]`, description });
    }
  }
  if (retryBackoff !== undefined) fields.push(...backoffViolations(retryBackoff, retryDelaysMs));
  if (leaseMs !== 0 && !isWithin(leaseMs, LEASE_MS_MIN, LEASE_MS_MAX)) {
    fields.push({ field: 'settings.lease_ms', description: leaseMsDescription() });
  }
  if (fields.length === 0) return;
  const sentences = fields.map(({ field, description }) => `${field} ${description}`);
  throw new TernError(
    'INVALID_ARGUMENT',
    'INVALID_GROUP_SETTINGS',
    `The group's settings are out of bounds: ${sentences.join('; ')}.`,
    { fields },
  );
}

function backoffViolations(
  { initialMs, multiplier, maxMs }: RetryBackoff,
  retryDelaysMs: readonly number[],
): FieldViolation[] {
  const fields: FieldViolation[] = [];
  if (retryDelaysMs.length > 0) {
    const description = 'and settings.retry_delays_ms exclude each other; set one of them';
    fields.push({ field: 'settings.retry_backoff', description });
  }
  if (!isWithin(initialMs, 1, RETRY_DELAY_MS_MAX)) {
    const description = `must be 1 to ${RETRY_DELAY_MS_MAX} (40 days)`;
    fields.push({ field: 'settings.retry_backoff.initial_ms', description });
  }
  if (multiplier !== 0 && !(multiplier >= 1 && multiplier <= MULTIPLIER_MAX)) {
    const description = `must be 1 to ${MULTIPLIER_MAX}, or 0 for ${MULTIPLIER_DEFAULT}`;
    fields.push({ field: 'settings.retry_backoff.multiplier', description });
  }
  if (maxMs !== 0 && !isWithin(maxMs, initialMs, RETRY_DELAY_MS_MAX)) {
    const description = `must be initial_ms to ${RETRY_DELAY_MS_MAX} (40 days), or 0 for the default`;
    fields.push({ field: 'settings.retry_backoff.max_ms', description });
  }
  return fields;
}

/**
 * Checks how long a consumer asks to hold messages.
 *
 * @param leaseMs in milliseconds; 0 takes the group's
 * @param field name in the request
 * @throws TernError INVALID_ARGUMENT with reason INVALID_LEASE
 */
export function checkLeaseMs(leaseMs: number, field: string): void {
  if (leaseMs === 0 || isWithin(leaseMs, LEASE_MS_MIN, LEASE_MS_MAX)) return;
  const description = leaseMsDescription();
  throw new TernError('INVALID_ARGUMENT', 'INVALID_LEASE', `${field} ${description}.`, {
    fields: [{ field, description }],
  });
}

function leaseMsDescription(): string {
  return `must be ${LEASE_MS_MIN} to ${LEASE_MS_MAX} ms (1 s to 12 h), or 0 for the default`;
}

function isWithin(value: number, min: number, max: number): boolean {
  return Number.isInteger(value) && value >= min && value <= max;
}
