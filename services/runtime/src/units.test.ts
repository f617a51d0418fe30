import fc from 'fast-check';
import { expect, test } from 'vitest';
import { formatBytes, formatDuration, parseBytes, parseDuration } from './units.ts';

test('reads sizes and times as people write them', () => {
  expect(parseBytes('4096')).toBe(4096);
  expect(parseBytes('256MiB')).toBe(268_435_456);
  expect(parseBytes('1.5 GiB')).toBe(1_610_612_736);
  expect(parseBytes('10MB')).toBe(10_000_000);
  expect(parseDuration('0')).toBe(0);
  expect(parseDuration('200ms')).toBe(200);
  expect(parseDuration('72h')).toBe(259_200_000);
  expect(parseDuration('1.5s')).toBe(1500);
});

test('refuses what is ambiguous or no whole number of bytes or milliseconds', () => {
  for (const text of ['', 'MiB', '1mb', '1.5', '-1', '1e3', '1.0001kB', '99999999TiB']) {
    expect(parseBytes(text), text).toBeUndefined();
  }
  for (const text of ['', '15', 's', '1 week', '0.5ms', '-1s']) {
    expect(parseDuration(text), text).toBeUndefined();
  }
});

test('reads back every value that it writes', () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), (value) => {
      // Beyond 15 digits a size without a unit is no longer accepted.
      fc.pre(value < 1e15);
      expect(parseBytes(formatBytes(value))).toBe(value);
      expect(parseDuration(formatDuration(value))).toBe(value);
    }),
  );
});
