// When a message may be delivered at the earliest.

import type { OutgoingMessage } from './message.ts';

/** RocketMQ's 18 delay levels by name, level 1 first. */
export const DELAY_LEVELS = [
  '1s',
  '5s',
  '10s',
  '30s',
  '1m',
  '2m',
  '3m',
  '4m',
  '5m',
  '6m',
  '7m',
  '8m',
  '9m',
  '10m',
  '20m',
  '30m',
  '1h',
  '2h',
] as const;

/** One of RocketMQ's delay levels. */
export type DelayLevel = (typeof DELAY_LEVELS)[number];

const UNIT_MS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000 };

/** A delay in milliseconds; undefined when it is none. */
export function delayMsOf(delay: number | DelayLevel | undefined): number | undefined {
  if (delay === undefined) return 0;
  if (typeof delay === 'number')
    return Number.isSafeInteger(delay) && delay >= 0 ? delay : undefined;
  if (!DELAY_LEVELS.includes(delay)) return undefined;
  return Number(delay.slice(0, -1)) * (UNIT_MS[delay.slice(-1)] as number);
}

/** Must the message wait before it is delivered? */
export function isDelayed(message: OutgoingMessage): boolean {
  return message.deliverAt !== undefined || (message.delay !== undefined && message.delay !== 0);
}
