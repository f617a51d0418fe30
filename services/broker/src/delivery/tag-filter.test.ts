import { TernError } from '@ternmq/runtime';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseTagFilter, TAG_BYTES_MAX, TAGS_MAX, tagHash } from './tag-filter.ts';

function hashOf(tag: string): number {
  const bytes = Buffer.from(tag);
  return tagHash(bytes, 0, bytes.length);
}

/** What the broker does: by the hash in the index first, by the message's tag then. */
function wants(expression: string, tag: string): boolean {
  const filter = parseTagFilter(expression);
  const hash = tag === '' ? 0 : hashOf(tag);
  const bytes = Buffer.from(`<${tag}>`);
  const wanted = filter.matches(hash, bytes, 1, bytes.length - 1);
  expect(filter.matches(hash, Buffer.from(tag))).toBe(wanted);
  if (wanted) expect(filter.mayMatch(hash)).toBe(true);
  return wanted;
}

function refusal(expression: string): TernError {
  try {
    parseTagFilter(expression);
  } catch (error) {
    if (error instanceof TernError) return error;
    throw error;
  }
  throw new Error(`'${expression}' was accepted`);
}

const tag = fc
  .string({ unit: 'grapheme', minLength: 1, maxLength: 10 })
  .map((text) => text.trim())
  .filter((text) => text !== '' && text !== '*' && !/[|\p{Cc}]/u.test(text));

test.each(['', '*', '  ', ' * '])('%j wants every message', (expression) => {
  const filter = parseTagFilter(expression);
  expect(filter.matchesAll).toBe(true);
  expect(filter.canonical).toBe('*');
  expect(wants(expression, '')).toBe(true);
  expect(wants(expression, 'paid')).toBe(true);
});

test('wants exactly the tags it names', () => {
  fc.assert(
    fc.property(fc.uniqueArray(tag, { minLength: 1, maxLength: 8 }), tag, (tags, other) => {
      const expression = tags.join(' || ');
      for (const wanted of tags) expect(wants(expression, wanted)).toBe(true);
      expect(wants(expression, other)).toBe(tags.includes(other));
      expect(wants(expression, '')).toBe(false);
    }),
  );
});

test('order, spaces and repetitions make no difference', () => {
  const one = parseTagFilter('paid || refunded');
  const other = parseTagFilter(' refunded||paid ||  refunded ');
  expect(other.canonical).toBe(one.canonical);
  expect(other.hashes).toEqual(one.hashes);
  expect(parseTagFilter(one.canonical).canonical).toBe(one.canonical);
  expect([...one.hashes]).toEqual([...one.hashes].sort((a, b) => a - b));
});

test('two tags of one hash are told apart', () => {
  // A known pair of texts with the same FNV-1a.
  expect(hashOf('costarring')).toBe(hashOf('liquid'));
  expect(wants('costarring', 'costarring')).toBe(true);
  expect(wants('costarring', 'liquid')).toBe(false);
  expect(parseTagFilter('costarring').mayMatch(hashOf('liquid'))).toBe(true);
  expect(parseTagFilter('costarring').mayMatch(hashOf('paid'))).toBe(false);
  expect(wants('paid || liquid || costarring', 'liquid')).toBe(true);
  expect(wants('paid || liquid || costarring', 'costarring')).toBe(true);
});

test('the longest tag and the largest number of tags are accepted', () => {
  const long = 'x'.repeat(TAG_BYTES_MAX);
  expect(wants(long, long)).toBe(true);
  const many = Array.from({ length: TAGS_MAX }, (_, index) => `t${index}`);
  expect(parseTagFilter([...many, ...many].join('||')).hashes).toHaveLength(TAGS_MAX);
});

describe('says where an expression is wrong', () => {
  const tooMany = Array.from({ length: TAGS_MAX + 1 }, (_, index) => `t${index}`).join('||');
  test.each([
    ['missing', 'paid ||', 7],
    ['missing', '|| paid', 0],
    ['missing', 'a || || b', 4],
    ['missing', '||', 0],
    ['joined', 'a | b', 2],
    ['joined', 'a || b|c', 6],
    ['joined', 'a|||b', 3],
    ['alone', 'a || *', 5],
    ['control', 'a || b\u0000c', 6],
    ['control', 'a\u0085b', 1],
    ['longer', `a || ${'x'.repeat(TAG_BYTES_MAX + 1)}`, 5],
    ['longer', '€'.repeat(43), 0],
    ['more than 64', tooMany, tooMany.lastIndexOf('t')],
  ])('%s (%#)', (what, expression, position) => {
    const error = refusal(expression);
    expect(error.code).toBe('INVALID_ARGUMENT');
    expect(error.reason).toBe('INVALID_TAG_EXPRESSION');
    expect(error.metadata.position).toBe(String(position));
    expect(error.message).toContain(what);
  });
});

test('any text is parsed or refused with a position within it', () => {
  const text = fc.string({ unit: fc.constantFrom('a', 'b', '|', ' ', '*', '\t', '€') });
  fc.assert(
    fc.property(text, (expression) => {
      try {
        parseTagFilter(expression);
      } catch (error) {
        expect(error).toBeInstanceOf(TernError);
        const position = Number((error as TernError).metadata.position);
        expect(position).toBeGreaterThanOrEqual(0);
        expect(position).toBeLessThanOrEqual(expression.length);
      }
    }),
  );
});

test('a tag hash is FNV-1a over the bytes it is told', () => {
  expect(hashOf('a')).toBe(0xe40c292c);
  expect(hashOf('foobar')).toBe(0xbf9cf968);
  expect(tagHash(Buffer.from('xfoobarx'), 1, 7)).toBe(0xbf9cf968);
});

test('no tag has the hash that stands for no tag', () => {
  // Bytes whose FNV-1a is 0, found by trying.
  const bytes = Buffer.from([61, 72, 242, 0, 226]);
  expect(tagHash(bytes, 0, bytes.length)).toBe(1);
});
