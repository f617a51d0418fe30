import { expect, test } from 'vitest';
import { DELAY_LEVELS, delayMsOf, isDelayed } from './delay.ts';
import { messageFault } from './message-check.ts';

test('the levels are those of RocketMQ', () => {
  expect(DELAY_LEVELS.map((level) => (delayMsOf(level) as number) / 1000)).toEqual([
    1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200,
  ]);
});

test('a message with a delay or a time is delayed, and one with a delay of 0 is not', () => {
  expect(isDelayed({ body: 'x' })).toBe(false);
  expect(isDelayed({ body: 'x', delay: 0 })).toBe(false);
  expect(isDelayed({ body: 'x', delay: 1 })).toBe(true);
  expect(isDelayed({ body: 'x', delay: '2h' })).toBe(true);
  expect(isDelayed({ body: 'x', deliverAt: new Date(1) })).toBe(true);
});

test.each([
  { delay: -1 },
  { delay: 1.5 },
  { delay: Number.NaN },
  { delay: '3s' as '1s' },
  { deliverAt: new Date(Number.NaN) },
  { deliverAt: new Date(0) },
  { delay: 5, deliverAt: new Date(1) },
])('a delay that is none is refused before it travels (%o)', (wrong) => {
  expect(messageFault({ body: 'x', ...wrong })?.code).toBe('INVALID_OPTION');
});
