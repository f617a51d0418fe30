import fc from 'fast-check';
import { expect, test } from 'vitest';
import { compilePattern, findPatternFault } from './like-pattern.ts';

function matches(pattern: string, text: string, escapeBy = ''): boolean {
  return compilePattern(pattern, escapeBy)(text);
}

test.each([
  ['', '', true],
  ['', 'a', false],
  ['abc', 'abc', true],
  ['abc', 'ABC', false],
  ['abc', 'abcd', false],
  ['%', '', true],
  ['%', 'anything', true],
  ['%%', '', true],
  ['a%', 'abc', true],
  ['a%', 'a', true],
  ['a%', 'ba', false],
  ['%c', 'abc', true],
  ['%c', 'cb', false],
  ['%b%', 'abc', true],
  ['%b%', 'ac', false],
  ['a%c', 'ac', true],
  ['a%c', 'abbc', true],
  ['a%c', 'abcb', false],
  ['a%a', 'a', false],
  ['_', 'a', true],
  ['_', '', false],
  ['_', 'ab', false],
  ['a_c', 'abc', true],
  ['a_c', 'ac', false],
  ['_%', '', false],
  ['_%', 'a', true],
  ['%_', 'a', true],
  ['%ab', 'aab', true],
  ['%a_b%', 'xaaxbx', true],
  ['%abab', 'abaabab', true],
  ['a.c', 'abc', false],
  ['a*', 'aaa', false],
  ['[abc]', 'a', false],
  ['\\%', '\\x', true],
  ['a%z', 'a\n\r\u2028z', true],
])('%j and %j: %s', (pattern, text, expected) => {
  expect(matches(pattern, text)).toBe(expected);
});

test.each([
  ['100!%', '100%', true],
  ['100!%', '1000', false],
  ['a!_b', 'a_b', true],
  ['a!_b', 'axb', false],
  ['a!!b', 'a!b', true],
  ['!%%', '%x', true],
  ['%!%', 'x%', true],
])('%j with ! as escape character and %j: %s', (pattern, text, expected) => {
  expect(matches(pattern, text, '!')).toBe(expected);
});

test('% and _ may be the escape character themselves', () => {
  expect(matches('%%_', '%x', '%')).toBe(true);
  expect(matches('%__', '_x', '%')).toBe(true);
  expect(matches('__%', '_abc', '_')).toBe(true);
  expect(findPatternFault('%a', '%')).toMatchObject({ at: 0 });
});

test('one _ is one character, also outside of the basic plane', () => {
  expect(matches('_', '😀')).toBe(true);
  expect(matches('__', '😀')).toBe(false);
  expect(matches('%_', '😀')).toBe(true);
  expect(matches('_%_', '😀')).toBe(false);
  expect(matches('_%_', '😀😀')).toBe(true);
  expect(matches('😀!%_', '😀%😀', '!')).toBe(true);
  expect(matches('a😀%_', 'a%_', '😀')).toBe(true);
  expect(matches('a😀%_', 'ax_', '😀')).toBe(false);
  expect(matches('a😀%b', 'a%b', '😀')).toBe(true);
});

test('an escape character before anything else is a fault', () => {
  expect(findPatternFault('ab!c', '!')).toMatchObject({ at: 2 });
  expect(findPatternFault('ab!', '!')).toMatchObject({ at: 2 });
  expect(findPatternFault('😀!', '!')).toMatchObject({ at: 2 });
  expect(findPatternFault('a!%', '!')).toBeUndefined();
  expect(findPatternFault('a!c', '')).toBeUndefined();
  expect(() => compilePattern('!a', '!')).toThrow(RangeError);
});

test('matches what a plain definition matches', () => {
  const defined = (pattern: readonly string[], text: readonly string[]): boolean => {
    const [first, ...rest] = pattern;
    if (first === undefined) return text.length === 0;
    if (first === '%') {
      return defined(rest, text) || (text.length > 0 && defined(pattern, text.slice(1)));
    }
    return text.length > 0 && (first === '_' || first === text[0]) && defined(rest, text.slice(1));
  };
  const unit = fc.constantFrom('a', 'b', '😀');
  const texts = fc.array(unit, { maxLength: 8 });
  const patterns = fc.array(fc.oneof(unit, fc.constantFrom('%', '_')), { maxLength: 7 });
  fc.assert(
    fc.property(patterns, texts, (pattern, text) => {
      expect(matches(pattern.join(''), text.join(''))).toBe(defined(pattern, text));
    }),
    { numRuns: 20_000 },
  );
});

test('a pattern with many % takes no longer than the product of the lengths', () => {
  expect(matches(`${'%a'.repeat(127)}%b`, 'a'.repeat(16_384))).toBe(false);
  expect(matches(`%${'a'.repeat(127)}_b`, 'a'.repeat(16_384))).toBe(false);
  expect(matches(`${'%a_'.repeat(85)}`, 'a'.repeat(16_384))).toBe(true);
}, 2000);
