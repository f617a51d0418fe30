import { expect, test } from 'vitest';
import { sizeText, spanText, timeText } from './format.ts';

test.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1536, '1.5 KiB'],
  [256 * 2 ** 20, '256 MiB'],
  [3 * 2 ** 50, '3072 TiB'],
])('%i bytes are %s', (bytes, text) => {
  expect(sizeText(bytes)).toBe(text);
});

test.each([
  [0, '0ms'],
  [250, '250ms'],
  [1000, '1s'],
  [61_000, '1m1s'],
  [3_600_000, '1h'],
  [90_061_000, '1d1h'],
])('%i ms are %s', (ms, text) => {
  expect(spanText(ms)).toBe(text);
});

test('no time is a dash', () => {
  expect(timeText(0)).toBe('-');
  expect(timeText(Date.UTC(2026, 0, 2))).toBe('2026-01-02T00:00:00.000Z');
});
