import { expect, test } from 'vitest';
import { Latencies } from './latencies.ts';

test('percentiles are right to one per cent', () => {
  const latencies = new Latencies();
  for (let ms = 1; ms <= 1000; ms++) latencies.add(ms, 1);
  expect(latencies.percentile(50)).toBeGreaterThanOrEqual(500);
  expect(latencies.percentile(50)).toBeLessThan(500 * 1.011);
  expect(latencies.percentile(99)).toBeGreaterThanOrEqual(990);
  expect(latencies.percentile(99)).toBeLessThanOrEqual(1000);
  expect(latencies.maxMs).toBe(1000);
});

test('messages of a frame count each', () => {
  const latencies = new Latencies();
  latencies.add(1, 99);
  latencies.add(100, 1);
  expect(latencies.percentile(99)).toBeLessThan(1.02);
  expect(latencies.percentile(100)).toBe(100);
});

test('nothing measured is 0, and extremes fit', () => {
  const latencies = new Latencies();
  expect(latencies.percentile(99)).toBe(0);
  latencies.add(0, 1);
  latencies.add(1e12, 1);
  expect(latencies.percentile(1)).toBeLessThan(0.002);
  expect(latencies.maxMs).toBe(1e12);
});
