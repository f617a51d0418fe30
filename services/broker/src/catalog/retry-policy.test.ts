import { TernError } from '@ternmq/runtime';
import { expect, test } from 'vitest';
import {
  checkLeaseMs,
  checkRetrySettings,
  RETRY_DELAY_MS_MAX,
  RetryPolicy,
  type RetrySettings,
} from './retry-policy.ts';

const DEFAULTS: RetrySettings = { attemptsMax: 0, retryDelaysMs: [], leaseMs: 0 };
const MINUTE_MS = 60_000;

function refusedFields(settings: Partial<RetrySettings>): string[] {
  try {
    checkRetrySettings({ ...DEFAULTS, ...settings });
  } catch (error) {
    if (!(error instanceof TernError)) throw error;
    expect(error.code).toBe('INVALID_ARGUMENT');
    expect(error.reason).toBe('INVALID_GROUP_SETTINGS');
    return error.fieldViolations.map(({ field }) => field);
  }
  return [];
}

test("a group that says nothing gets RocketMQ's pauses and 16 deliveries", () => {
  const policy = new RetryPolicy(DEFAULTS);
  const delays = Array.from({ length: 17 }, (_, index) => policy.delayMs(index + 2));
  const minutes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30, 60, 120].map((m) => m * MINUTE_MS);
  expect(delays).toEqual([10_000, 30_000, ...minutes, 120 * MINUTE_MS]);
  expect(policy.exhausted(15)).toBe(false);
  expect(policy.exhausted(16)).toBe(true);
  expect(policy.leaseMs).toBe(MINUTE_MS);
});

test('the last pause of a group repeats', () => {
  const policy = new RetryPolicy({ attemptsMax: 3, retryDelaysMs: [100, 200], leaseMs: 5000 });
  expect([1, 2, 3, 4, 1000].map((attempt) => policy.delayMs(attempt))).toEqual([
    0, 100, 200, 200, 200,
  ]);
  expect(policy.exhausted(2)).toBe(false);
  expect(policy.exhausted(3)).toBe(true);
  expect(policy.leaseMs).toBe(5000);
});

test('pauses grow by the factor of the group, up to its longest', () => {
  const pauses = (backoff: RetrySettings['retryBackoff']): number[] => {
    const policy = new RetryPolicy({ ...DEFAULTS, retryBackoff: backoff });
    return [1, 2, 3, 4, 5, 6, 1000].map((attempt) => policy.delayMs(attempt));
  };
  expect(pauses({ initialMs: 100, multiplier: 3, maxMs: 5000 })).toEqual([
    0, 100, 300, 900, 2700, 5000, 5000,
  ]);
  const twoHours = 120 * MINUTE_MS;
  expect(pauses({ initialMs: 1001, multiplier: 0, maxMs: 0 })).toEqual([
    0,
    1001,
    2002,
    4004,
    8008,
    16_016,
    twoHours,
  ]);
  expect(pauses({ initialMs: 15, multiplier: 1.5, maxMs: 40 })).toEqual([
    0, 15, 23, 34, 40, 40, 40,
  ]);
  expect(pauses({ initialMs: twoHours + 1, multiplier: 2, maxMs: 0 })).toEqual([
    0,
    ...new Array(6).fill(twoHours + 1),
  ]);
});

test('growing pauses have bounds, and exclude a list', () => {
  const backoff = { initialMs: 1000, multiplier: 2, maxMs: 10_000 };
  const field = (name: string): string => `settings.retry_backoff.${name}`;
  expect(refusedFields({ retryBackoff: backoff })).toEqual([]);
  expect(refusedFields({ retryBackoff: { initialMs: 1, multiplier: 100, maxMs: 1 } })).toEqual([]);
  expect(refusedFields({ retryBackoff: backoff, retryDelaysMs: [1] })).toEqual([
    'settings.retry_backoff',
  ]);
  expect(refusedFields({ retryBackoff: { initialMs: 0, multiplier: 0, maxMs: 0 } })).toEqual([
    field('initial_ms'),
  ]);
  for (const multiplier of [0.5, 101, -1, Number.NaN, Number.POSITIVE_INFINITY]) {
    expect(refusedFields({ retryBackoff: { ...backoff, multiplier } })).toEqual([
      field('multiplier'),
    ]);
  }
  for (const maxMs of [999, RETRY_DELAY_MS_MAX + 1]) {
    expect(refusedFields({ retryBackoff: { ...backoff, maxMs } })).toEqual([field('max_ms')]);
  }
});

test('a message of a group with one attempt is exhausted after its first delivery', () => {
  expect(new RetryPolicy({ ...DEFAULTS, attemptsMax: 1 }).exhausted(1)).toBe(true);
});

test('settings at their bounds are accepted', () => {
  expect(refusedFields({})).toEqual([]);
  const delays = [0, RETRY_DELAY_MS_MAX];
  expect(refusedFields({ attemptsMax: 1, retryDelaysMs: delays, leaseMs: 1000 })).toEqual([]);
  expect(refusedFields({ attemptsMax: 1000, leaseMs: 12 * 3600 * 1000 })).toEqual([]);
});

test('settings beyond their bounds are refused by name, all at once', () => {
  expect(refusedFields({ attemptsMax: 1001 })).toEqual(['settings.attempts_max']);
  expect(refusedFields({ attemptsMax: 1.5 })).toEqual(['settings.attempts_max']);
  expect(refusedFields({ retryDelaysMs: [1, RETRY_DELAY_MS_MAX + 1] })).toEqual([
    'settings.retry_delays_ms[1]',
  ]);
  expect(refusedFields({ retryDelaysMs: new Array(1001).fill(1) })).toEqual([
    'settings.retry_delays_ms',
  ]);
  expect(refusedFields({ attemptsMax: -1, leaseMs: 999 })).toEqual([
    'settings.attempts_max',
    'settings.lease_ms',
  ]);
  expect(refusedFields({ leaseMs: 12 * 3600 * 1000 + 1 })).toEqual(['settings.lease_ms']);
});

test('a lease that a consumer asks for has bounds, and 0 takes the default', () => {
  for (const leaseMs of [0, 1000, 12 * 3600 * 1000]) checkLeaseMs(leaseMs, 'lease_ms');
  for (const leaseMs of [1, 999, 12 * 3600 * 1000 + 1]) {
    expect(() => checkLeaseMs(leaseMs, 'lease_ms')).toThrow('lease_ms must be 1000 to 43200000 ms');
  }
});
