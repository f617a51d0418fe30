import { InvalidArgumentError } from 'commander';
import { describe, expect, test } from 'vitest';
import {
  backoff,
  durations,
  positiveNumber,
  property,
  resetTarget,
  startPoint,
  wholeNumber,
} from './arguments.ts';

const NOW_MS = Date.UTC(2026, 10, 23, 12, 0, 0);
const from = startPoint(() => NOW_MS);
const to = resetTarget(() => NOW_MS);

describe('a start point', () => {
  test.each([
    ['begin', 'first'],
    ['end', 'last'],
    ['2026-11-23T08:00:00Z', new Date(Date.UTC(2026, 10, 23, 8))],
    ['2026-11-23T08:00:00.250+01:00', new Date(Date.UTC(2026, 10, 23, 7, 0, 0, 250))],
    ['2026-11-23', new Date(Date.UTC(2026, 10, 23))],
    ['15m', new Date(NOW_MS - 900_000)],
    ['1.5h', new Date(NOW_MS - 5_400_000)],
  ])('reads %s', (text, expected) => {
    expect(from(text)).toEqual(expected);
  });

  test.each(['', 'yesterday', '0', '12', '2026-13-01', '2026-11-23T25:00:00Z', '-5m', '99999999d'])(
    'refuses %j',
    (text) => {
      expect(() => from(text)).toThrow(InvalidArgumentError);
    },
  );
});

describe('a reset target', () => {
  test.each([
    ['begin', 'first'],
    ['end', 'last'],
    ['0', { offset: 0 }],
    ['1200', { offset: 1200 }],
    ['+5', { shift: 5 }],
    ['-100', { shift: -100 }],
    ['10s', new Date(NOW_MS - 10_000)],
  ])('reads %s', (text, expected) => {
    expect(to(text)).toEqual(expected);
  });

  test.each(['', '+', 'x', '1.5', '--5'])('refuses %j', (text) => {
    expect(() => to(text)).toThrow(/an offset/);
  });
});

describe('growing pauses', () => {
  test.each([
    ['1s', { initialMs: 1000 }],
    ['500ms, 1.5', { initialMs: 500, multiplier: 1.5 }],
    ['1s,2,10m', { initialMs: 1000, multiplier: 2, maxMs: 600_000 }],
  ])('reads %s', (text, expected) => {
    expect(backoff(text)).toEqual(expected);
  });

  test.each(['', '2', '1s,0', '1s,x2', '1s,2,', '1s,2,10m,3'])('refuses %j', (text) => {
    expect(() => backoff(text)).toThrow(InvalidArgumentError);
  });
});

describe('numbers', () => {
  test('are whole and within bounds', () => {
    expect(wholeNumber(1, 10)('10')).toBe(10);
    for (const text of ['0', '11', '1.5', '-1', '1e1', ' 1', '']) {
      expect(() => wholeNumber(1, 10)(text)).toThrow(InvalidArgumentError);
    }
  });

  test('that may have a fraction are above 0', () => {
    expect(positiveNumber('0.5')).toBe(0.5);
    for (const text of ['0', '-1', 'Infinity', 'NaN', '']) {
      expect(() => positiveNumber(text)).toThrow(InvalidArgumentError);
    }
  });
});

test('a property is split at its first equals sign and joins those before', () => {
  expect(property('b=c=d', { a: '1' })).toEqual({ a: '1', b: 'c=d' });
  expect(() => property('=x')).toThrow(InvalidArgumentError);
  expect(() => property('x')).toThrow(InvalidArgumentError);
});

test('durations are separated by commas', () => {
  expect(durations('1s, 10s,1m')).toEqual([1000, 10_000, 60_000]);
});
