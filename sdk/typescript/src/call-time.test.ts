import { expect, test } from 'vitest';
import { CallTime } from './call-time.ts';
import { ManualClock } from './testing/manual-clock.ts';

test('each step of a call gets what the steps before it have left, and at most its own bound', async () => {
  const clock = new ManualClock();
  const time = new CallTime(clock, { deadlineMs: 1000 });
  expect(time.atMost(300).deadlineMs).toBe(300);
  await clock.advance(900);
  expect(time.deadlineMs).toBe(100);
  expect(time.atMost(300).deadlineMs).toBe(100);
  await clock.advance(900);
  expect(time.deadlineMs).toBe(0);
});

test('a call that says nothing has ten seconds', () => {
  expect(new CallTime(new ManualClock(), {}).deadlineMs).toBe(10_000);
});

test('a call whose signal has aborted does not begin', () => {
  const signal = AbortSignal.abort();
  expect(() => new CallTime(new ManualClock(), { signal })).toThrow(
    expect.objectContaining({ code: 'ABORTED' }),
  );
});
