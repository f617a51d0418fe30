import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { calculate, type ExactNumber, parseNumber } from './exact-number.ts';

const LONG_MAX = 2n ** 63n - 1n;
const LONG_MIN = -(2n ** 63n);

test.each<[string, ExactNumber]>([
  ['0', 0],
  ['7', 7],
  ['-7', -7],
  ['+7', 7],
  ['007', 7],
  ['-007', -7],
  ['3.0', 3],
  ['3.', 3],
  ['.5', 0.5],
  ['-.5', -0.5],
  ['1e3', 1000],
  ['1.5E-3', 0.0015],
  ['999999999999999', 999999999999999],
  ['9007199254740991', 9007199254740991],
  ['9007199254740992', 9007199254740992n],
  ['-9007199254740993', -9007199254740993n],
  ['+9007199254740993', 9007199254740993n],
  ['9223372036854775807', LONG_MAX],
  ['-9223372036854775808', LONG_MIN],
  ['9223372036854775808', 2 ** 63],
  ['100000000000000000000000', 1e23],
  ['9007199254740993.0', 9007199254740992],
  [`${'0'.repeat(1000)}9223372036854775807`, LONG_MAX],
])('%j is a number', (text, value) => {
  expect(parseNumber(text)).toBe(value);
});

test.each([
  ...[
    '',
    ' ',
    '-',
    '+',
    '.',
    '-.',
    'e',
    'e1',
    '1e',
    '1e+',
    '1.2.3',
    '--1',
    '+-1',
    '1-',
    '1 ',
    ' 1',
  ],
  ...['1L', '1f', '1d', '0x1F', '0b1', 'NaN', 'Infinity', '-Infinity', '1_000', '1,5', '１', '٣'],
  ...['1e309', '-1e309', 'null', 'true', '1\n', '1n'],
])('%j is no number', (text) => {
  expect(parseNumber(text)).toBeUndefined();
});

test('long texts are judged soon', () => {
  expect(parseNumber(`${'1'.repeat(16_384)}x`)).toBeUndefined();
  expect(parseNumber(`${'1'.repeat(16_384)}`)).toBeUndefined();
  expect(parseNumber(`0.${'1'.repeat(16_384)}`)).toBeCloseTo(1 / 9);
  expect(parseNumber(`.${'1'.repeat(16_384)}.`)).toBeUndefined();
}, 1000);

test('a short whole number is the same with and without a fraction', () => {
  fc.assert(
    fc.property(fc.maxSafeInteger(), (value) => {
      expect(parseNumber(String(value))).toBe(value);
      expect(parseNumber(`${value}.0`)).toBe(value);
    }),
  );
});

describe('calculates', () => {
  test.each<[ExactNumber, '+' | '-' | '*' | '/' | '%', ExactNumber, ExactNumber | undefined]>([
    [1, '+', 2, 3],
    [1, '-', 2, -1],
    [3, '*', -2, -6],
    [7, '/', 2, 3.5],
    [6, '/', 2, 3],
    [7, '%', 3, 1],
    [-7, '%', 3, -1],
    [7, '%', -3, 1],
    [7.5, '%', 2, 1.5],
    [0.1, '+', 0.2, 0.1 + 0.2],
    [1, '/', 0, undefined],
    [0, '/', 0, undefined],
    [1, '%', 0, undefined],
    [1.5, '%', 0, undefined],
    [LONG_MAX, '/', 0, undefined],
    [LONG_MAX, '%', 0, undefined],
    [LONG_MAX, '%', -0, undefined],
    [1e308, '*', 10, undefined],
    [9007199254740991, '+', 2, 9007199254740993n],
    [9007199254740993n, '-', 2, 9007199254740991],
    [9007199254740993n, '%', 10, 3],
    [-9007199254740993n, '%', 10, -3],
    [3037000500, '*', 3037000499, 9223372033963249500n],
    [LONG_MAX, '+', 1, 2 ** 63],
    [LONG_MIN, '-', 1, -(2 ** 63)],
    [LONG_MAX, '*', LONG_MAX, 2 ** 126],
    [LONG_MAX, '+', 0.5, 2 ** 63],
    [LONG_MAX, '/', LONG_MAX, 1],
    [2 ** 60, '+', 1, 2 ** 60 + 1],
  ])('%s %s %s', (left, operator, right, result) => {
    expect(calculate(operator, left, right)).toBe(result);
  });
});

test('whole numbers of 64 bits are calculated exactly, and always have their only form', () => {
  const long = fc.bigInt({ min: LONG_MIN, max: LONG_MAX });
  const whole = fc.oneof(
    long,
    fc.bigInt({ min: -100n, max: 100n }),
    fc.maxSafeInteger().map(BigInt),
  );
  const inForm = (value: bigint): ExactNumber => {
    const float = Number(value);
    return Number.isSafeInteger(float) || value > LONG_MAX || value < LONG_MIN ? float : value;
  };
  fc.assert(
    fc.property(whole, whole, (left, right) => {
      const one = inForm(left);
      const other = inForm(right);
      expect(parseNumber(String(left))).toBe(one);
      // 0 and -0 are one number here.
      const result = (operator: '+' | '-' | '*' | '%') => {
        const value = calculate(operator, one, other);
        return value === 0 ? 0 : value;
      };
      expect(result('+')).toBe(inForm(left + right));
      expect(result('-')).toBe(inForm(left - right));
      expect(result('*')).toBe(inForm(left * right));
      expect(result('%')).toBe(right === 0n ? undefined : inForm(left % right));
    }),
    { numRuns: 2000 },
  );
});
