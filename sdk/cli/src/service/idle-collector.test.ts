import { ManualClock } from '@ternmq/runtime';
import { expect, test } from 'vitest';
import { IdleCollector, processUsage } from './idle-collector.ts';

const MIB = 2 ** 20;

/** A process whose heap is at `live` after each collection. */
function rig(live: number) {
  const clock = new ManualClock();
  const usage = {
    cpu: 0,
    heap: live,
    collections: 0,
    cpuMs: () => usage.cpu,
    heapBytes: () => usage.heap,
    collect: () => {
      usage.collections++;
      usage.heap = live;
    },
  };
  return { clock, usage, collector: new IdleCollector(usage, clock) };
}

test('a process that has become idle gives its garbage back once', () => {
  const { clock, usage } = rig(40 * MIB);
  clock.advance(2000);
  expect(usage.collections).toBe(1);
  usage.heap = 200 * MIB;
  usage.cpu += 2000;
  clock.advance(2000);
  expect(usage.collections).toBe(1);
  clock.advance(2000);
  expect(usage.collections).toBe(2);
  clock.advance(60_000);
  expect(usage.collections).toBe(2);
});

test('a process that works, or has little garbage, is left alone', () => {
  const { clock, usage, collector } = rig(40 * MIB);
  clock.advance(2000);
  for (let i = 0; i < 10; i++) {
    usage.heap += 20 * MIB;
    usage.cpu += 200;
    clock.advance(2000);
  }
  expect(usage.collections).toBe(1);
  usage.heap = 60 * MIB;
  clock.advance(20_000);
  expect(usage.collections).toBe(1);
  collector.close();
  expect(clock.pending).toBe(0);
});

test('the heap of this process is collected', () => {
  const usage = processUsage();
  const kept = new WeakRef({ garbage: Array.from({ length: 1000 }, (_, i) => ({ i })) });
  expect(usage.heapBytes()).toBeGreaterThan(0);
  expect(usage.cpuMs()).toBeGreaterThan(0);
  return new Promise<void>((resolve, reject) => {
    // What a WeakRef was made for lives to the end of the turn.
    setImmediate(() => {
      usage.collect();
      if (kept.deref() === undefined) resolve();
      else reject(new Error('an object that nobody holds was not collected'));
    });
  });
});
