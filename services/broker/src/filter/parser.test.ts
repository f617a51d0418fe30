import { describe, expect, test } from 'vitest';
import { formatExpression } from './format.ts';
import {
  DEPTH_MAX,
  EXPRESSION_CHARACTERS_MAX,
  IN_ITEMS_MAX,
  NAMES_MAX,
  PATTERN_CHARACTERS_MAX,
  parseFilter,
} from './parser.ts';
import { FilterSyntaxError } from './syntax-error.ts';

function refusal(text: string): FilterSyntaxError {
  try {
    parseFilter(text);
  } catch (error) {
    if (error instanceof FilterSyntaxError) return error;
    throw error;
  }
  throw new Error(`${JSON.stringify(text)} was accepted`);
}

/** The expression in its only form, which shows how it was read. */
function read(text: string): string {
  return formatExpression(parseFilter(text));
}

test('every construct becomes its node', () => {
  expect(parseFilter("a = 'x'")).toEqual({
    kind: 'compare',
    operator: '=',
    left: { kind: 'property', name: 'a' },
    right: { kind: 'text', value: 'x' },
  });
  expect(parseFilter("a NOT IN ('x', -1)")).toEqual({
    kind: 'not',
    operand: {
      kind: 'in',
      operand: { kind: 'property', name: 'a' },
      items: [
        { kind: 'text', value: 'x' },
        { kind: 'number', value: -1 },
      ],
    },
  });
  expect(parseFilter("a LIKE 'x!%' ESCAPE '!'")).toEqual({
    kind: 'like',
    operand: { kind: 'property', name: 'a' },
    pattern: 'x!%',
    escapeBy: '!',
  });
  expect(parseFilter('TRUE AND a')).toEqual({
    kind: 'and',
    operands: [
      { kind: 'boolean', value: true },
      { kind: 'flag', operand: { kind: 'property', name: 'a' } },
    ],
  });
  expect(parseFilter('-a > +2')).toEqual({
    kind: 'compare',
    operator: '>',
    left: {
      kind: 'arithmetic',
      operator: '-',
      left: { kind: 'number', value: 0 },
      right: { kind: 'property', name: 'a' },
    },
    right: { kind: 'number', value: 2 },
  });
});

describe('binds', () => {
  test.each([
    ['AND before OR', 'a OR b AND c', 'a OR (b AND c)'],
    ['NOT before AND', 'NOT a AND b', 'NOT a AND b'],
    ['a comparison before NOT', "NOT a = 'x'", "NOT (a = 'x')"],
    ['IS NULL before NOT', 'NOT a IS NULL', 'NOT (a IS NULL)'],
    ['an order before an equality', 'a = b > 3', 'a = (b > 3)'],
    ['equalities from the left', 'a = b = c', '(a = b) = c'],
    ['IS NULL like an equality', 'a = b IS NULL', '(a = b) IS NULL'],
    ['arithmetic before comparisons', 'a + 1 < b - 2', '(a + 1) < (b - 2)'],
    ['products before sums', 'a + b * c = 1', '(a + (b * c)) = 1'],
    ['sums from the left', 'a - b - c = 1', '((a - b) - c) = 1'],
    ['products from the left', 'a / b % c = 1', '((a / b) % c) = 1'],
    ['signs before products', '-a * b = 1', '((0 - a) * b) = 1'],
    ['the AND of BETWEEN to it', 'a BETWEEN 1 AND 2 AND b', 'a BETWEEN 1 AND 2 AND b'],
    ['parentheses first', '(a OR b) AND c', '(a OR b) AND c'],
  ])('%s', (_, text, form) => {
    expect(read(text)).toBe(form);
    expect(read(form)).toBe(form);
  });
});

test('keywords are known in any case', () => {
  expect(
    read("noT a iN ('1') anD b Is nuLL oR c conTains 'x' and d StartsWith 'y' and e enDswith 'z'"),
  ).toBe(
    "(NOT (a IN ('1')) AND b IS NULL) OR (c CONTAINS 'x' AND d STARTSWITH 'y' AND e ENDSWITH 'z')",
  );
  expect(read("a like 'x' escape '!' and b between 1 and 2 and true and false")).toBe(
    "a LIKE 'x' ESCAPE '!' AND b BETWEEN 1 AND 2 AND TRUE AND FALSE",
  );
});

test('the case of names counts', () => {
  expect(read('Abc = abc')).toBe('Abc = abc');
});

test('names start with a letter, _ or $', () => {
  expect(read('_a1 = $b_$ AND Z9 = __')).toBe('_a1 = $b_$ AND Z9 = __');
});

test('names in double quotes have any characters', () => {
  expect(read(`"order-id" = 1 AND "a""b" = 2 AND "in" = 3 AND "plain" = 4 AND "订单" = 5`)).toBe(
    `"order-id" = 1 AND "a""b" = 2 AND "in" = 3 AND plain = 4 AND "订单" = 5`,
  );
});

test('LIKE and ESCAPE may be names', () => {
  expect(read("like = 'x' AND escape LIKE 'y' AND like LIKE 'z' ESCAPE '!'")).toBe(
    "like = 'x' AND escape LIKE 'y' AND like LIKE 'z' ESCAPE '!'",
  );
  expect(refusal('a "LIKE" \'x\'').position).toBe(2);
});

test('a quote in a text is written twice', () => {
  expect(parseFilter("a = '''it''s'''")).toMatchObject({ right: { value: "'it's'" } });
  expect(parseFilter("a = ''")).toMatchObject({ right: { value: '' } });
});

test.each([
  ['0', 0],
  ['42', 42],
  ['42L', 42],
  ['0l', 0],
  ['-42', -42],
  ['+ 42', 42],
  ['0.5', 0.5],
  ['007.5', 7.5],
  ['.5', 0.5],
  ['5.', 5],
  ['0.0', 0],
  ['1e3', 1000],
  ['1.5E+3', 1500],
  ['.5e-1', 0.05],
  ['5.e1', 50],
  ['9007199254740993', 9007199254740993n],
  ['9223372036854775807L', 2n ** 63n - 1n],
  ['-9223372036854775808', -(2n ** 63n)],
  ['9223372036854775808.0', 2 ** 63],
  ['1e-400', 0],
])('%s is a number', (text, value) => {
  expect(parseFilter(`a = ${text}`)).toMatchObject({ right: { kind: 'number', value } });
});

test('spaces and comments stand between anything', () => {
  expect(read('a/* * / ** */=-- one\n1\t\r\f\nAND--\r\nb')).toBe('a = 1 AND b');
  expect(read('a = 1 -- at the end')).toBe('a = 1');
  expect(read('a = 1 -- old Mac\rAND b')).toBe('a = 1 AND b');
  expect(read('/**/a/***/')).toBe('a');
  expect(read("a='x'and b=1and(c)or not(d)")).toBe("(a = 'x' AND b = 1 AND c) OR NOT d");
});

describe('says where an expression is wrong, and what was expected', () => {
  test.each([
    ['', 0, 'a value (a property'],
    ['   ', 3, 'found the end'],
    ['-- only', 7, 'found the end'],
    ['a =', 3, 'a value'],
    ['a = )', 4, 'found ")"'],
    ['a b', 2, 'an operator, AND, OR or the end but found "b"'],
    ['a = 1 b', 6, 'an operator, AND, OR or the end'],
    ['1 < a < 5', 6, 'an operator, AND, OR or the end but found "<"'],
    ['(a = 1', 6, 'an operator, AND, OR or )'],
    ['(a = 1))', 7, 'an operator, AND, OR or the end'],
    ['a and between 2 and 10', 6, 'found "between"'],
    ['a = NULL', 4, 'IS NULL'],
    ['a <> NULL', 5, 'IS NULL'],
    ['NULL IS NULL', 0, 'IS NULL'],
    ['a BETWEEN NULL AND 3', 10, 'IS NULL'],
    ["a IN ('x', NULL)", 11, "a text in '…' or a number"],
    ['a = NOT b', 4, '(NOT …)'],
    ['a IS 3', 5, 'NULL or NOT NULL'],
    ['a IS NOT 3', 9, 'expected NULL'],
    ['a NOT = 3', 6, 'BETWEEN, IN, LIKE'],
    ['a NOT', 5, 'behind NOT'],
    ['a IN 3', 5, '( behind IN'],
    ['a IN ()', 6, "a text in '…' or a number"],
    ['a IN (b)', 6, "a text in '…' or a number"],
    ['a IN (-b)', 7, "a text in '…' or a number"],
    ['a IN (1 2)', 8, ', or )'],
    ['a IN (1', 7, ', or )'],
    ['(a = 1) IN (1)', 0, 'on the left of IN'],
    ['a BETWEEN 1', 11, 'AND and the upper bound'],
    ['a BETWEEN 1 OR 2', 12, 'AND and the upper bound'],
    ['a BETWEEN 10 AND 0', 10, '10 is above 0'],
    ['a NOT BETWEEN 1 AND -1', 14, '1 is above -1'],
    ["a BETWEEN '1' AND 2", 10, 'without quotes'],
    ["a BETWEEN 1 AND '2'", 16, 'without quotes'],
    ["'a' BETWEEN 1 AND 2", 0, 'without quotes'],
    ["a > '3'", 4, 'without quotes'],
    ["'3' <= a", 0, 'without quotes'],
    ['TRUE < a', 0, 'found a condition'],
    ['a >= (b = 1)', 5, 'found a condition'],
    ['a = 1 = 2', 8, 'to compare with a condition, but found a number'],
    ['1 = TRUE', 4, 'to compare with a number, but found a condition'],
    ['a LIKE 3', 7, "a pattern in '…'"],
    ['a LIKE b', 7, "a pattern in '…'"],
    ["1 LIKE 'x'", 0, 'on the left of LIKE but found a number'],
    ["a LIKE 'x' ESCAPE", 17, 'one character'],
    ["a LIKE 'x' ESCAPE ''", 18, 'one character'],
    ["a LIKE 'x' ESCAPE '!!'", 18, 'one character'],
    ["a LIKE 'x!y' ESCAPE '!'", 9, 'behind the escape character'],
    ["a LIKE '''x!' ESCAPE '!'", 11, 'behind the escape character'],
    ['a CONTAINS 3', 11, "a text in '…' behind CONTAINS"],
    ["a CONTAINS ''", 11, 'at least one character'],
    ["a NOT STARTSWITH ''", 17, 'at least one character'],
    ["a ENDSWITH ''", 11, 'at least one character'],
    ["a + 1 ENDSWITH 'x'", 0, 'on the left of ENDSWITH but found a number'],
    ["(a = 1) CONTAINS 'x'", 0, 'found a condition'],
    ["a + 'x' = 1", 4, "beside + but found a text in '…'"],
    ['a * TRUE = 1', 4, 'beside * but found a condition'],
    ["-'x' = 1", 1, 'beside - but found a text'],
    ['3', 0, 'a condition, for example a = 1, but found a number'],
    ["a = 1 AND 'true'", 10, "found a text in '…'"],
    ['NOT 1', 4, 'a condition'],
    ['a OR b + 1', 5, 'a condition'],
    ["a = 'x", 4, "' at the end of this text"],
    ["a = 'x''", 4, "' at the end of this text"],
    ['"a = 1', 0, '" at the end of this name'],
    ['"" = 1', 0, 'at least one character in a name'],
    ['a /* b', 2, '*/ at the end of the comment'],
    ['a != 1', 2, '<> instead of !='],
    ['a == 1', 2, '= instead of =='],
    ['a && b', 2, 'AND instead of &&'],
    ['a || b', 2, 'OR instead of ||'],
    ['a ! b', 2, 'found "!"'],
    ['a = ‘x’', 4, "texts stand in '…'"],
    ['订单 = 1', 0, 'names of other characters'],
    ['😀', 0, 'found "😀"'],
    ['a.b = 1', 1, 'found "."'],
    ['order-id = ;', 11, 'found ";"'],
    ['a = 010', 4, 'without leading zeros'],
    ['a = 0x1F', 5, 'found "x1F"'],
    ['a = 1e', 5, 'found "e"'],
    ['a = 1.5f', 7, 'found "f"'],
    ['a = 9223372036854775808', 4, 'whole number of 64 bits'],
    ['a = -9223372036854775809', 4, 'whole number of 64 bits'],
    ['a = 1e309', 4, 'a number of at most'],
    ['a IN (1e309)', 6, 'a number of at most'],
  ])('%j at %i', (text, position, expected) => {
    const error = refusal(text);
    expect(error.reason).toContain(expected);
    expect(error.position).toBe(position);
    expect(error.message).toBe(
      `The filter expression is wrong at character ${position}: ${error.reason}.`,
    );
  });
});

describe('the largest expression is read, and one that is larger is refused', () => {
  const repeated = (count: number, part: (index: number) => string, between: string) =>
    Array.from({ length: count }, (_, index) => part(index)).join(between);
  test.each<[string, string, string, number]>([
    [
      'length',
      'a'.padEnd(EXPRESSION_CHARACTERS_MAX),
      'a'.padEnd(EXPRESSION_CHARACTERS_MAX + 1),
      EXPRESSION_CHARACTERS_MAX,
    ],
    [
      'parentheses',
      `${'('.repeat(DEPTH_MAX)}a${')'.repeat(DEPTH_MAX)}`,
      `${'('.repeat(DEPTH_MAX + 1)}a${')'.repeat(DEPTH_MAX + 1)}`,
      DEPTH_MAX,
    ],
    ['NOTs', `${'NOT '.repeat(DEPTH_MAX - 1)}a`, `${'NOT '.repeat(DEPTH_MAX + 1)}a`, 400],
    ['signs', `a = ${'- '.repeat(DEPTH_MAX - 2)}b`, `a = ${'- '.repeat(DEPTH_MAX + 1)}b`, 204],
    ['sums', `${repeated(DEPTH_MAX - 1, () => '1', '+')} = 1`, `${'1+'.repeat(5000)}1 = 1`, 0],
    ['products', `a = ${'1*'.repeat(DEPTH_MAX - 2)}1`, `a = ${'1*'.repeat(DEPTH_MAX)}1`, 4],
    ['equalities', `a${' = a'.repeat(DEPTH_MAX - 1)}`, `a${' = a'.repeat(DEPTH_MAX)}`, 0],
    ['IS NULLs', `a${' IS NULL'.repeat(DEPTH_MAX - 1)}`, `a${' IS NULL'.repeat(DEPTH_MAX)}`, 0],
    [
      'values of IN',
      `a IN (${repeated(IN_ITEMS_MAX, () => '1', ',')})`,
      `a IN (${repeated(IN_ITEMS_MAX + 1, () => '1', ',')})`,
      6 + 2 * IN_ITEMS_MAX,
    ],
    [
      'a pattern',
      `a LIKE '${'%'.repeat(PATTERN_CHARACTERS_MAX)}'`,
      `a LIKE '${'%'.repeat(PATTERN_CHARACTERS_MAX + 1)}'`,
      7,
    ],
    [
      'names',
      `${repeated(NAMES_MAX, (index) => `p${index + 10}`, ' OR ')} OR p10`,
      repeated(NAMES_MAX + 1, (index) => `p${index + 10}`, ' OR '),
      NAMES_MAX * 7,
    ],
  ])('%s', (_, largest, larger, position) => {
    parseFilter(largest);
    const error = refusal(larger);
    expect(error.reason).toContain('at most');
    expect(error.position).toBe(position);
  });
});

test('what stands side by side is not deep', () => {
  const parts = Array.from({ length: 2 * DEPTH_MAX }, () => '(NOT (a) AND -(b) = 1)');
  expect(parseFilter(parts.join(' OR '))).toMatchObject({ kind: 'or' });
});

test('a long list of alternatives is not deep', () => {
  const alternatives = Array.from({ length: 1500 }, (_, index) => `a=${index}`);
  expect(parseFilter(alternatives.join(' OR '))).toMatchObject({ kind: 'or' });
});
