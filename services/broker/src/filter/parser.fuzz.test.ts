// Whatever is written, a filter comes of it or a FilterSyntaxError, and soon.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { compileFilter } from './compile.ts';
import { EXPRESSION_CHARACTERS_MAX } from './parser.ts';
import { FilterSyntaxError } from './syntax-error.ts';

const FRAGMENTS = [
  ...['NOT', 'and', 'OR', 'Between', 'in', 'TRUE', 'false', 'NULL', 'is', 'LIKE', 'escape'],
  ...['CONTAINS', 'startswith', 'EndsWith', 'a', '_b', '$c', '"x-y"', '""', '"', "'", "''"],
  ...["'x'", "'%_'", "'!'", '0', '1', '42L', '.5', '5.', '1e3', '1e999', '007', '.', 'e', '-'],
  ...['--', '/*', '*/', '=', '<>', '<', '<=', '>', '>=', '!=', '==', '+', '*', '/', '%', '(', ')'],
  ...[',', ';', '\n', '\t', '\u0000', '\ud83d', '😀', '订', '9223372036854775808'],
] as const;

const fragments = fc
  .array(fc.tuple(fc.constantFrom(...FRAGMENTS), fc.constantFrom('', ' ')), { maxLength: 40 })
  .map((parts) => parts.map(([fragment, space]) => `${fragment}${space}`).join(''));

function compileOrRefuse(text: string): void {
  try {
    compileFilter(text).matches({ get: () => 'x' });
  } catch (error) {
    expect(error).toBeInstanceOf(FilterSyntaxError);
    const { position, reason } = error as FilterSyntaxError;
    expect(position).toBeGreaterThanOrEqual(0);
    expect(position).toBeLessThanOrEqual(text.length);
    expect(reason).toMatch(/^expected /);
  }
}

test('any text is a filter or refused with a position in it', () => {
  fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 60 }), compileOrRefuse), {
    numRuns: 3000,
  });
});

test('any order of what filters are made of is a filter or refused with a position in it', () => {
  fc.assert(fc.property(fragments, compileOrRefuse), { numRuns: 20_000 });
});

test('what is added to a valid filter, or taken from it, makes a filter or a refusal', () => {
  const valid =
    "NOT (a + 1 >= -2.5e1 OR \"b c\" NOT LIKE 'x!%' ESCAPE '!') AND c NOT IN ('u', 3) AND " +
    "d BETWEEN 1 AND 2 /* e */ AND f IS NOT NULL AND (g STARTSWITH 'z') = TRUE -- end";
  compileFilter(valid);
  const change = fc.tuple(fc.nat(valid.length), fc.nat(4), fc.constantFrom('', ...FRAGMENTS));
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 3 }), (changes) => {
      let text = valid;
      for (const [at, count, added] of changes) {
        text = text.slice(0, at) + added + text.slice(at + count);
      }
      compileOrRefuse(text);
    }),
    { numRuns: 5000 },
  );
});

test.each(
  [...FRAGMENTS, 'NOT(', 'a IN(', 'a=-', '1+', 'a or ', 'a and(', '((a) or ', "'a''", '1e'].map(
    (one) => [one],
  ),
)(
  '%j as often as it fits is a filter or refused, soon',
  (one) => {
    const count = Math.floor(EXPRESSION_CHARACTERS_MAX / one.length);
    compileOrRefuse(one.repeat(count));
    compileOrRefuse(`a = ${one.repeat(count - 4)}`);
  },
  2000,
);
