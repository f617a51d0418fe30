// Numbers of filters. Whole numbers of 64 bits are exact, as order numbers often exceed 2^53; everything else is a
// 64-bit float.
//
//   number   safe integers, and floats; always finite
//   bigint   the other integers of -2^63 to 2^63 - 1, and only those
//
// `<` and its like compare the two kinds exactly. Equality is `a <= b && a >= b`, because a float that is no safe
// integer may equal a bigint.

import type { ArithmeticOperator } from './expression.ts';

/** A number of a filter; see the head of this file. */
export type ExactNumber = number | bigint;

const WHOLE = /^[+-]?\d+$/;
// Linear in the length of any text: no two parts can match the same digits.
const NUMBER = /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?$/;
/** Shorter integers are safe, whatever their digits. */
const SAFE_DIGITS = 15;
const LONG_LIMIT = 2 ** 63;

/**
 * The number that a text is; undefined when it is none. Decimal, with or without sign, fraction and exponent, and
 * nothing around it: `7`, `-007`, `+1.5`, `.5`, `5.`, `1e3`. Not `0x1F`, `1L`, `NaN`, `Infinity`, ` 7` or an empty text.
 * A number too large for a float is none.
 */
export function parseNumber(text: string): ExactNumber | undefined {
  const length = text.length;
  if (length <= SAFE_DIGITS) {
    // Most properties that are numbers are short whole ones: no expression, no second parse.
    let value = 0;
    let at = 0;
    const negative = text.charCodeAt(0) === 0x2d;
    if (negative) at = 1;
    const digitsAt = at;
    for (; at < length; at++) {
      const digit = text.charCodeAt(at) - 0x30;
      if (digit < 0 || digit > 9) break;
      value = value * 10 + digit;
    }
    if (at === length && at > digitsAt) return negative ? -value : value;
  }
  if (!NUMBER.test(text)) return undefined;
  const value = Number(text);
  if (Number.isSafeInteger(value) || Math.abs(value) > LONG_LIMIT || !WHOLE.test(text)) {
    return finite(value);
  }
  return whole(BigInt(text.startsWith('+') ? text.slice(1) : text));
}

/** Calculates; undefined when there is no finite result, as after a division by zero. */
export function calculate(
  operator: ArithmeticOperator,
  left: ExactNumber,
  right: ExactNumber,
): ExactNumber | undefined {
  if (typeof left === 'number' && typeof right === 'number') {
    const result = calculateFloat(operator, left, right);
    // A safe integer is exact: rounding only starts above.
    if (Number.isSafeInteger(result) || !isWhole(left) || !isWhole(right)) return finite(result);
  }
  if (operator === '/' || !isWhole(left) || !isWhole(right)) {
    return finite(calculateFloat(operator, Number(left), Number(right)));
  }
  return calculateWhole(operator, BigInt(left), BigInt(right));
}

/** `7 / 2` is 3.5; the remainder has the sign of the left operand. */
function calculateFloat(operator: ArithmeticOperator, left: number, right: number): number {
  switch (operator) {
    case '+':
      return left + right;
    case '-':
      return left - right;
    case '*':
      return left * right;
    case '/':
      return left / right;
    case '%':
      return left % right;
  }
}

function calculateWhole(
  operator: Exclude<ArithmeticOperator, '/'>,
  left: bigint,
  right: bigint,
): ExactNumber | undefined {
  switch (operator) {
    case '+':
      return whole(left + right);
    case '-':
      return whole(left - right);
    case '*':
      return whole(left * right);
    case '%':
      return right === 0n ? undefined : whole(left % right);
  }
}

function isWhole(value: ExactNumber): boolean {
  return typeof value === 'bigint' || Number.isSafeInteger(value);
}

/** The only form of a whole number; a float when it has more than 64 bits. */
function whole(value: bigint): ExactNumber {
  const float = Number(value);
  return Number.isSafeInteger(float) || BigInt.asIntN(64, value) !== value ? float : value;
}

function finite(value: number): number | undefined {
  return Number.isFinite(value) ? value : undefined;
}
