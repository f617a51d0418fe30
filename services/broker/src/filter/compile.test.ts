import { describe, expect, test } from 'vitest';
import { compileFilter, type PropertyLookup } from './compile.ts';
import { FilterSyntaxError } from './syntax-error.ts';

function lookup(properties: Readonly<Record<string, string>>): PropertyLookup {
  return { get: (name) => (Object.hasOwn(properties, name) ? properties[name] : undefined) };
}

/** What a condition is for a message: a filter wants it, its opposite does, or neither does. */
function judge(text: string, properties: Readonly<Record<string, string>>): boolean | 'unknown' {
  const wanted = compileFilter(text).matches(lookup(properties));
  const unwanted = compileFilter(`NOT (${text})`).matches(lookup(properties));
  expect(wanted && unwanted).toBe(false);
  const unknown = !wanted && !unwanted;
  expect(compileFilter(`((${text}) AND TRUE) IS NULL`).matches(lookup(properties))).toBe(unknown);
  return unknown ? 'unknown' : wanted;
}

const U = 'unknown';
type Case = [text: string, expected: boolean | 'unknown', properties?: Record<string, string>];

/** Properties of the messages below, unless a case has its own; `none` is never there. */
const PROPERTIES = {
  text: 'abc',
  empty: '',
  three: '3',
  padded: '03.0',
  half: '3.5',
  minus: '-2',
  big: '9007199254740993',
  yes: 'True',
  no: 'FALSE',
  quote: "it's",
  percent: '100%',
  zero: '0',
};

function cases(name: string, table: readonly Case[]): void {
  describe(name, () => {
    test.each(table)('%s is %s', (text, expected, properties = PROPERTIES) => {
      expect(judge(text, properties)).toBe(expected);
    });
  });
}

cases('texts are compared by their characters', [
  ["text = 'abc'", true],
  ["text = 'ABC'", false],
  ["text <> 'abc'", false],
  ["text <> 'x'", true],
  ["'abc' = text", true],
  ["empty = ''", true],
  ["quote = 'it''s'", true],
  ["padded = '3'", false],
  ['three = three', true],
  ['three = padded', false],
  ['three <> padded', true],
  ["'a' = 'a'", true],
  ["'a' <> 'a'", false],
]);

cases('a text beside a number is the number that it is, and unknown when it is none', [
  ['three = 3', true],
  ['three = 3.0', true],
  ['3 = padded', true],
  ['padded <> 3', false],
  ['half = 3', false],
  ['half = 3.5', true],
  ['half > 3', true],
  ['half < 4', true],
  ['minus < 0', true],
  ['minus = -2', true],
  ['three <> 4', true],
  ['text = 3', U],
  ['text <> 3', U],
  ['text > 3', U],
  ['text <= 3', U],
  ['empty = 0', U],
  ['empty < 1', U],
  ["'3' = 3", true],
  ["'x' = 3", U],
  ['three + 1 = 4', true],
  ["three + 1 = '4'", true],
  ["three + 1 = '5'", false],
  ['three + 1 = text', U],
]);

cases('an order is one of numbers', [
  ['three < 3', false],
  ['three <= 3', true],
  ['three > 3', false],
  ['three >= 3', true],
  ['2 < three', true],
  ['3 <= three', true],
  ['4 > three', true],
  ['3 >= padded', true],
  ['three < half', true],
  ['half < three', false],
  ['three <= padded', true],
  ['three >= padded', true],
  ['three > minus', true],
  ['a < b', true, { a: '9', b: '10' }],
  ['text < three', U],
  ['three < text', U],
]);

cases('whole numbers beyond 2^53 are exact', [
  ['big = 9007199254740993', true],
  ['big = 9007199254740992', false],
  ['big <> 9007199254740992', true],
  ['big > 9007199254740992', true],
  ['big < 9007199254740994', true],
  ['big BETWEEN 9007199254740993 AND 9007199254740993', true],
  ['big IN (9007199254740992, 9007199254740994)', false],
  ['big IN (9007199254740993)', true],
  ['big % 10 = 3', true],
  ['big + 1 = 9007199254740994', true],
  ['a = 9007199254740992', true, { a: '9007199254740992.0' }],
  ['a IN (9007199254740992)', true, { a: '9007199254740992.0' }],
  ['a IN (9007199254740993)', false, { a: '9007199254740992.0' }],
]);

cases('what is not there makes a comparison unknown', [
  ["none = 'x'", U],
  ["none <> 'x'", U],
  ["'x' = none", U],
  ["'x' <> none", U],
  ['text <> none', U],
  ['none <> none', U],
  ['none = none', U],
  ['none = nothing', U],
  ['none = 3', U],
  ['3 <> none', U],
  ['none < 3', U],
  ['none <= 3', U],
  ['none > 3', U],
  ['none >= 3', U],
  ['three < none', U],
  ['three >= none', U],
  ['none = TRUE', U],
  ['FALSE <> none', U],
  ['none + 1 = 1', U],
  ['1 - none = 1', U],
  ['-none = 0', U],
]);

cases('IS NULL is never unknown', [
  ['none IS NULL', true],
  ['none IS NOT NULL', false],
  ['text IS NULL', false],
  ['text IS NOT NULL', true],
  ['empty IS NULL', false],
  ['text + 1 IS NULL', true],
  ['three + 1 IS NULL', false],
  ['1 / zero IS NULL', true],
  ['(none = 1) IS NULL', true],
  ['(three = 1) IS NULL', false],
  ['(three = 1) IS NOT NULL', true],
  ["'x' IS NULL", false],
  ['NOT none IS NULL', false],
]);

cases('BETWEEN includes its bounds', [
  ['three BETWEEN 1 AND 5', true],
  ['three BETWEEN 3 AND 3', true],
  ['three BETWEEN 4 AND 5', false],
  ['three BETWEEN 1 AND 2.9', false],
  ['three NOT BETWEEN 1 AND 5', false],
  ['three NOT BETWEEN 3 AND 4', false],
  ['three NOT BETWEEN 2 AND 3', false],
  ['three NOT BETWEEN 4 AND 5', true],
  ['minus BETWEEN -3 AND -1', true],
  ['three BETWEEN minus AND half', true],
  ['three BETWEEN half AND minus', false],
  ['three + 1 BETWEEN 2 * 2 AND 9 / 2', true],
  ['text BETWEEN 1 AND 5', U],
  ['text NOT BETWEEN 1 AND 5', U],
  ['none BETWEEN 1 AND 5', U],
  ['none NOT BETWEEN 1 AND 5', U],
]);

cases('a bound of BETWEEN that is not there leaves what the other one decides', [
  ['three BETWEEN none AND 5', U],
  ['three BETWEEN none AND 2', false],
  ['three BETWEEN 1 AND none', U],
  ['three BETWEEN 4 AND none', false],
  ['three NOT BETWEEN none AND 5', U],
  ['three NOT BETWEEN none AND 2', true],
  ['three NOT BETWEEN 1 AND none', U],
  ['three NOT BETWEEN 4 AND none', true],
]);

cases('IN is an equality with any of its values', [
  ["text IN ('x', 'abc')", true],
  ["text IN ('x', 'ABC')", false],
  ["text NOT IN ('x', 'y')", true],
  ["text NOT IN ('x', 'abc')", false],
  ["empty IN ('')", true],
  ["three IN ('3')", true],
  ["padded IN ('3')", false],
  ['padded IN (3)', true],
  ['padded NOT IN (3)', false],
  ['three IN (1, 2, 3)', true],
  ['three IN (1, 2, -3)', false],
  ['minus IN (-2)', true],
  ['minus IN (+2)', false],
  ['three NOT IN (1, 2)', true],
  ["three IN ('x', 3)", true],
  ["'b' IN ('a', 'b')", true],
  ['three * 2 IN (6)', true],
  ["three * 2 IN ('6.0')", true],
  ["three * 2 IN ('7')", false],
]);

cases('IN is unknown when a comparison with a value is, and none is true', [
  ["none IN ('x')", U],
  ["none NOT IN ('x')", U],
  ['none NOT IN (1)', U],
  ['text IN (1)', U],
  ['text NOT IN (1)', U],
  ["text IN (1, 'abc')", true],
  ["text NOT IN (1, 'abc')", false],
  ["text NOT IN (1, 'x')", U],
  ["three * 2 IN ('x')", U],
  ["three * 2 NOT IN ('x', 7)", U],
  ["three * 2 IN ('x', 6)", true],
  ['text + 1 IN (1)', U],
  ['text + 1 NOT IN (1)', U],
]);

cases('texts are looked into', [
  ["text CONTAINS 'b'", true],
  ["text CONTAINS 'B'", false],
  ["text CONTAINS '.'", false],
  ["text NOT CONTAINS 'b'", false],
  ["text NOT CONTAINS 'x'", true],
  ["text STARTSWITH 'ab'", true],
  ["text STARTSWITH 'b'", false],
  ["text NOT STARTSWITH 'ab'", false],
  ["text NOT STARTSWITH 'b'", true],
  ["text ENDSWITH 'bc'", true],
  ["text ENDSWITH 'b'", false],
  ["text NOT ENDSWITH 'bc'", false],
  ["text NOT ENDSWITH 'b'", true],
  ["'abc' CONTAINS 'b'", true],
  ["empty CONTAINS 'b'", false],
  ["none CONTAINS 'b'", U],
  ["none NOT CONTAINS 'b'", U],
  ["none STARTSWITH 'b'", U],
  ["none NOT STARTSWITH 'b'", U],
  ["none ENDSWITH 'b'", U],
  ["none NOT ENDSWITH 'b'", U],
]);

cases('LIKE compares with a pattern', [
  ["text LIKE 'a%'", true],
  ["text LIKE '_b_'", true],
  ["text LIKE 'b%'", false],
  ["text NOT LIKE 'a%'", false],
  ["text NOT LIKE 'b%'", true],
  ["percent LIKE '100!%' ESCAPE '!'", true],
  ["percent LIKE '!%' ESCAPE '!'", false],
  ["text LIKE ''", false],
  ["empty LIKE ''", true],
  ["empty LIKE '%'", true],
  ["none LIKE '%'", U],
  ["none NOT LIKE 'b%'", U],
]);

cases('AND, OR and NOT have three values', [
  ['TRUE AND TRUE', true],
  ['TRUE AND FALSE', false],
  ['FALSE AND none', false],
  ['none AND FALSE', false],
  ['TRUE AND none', U],
  ['none AND TRUE', U],
  ['none AND none', U],
  ['TRUE AND none AND FALSE', false],
  ['TRUE OR none', true],
  ['none OR TRUE', true],
  ['FALSE OR none', U],
  ['none OR FALSE', U],
  ['none OR none', U],
  ['FALSE OR FALSE', false],
  ['FALSE OR none OR TRUE', true],
  ['NOT TRUE', false],
  ['NOT FALSE', true],
  ['NOT none', U],
  ['NOT NOT yes', true],
  ["text > 3 OR text = 'abc'", true],
  ["text > 3 AND text = 'x'", false],
]);

cases('a property is a condition when its text is true or false', [
  ['yes', true],
  ['no', false],
  ['text', U],
  ['three', U],
  ['empty', U],
  ['none', U],
  ['(yes)', true],
  ['NOT no', true],
  ['yes = TRUE', true],
  ['yes = FALSE', false],
  ['no = FALSE', true],
  ['FALSE = no', true],
  ['no <> TRUE', true],
  ['text = TRUE', U],
  ['text = FALSE', U],
  ['text <> FALSE', U],
  ['(three = 3) = yes', true],
  ['(three = 3) <> no', true],
  ['(none = 3) = yes', U],
  ['yes = (none = 3)', U],
  ['(none = 1) = (none = 2)', U],
  ['TRUE = TRUE', true],
  ['TRUE = FALSE', false],
  ["TRUE = 'tRuE'", true],
]);

cases('calculates', [
  ['three + 2 * 2 = 7', true],
  ['(three + 2) * 2 = 10', true],
  ['10 - three - 2 = 5', true],
  ['7 / 2 = 3.5', true],
  ['12 / 2 / 3 = 2', true],
  ['7 % 4 = three', true],
  ['-7 % 4 = -3', true],
  ['-three = -3', true],
  ['- -three = 3', true],
  ['+three = 3', true],
  ['+padded = 3', true],
  ['three * -1 = -3', true],
  ['minus * minus = 4', true],
  ['text + 1 = 1', U],
  ['-text = 0', U],
  ['three + half = 6.5', true],
]);

cases('a division by zero, and what is too large, is unknown', [
  ['1 / 0 = 1', U],
  ['1 / 0 <> 1', U],
  ['1 / zero > 0', U],
  ['0 / zero = 0', U],
  ['1 % zero = 0', U],
  ['NOT 1 / zero = 1', U],
  ['zero <> 0 AND 1 / zero > 0', false],
  ['1 / zero IN (1)', U],
  ['1 / zero NOT BETWEEN 1 AND 2', U],
  ['1e308 * 10 > 0', U],
  ['big % 0 = 0', U],
]);

cases("RocketMQ's own examples", [
  ['a=3 and b<>4 And c>5 AND d<=4', true, { a: '3', b: '5', c: '6', d: '1' }],
  ['a=3 and b<>4 And c>5 AND d<=4', false, { a: '4', b: '5', c: '6', d: '1' }],
  ['a=3 or b<>4 Or c>5 OR d<=4', true, { a: '4', b: '4', c: '6' }],
  ["a is null OR a='hello'", true, {}],
  ["a is null OR a='hello'", false, { a: 'abc' }],
  ["a in ('3', '4', '5')", true, { a: '3' }],
  ["a not in ('3', '4', '5')", false, { a: '3' }],
  ['a between 2 and 10', true, { a: '3.14' }],
  ['a not between 2 and 10', true, { a: '1' }],
  ["TAGS is not null and TAGS='''''tag'''''", true, { TAGS: "''tag''" }],
  ['a > 3.1E10', true, { a: '31415000000' }],
  ['a=TRUE OR b=FALSE', true, { a: 'true', b: 'false' }],
  ['a=TRUE OR b=FALSE', false, { a: 'false', b: 'true' }],
  ['a = b', true, { a: '3.14', b: '3.14' }],
  [
    "a not in ('4', '4', '5') and b between 3 and 10 and c not contains 'axbc'",
    true,
    { a: '3', b: '3', c: 'axbdc' },
  ],
]);

test('a filter names the properties that it uses, each once', () => {
  const filter = compileFilter(
    "a = 1 AND (TAGS IN ('x') OR \"b-c\" + a > d) AND e IS NULL AND NOT f AND g LIKE 'x' AND " +
      "h BETWEEN i AND j AND k CONTAINS 'l' AND A = 1",
  );
  expect([...filter.names].sort()).toEqual(
    ['A', 'TAGS', 'a', 'b-c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k'].sort(),
  );
  expect(compileFilter('1 = 1').names).toEqual([]);
});

test('a filter asks for no other properties, and not for those that do not matter any more', () => {
  const asked: string[] = [];
  const properties = {
    get(name: string) {
      asked.push(name);
      return '1';
    },
  };
  expect(compileFilter('a = 2 AND b = 1').matches(properties)).toBe(false);
  expect(compileFilter('c = 1 OR d = 1').matches(properties)).toBe(true);
  expect(asked).toEqual(['a', 'c']);
});

test('a name is never looked up on the prototype of anything', () => {
  expect(judge('constructor IS NULL AND __proto__ IS NULL', {})).toBe(true);
});

test('filters that mean the same in other words have the same only form', () => {
  expect(compileFilter(' a=1 and(b is NULL)-- or not').canonical).toBe('a = 1 AND b IS NULL');
});

test('a wrong expression is refused', () => {
  expect(() => compileFilter('a =')).toThrow(FilterSyntaxError);
});
