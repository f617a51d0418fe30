import { expect, test } from 'vitest';
import { formatExpression } from './format.ts';
import { parseFilter } from './parser.ts';

function form(text: string): string {
  return formatExpression(parseFilter(text));
}

test.each([
  ["a='x'", "  ( a )  =  'x' -- comment"],
  ['not a and b', 'NOT (a) AND ((b))'],
  ['a in(1,2)', 'A IN (1, 2)'.replace('A', 'a')],
  ['a is not null', 'NOT (a IS NULL)'],
  ['a <> 1.50', 'a <> 1.5'],
  ['a = 1L', 'a = +1'],
  ['a = - 1', 'a = -(1)'],
  ['a AND (b AND c)', '(a AND b) AND c'],
  ['a OR (b OR (c OR d))', 'a OR b OR c OR d'],
  ['"a" = 1', 'a = 1'],
  ['a = 1 and b = 2 and c = 3', 'a = 1 AND (b = 2) AND ((c = 3))'],
])('%j and %j have the same form', (one, other) => {
  expect(form(one)).toBe(form(other));
});

test.each([
  ['a = 1', "a = '1'"],
  ['a AND b', 'b AND a'],
  ['a = 1', 'A = 1'],
  ['a - (b - c) = 1', 'a - b - c = 1'],
  ['a AND (b OR c)', 'a AND b OR c'],
  ['NOT (a AND b)', 'NOT a AND b'],
  ['(a = b) = c', 'a = (b = c)'],
  ["a LIKE 'x'", "a LIKE 'x' ESCAPE '!'"],
])('%j and %j have different forms', (one, other) => {
  expect(form(one)).not.toBe(form(other));
});

test.each([
  "it = 'it''s' AND \"a\"\"b\" <> 'x' AND \"not\" LIKE '100!%' ESCAPE '!'",
  'a = 10000000000000000000.0 AND b = 1e+30 AND c = 9223372036854775807',
  'a - -1 = -9223372036854775808 AND (0 - b) < 0.1',
  "a BETWEEN 1 AND (b + 1) AND NOT (c IN ('x', -1)) AND (d IS NULL) IS NULL",
  "a STARTSWITH 'x' OR b ENDSWITH 'y' OR (c CONTAINS 'z' AND NOT TRUE)",
])('%s is read again as it is', (text) => {
  expect(form(text)).toBe(form(form(text)));
  expect(parseFilter(form(text))).toEqual(parseFilter(text));
});
