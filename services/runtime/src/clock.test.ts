import { describe, expect, test } from 'vitest';
import { ManualClock, systemClock } from './clock.ts';

describe('a manual clock', () => {
  test('fires what is due in order, also what is set meanwhile, each at its own time', () => {
    const clock = new ManualClock(1000);
    const fired: [string, number][] = [];
    const note = (name: string) => () => fired.push([name, clock.nowMs()]);
    clock.setTimer(30, note('late'));
    clock.setTimer(10, () => {
      note('early')();
      clock.setTimer(5, note('chained'));
    });
    clock.setTimer(10, note('same time, set later'));
    clock.setTimer(31, note('not yet'));

    clock.advance(30);

    expect(fired).toEqual([
      ['early', 1010],
      ['same time, set later', 1010],
      ['chained', 1015],
      ['late', 1030],
    ]);
    expect(clock.monotonicMs()).toBe(30);
    expect(clock.pending).toBe(1);
  });

  test('repeats an interval until it is cancelled, also from inside', () => {
    const clock = new ManualClock();
    let count = 0;
    const timer = clock.every(10, () => {
      count++;
      if (count === 3) timer.cancel();
    });
    clock.advance(100);
    expect(count).toBe(3);
    expect(clock.pending).toBe(0);
  });

  test('does not fire a cancelled timer', () => {
    const clock = new ManualClock();
    const timer = clock.setTimer(1, () => expect.unreachable());
    timer.cancel();
    timer.cancel();
    clock.advance(10);
  });

  test('ends a sleep early when the signal aborts, and leaves no timer behind', async () => {
    const clock = new ManualClock();
    const abort = new AbortController();
    const sleep = clock.sleep(1000, abort.signal);
    abort.abort(new Error('enough'));
    await expect(sleep).rejects.toThrow('enough');
    expect(clock.pending).toBe(0);
    await expect(clock.sleep(1, AbortSignal.abort(new Error('before')))).rejects.toThrow('before');
  });
});

describe('the system clock', () => {
  test('does not fire a timer of a month at once, as a bare timer of Node would', async () => {
    let fired = false;
    const timer = systemClock.setTimer(31 * 86_400_000, () => {
      fired = true;
    });
    await systemClock.sleep(5);
    timer.cancel();
    expect(fired).toBe(false);
  });

  test('refuses an interval that Node cannot hold', () => {
    expect(() => systemClock.every(2 ** 31, () => {})).toThrow('out of bounds');
    expect(() => systemClock.every(0, () => {})).toThrow('out of bounds');
  });
});
