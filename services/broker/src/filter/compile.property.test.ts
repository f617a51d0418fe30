// Filters against a plain interpreter that shares nothing with them: conditions and calculations are made at random,
// judged as they are, written down in some way, and read and compiled from that.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { compileFilter } from './compile.ts';
import { formatExpression } from './format.ts';
import { parseFilter } from './parser.ts';

type Op = '=' | '<>' | '<' | '<=' | '>' | '>=';
type Num =
  | { is: 'prop'; name: string }
  | { is: 'num'; text: string }
  | { is: 'calc'; op: '+' | '-' | '*' | '/' | '%'; l: Num; r: Num }
  | { is: 'sign'; op: '+' | '-'; of: Num };
type Txt = { is: 'prop'; name: string } | { is: 'txt'; value: string };
type Item = { is: 'txt'; value: string } | { is: 'num'; text: string };
type Cond =
  | { is: 'prop'; name: string }
  | { is: 'bool'; value: boolean }
  | { is: 'not'; of: Cond }
  | { is: 'and' | 'or'; l: Cond; r: Cond }
  | { is: 'same'; op: '=' | '<>'; l: Cond | Num | Txt; r: Cond | Num | Txt }
  | { is: 'order'; op: Exclude<Op, '=' | '<>'>; l: Num; r: Num }
  | { is: 'between'; not: boolean; of: Num; low: Num; high: Num }
  | { is: 'in'; not: boolean; of: Num | Txt; items: Item[] }
  | {
      is: 'search';
      not: boolean;
      how: 'CONTAINS' | 'STARTSWITH' | 'ENDSWITH';
      of: Txt;
      for: string;
    }
  | { is: 'like'; not: boolean; of: Txt; pattern: string[] }
  | { is: 'null'; not: boolean; of: Cond | Num | Txt };
type Any = Cond | Num | Txt;

// What is made.

const NAMES = ['a', 'b', '_c', '$d', 'like', 'escape', 'x-y', 'IN', 'TAGS'];
const VALUES = [
  ...['', 'true', 'FALSE', 'yes', 'abc', "a'b", 'a_b', '50%', '😀', '-', '0', '1', '2', '3', '-1'],
  ...['3.0', '0.5', '007', '1e2', ' 1', '0x1', 'NaN', 'Infinity', '1e999', '9007199254740992'],
  ...['9007199254740993', '-9007199254740993', '9223372036854775807', '9223372036854775808'],
];
const NUMBERS = ['0', '1', '2', '3', '10', '0.5', '.5', '3.', '1e2', '1E-1', '3L', '0.0'];
const LARGE = ['9007199254740992', '9007199254740993', '9223372036854775807', '9007199254740992.0'];

const prop = fc.record({ is: fc.constant('prop' as const), name: fc.constantFrom(...NAMES) });
const txt = fc.record({ is: fc.constant('txt' as const), value: fc.constantFrom(...VALUES) });
const number = fc.record({
  is: fc.constant('num' as const),
  text: fc.oneof(
    { arbitrary: fc.constantFrom(...NUMBERS), weight: 5 },
    { arbitrary: fc.constantFrom(...LARGE), weight: 1 },
  ),
});
const texts: fc.Arbitrary<Txt> = fc.oneof({ arbitrary: prop, weight: 3 }, txt);
const not = fc.boolean();
const item: fc.Arbitrary<Item> = fc.oneof(
  txt,
  number,
  number.map(({ text }) => ({ is: 'num' as const, text: `-${text}` })),
);

const { cond } = fc.letrec<{ num: Num; cond: Cond; any: Cond | Num | Txt }>((tie) => ({
  num: fc.oneof(
    { maxDepth: 4, depthIdentifier: 'num' },
    { arbitrary: prop, weight: 3 },
    { arbitrary: number, weight: 3 },
    {
      arbitrary: fc.record({
        is: fc.constant('calc' as const),
        op: fc.constantFrom('+', '-', '*', '/', '%'),
        l: tie('num'),
        r: tie('num'),
      }),
      weight: 3,
    },
    {
      arbitrary: fc.record({
        is: fc.constant('sign' as const),
        op: fc.constantFrom('+', '-'),
        of: tie('num'),
      }),
      weight: 1,
    },
  ),
  any: fc.oneof({ depthIdentifier: 'cond' }, texts, tie('num'), tie('cond')),
  cond: fc.oneof(
    { maxDepth: 5, depthIdentifier: 'cond' },
    prop,
    fc.record({ is: fc.constant('bool' as const), value: fc.boolean() }),
    fc.record({ is: fc.constant('not' as const), of: tie('cond') }),
    fc.record({ is: fc.constantFrom('and', 'or'), l: tie('cond'), r: tie('cond') }),
    fc
      .record({
        is: fc.constant('same' as const),
        op: fc.constantFrom('=', '<>'),
        l: tie('any'),
        r: tie('any'),
      })
      .filter(({ l, r }) => new Set([typeOf(l), typeOf(r), 'text']).size < 3),
    fc.record({
      is: fc.constant('order' as const),
      op: fc.constantFrom('<', '<=', '>', '>='),
      l: tie('num'),
      r: tie('num'),
    }),
    fc
      .record({
        is: fc.constant('between' as const),
        not,
        of: tie('num'),
        low: tie('num'),
        high: tie('num'),
      })
      .filter(({ low, high }) => !(isLiteral(low) && isLiteral(high) && less(high, low))),
    fc.record({
      is: fc.constant('in' as const),
      not,
      of: fc.oneof(texts, tie('num')),
      items: fc.array(item, { minLength: 1, maxLength: 4 }),
    }),
    fc.record({
      is: fc.constant('search' as const),
      not,
      how: fc.constantFrom('CONTAINS', 'STARTSWITH', 'ENDSWITH'),
      of: texts,
      for: fc.constantFrom(...VALUES.filter((value) => value !== '')),
    }),
    fc.record({
      is: fc.constant('like' as const),
      not,
      of: texts,
      // Marks stand for themselves, the other elements are characters.
      pattern: fc.array(fc.constantFrom('MANY', 'ANY', 'a', 'b', '%', '_', '!', "'", '😀', '3'), {
        maxLength: 4,
      }),
    }),
    fc.record({ is: fc.constant('null' as const), not, of: tie('any') }),
  ),
})) as { cond: fc.Arbitrary<Cond> };

const messages = fc
  .array(fc.option(fc.constantFrom(...VALUES), { nil: undefined, freq: 3 }), {
    minLength: NAMES.length,
    maxLength: NAMES.length,
  })
  .map((values) => new Map(NAMES.map((name, index) => [name, values[index]])));
type Message = ReadonlyMap<string, string | undefined>;

function typeOf(node: Any): 'text' | 'number' | 'condition' {
  switch (node.is) {
    case 'prop':
    case 'txt':
      return 'text';
    case 'num':
    case 'calc':
    case 'sign':
      return 'number';
    default:
      return 'condition';
  }
}

// A number with signs is one literal.
function isLiteral(node: Num): boolean {
  return node.is === 'num' || (node.is === 'sign' && isLiteral(node.of));
}

function less(one: Num, other: Num): boolean {
  return compare(numberOf(one, new Map()), numberOf(other, new Map())) === -1;
}

// What it is: null stands for unknown and for what is not there.

/** A whole number of 64 bits, or anything else. */
type Value = { whole: bigint } | { float: number } | null;

function finiteOf(float: number): Value {
  if (!Number.isFinite(float)) return null;
  return Number.isSafeInteger(float) ? { whole: BigInt(float) } : { float };
}

function wholeOf(whole: bigint): Value {
  return whole >= -(2n ** 63n) && whole < 2n ** 63n ? { whole } : finiteOf(Number(whole));
}

function parse(text: string): Value {
  const [, sign, digits, rest] = /^([+-]?)(\d*)(.*)$/su.exec(text) as unknown as string[];
  if (rest === '') return digits === '' ? null : wholeOf(BigInt(`${sign}${digits}`));
  if (!/^(\.\d*)?(e[+-]?\d+)?$/i.test(rest as string)) return null;
  const known = digits !== '' || /^\.\d/.test(rest as string);
  return known ? finiteOf(Number.parseFloat(text)) : null;
}

function floatOf(value: { whole: bigint } | { float: number }): number {
  return 'whole' in value ? Number(value.whole) : value.float;
}

function compare(one: Value, other: Value): -1 | 0 | 1 | null {
  if (one === null || other === null) return null;
  const l = 'whole' in one ? one.whole : one.float;
  const r = 'whole' in other ? other.whole : other.float;
  return l < r ? -1 : l > r ? 1 : 0;
}

function numberOf(node: Num | Txt, message: Message): Value {
  switch (node.is) {
    case 'prop': {
      const text = message.get(node.name);
      return text === undefined ? null : parse(text);
    }
    case 'txt':
      return parse(node.value);
    case 'num':
      return parse(node.text.replace('L', ''));
    case 'sign':
      return calculate(node.op, { whole: 0n }, numberOf(node.of, message));
    case 'calc':
      return calculate(node.op, numberOf(node.l, message), numberOf(node.r, message));
  }
}

function calculate(op: string, l: Value, r: Value): Value {
  if (l === null || r === null) return null;
  if (op === '/') return finiteOf(floatOf(l) / floatOf(r));
  if ('whole' in l && 'whole' in r) {
    if (op === '+') return wholeOf(l.whole + r.whole);
    if (op === '-') return wholeOf(l.whole - r.whole);
    if (op === '*') return wholeOf(l.whole * r.whole);
    return r.whole === 0n ? null : wholeOf(l.whole % r.whole);
  }
  if (op === '+') return finiteOf(floatOf(l) + floatOf(r));
  if (op === '-') return finiteOf(floatOf(l) - floatOf(r));
  if (op === '*') return finiteOf(floatOf(l) * floatOf(r));
  return finiteOf(floatOf(l) % floatOf(r));
}

function textOf(node: Txt, message: Message): string | null {
  return node.is === 'txt' ? node.value : (message.get(node.name) ?? null);
}

function opposite(truth: boolean | null): boolean | null {
  return truth === null ? null : !truth;
}

function any(truths: readonly (boolean | null)[]): boolean | null {
  if (truths.includes(true)) return true;
  return truths.includes(null) ? null : false;
}

function all(truths: readonly (boolean | null)[]): boolean | null {
  return opposite(any(truths.map(opposite)));
}

function wordOf(text: string | null): boolean | null {
  if (text === null || !/^(true|false)$/i.test(text)) return null;
  return /^t/i.test(text);
}

function isSame(l: Any, r: Any, message: Message): boolean | null {
  const types = new Set([typeOf(l), typeOf(r)]);
  if (types.has('condition')) {
    const one = truthOf(l as Cond | Txt, message);
    const other = truthOf(r as Cond | Txt, message);
    return one === null || other === null ? null : one === other;
  }
  if (types.has('number')) {
    const order = compare(numberOf(l as Num, message), numberOf(r as Num, message));
    return order === null ? null : order === 0;
  }
  const one = textOf(l as Txt, message);
  const other = textOf(r as Txt, message);
  return one === null || other === null ? null : one === other;
}

function isLike(pattern: readonly string[], text: readonly string[]): boolean {
  const [first, ...rest] = pattern;
  if (first === undefined) return text.length === 0;
  if (first === 'MANY')
    return text.some((_, at) => isLike(rest, text.slice(at))) || isLike(rest, []);
  return text.length > 0 && (first === 'ANY' || first === text[0]) && isLike(rest, text.slice(1));
}

function isFound(how: string, text: string, search: string): boolean {
  const at = text.split('').map((_, index) => text.slice(index));
  if (how === 'CONTAINS') return at.some((rest) => rest.slice(0, search.length) === search);
  return how === 'STARTSWITH' ? text.slice(0, search.length) === search : at.includes(search);
}

function truthOf(node: Cond | Txt, message: Message): boolean | null {
  switch (node.is) {
    case 'prop':
    case 'txt':
      return wordOf(textOf(node, message));
    case 'bool':
      return node.value;
    case 'not':
      return opposite(truthOf(node.of, message));
    case 'and':
      return all([truthOf(node.l, message), truthOf(node.r, message)]);
    case 'or':
      return any([truthOf(node.l, message), truthOf(node.r, message)]);
    case 'same': {
      const same = isSame(node.l, node.r, message);
      return node.op === '=' ? same : opposite(same);
    }
    case 'order': {
      const order = compare(numberOf(node.l, message), numberOf(node.r, message));
      if (order === null) return null;
      return { '<': [-1], '<=': [-1, 0], '>': [1], '>=': [0, 1] }[node.op].includes(order);
    }
    case 'between': {
      const { of, low, high } = node;
      const inside = all([
        truthOf({ is: 'order', op: '>=', l: of, r: low }, message),
        truthOf({ is: 'order', op: '<=', l: of, r: high }, message),
      ]);
      return node.not ? opposite(inside) : inside;
    }
    case 'in': {
      const found = any(node.items.map((one) => isSame(node.of, one, message)));
      return node.not ? opposite(found) : found;
    }
    case 'search': {
      const text = textOf(node.of, message);
      return text === null ? null : isFound(node.how, text, node.for) !== node.not;
    }
    case 'like': {
      const text = textOf(node.of, message);
      return text === null ? null : isLike(node.pattern, [...text]) !== node.not;
    }
    case 'null': {
      const { of } = node;
      const type = typeOf(of);
      const value =
        type === 'text'
          ? textOf(of as Txt, message)
          : type === 'number'
            ? numberOf(of as Num, message)
            : truthOf(of as Cond, message);
      return (value === null) !== node.not;
    }
  }
}

// How it is written. Levels bind ever more tightly: 1 OR, 2 AND, 3 NOT, 4 = and IS, 5 other comparisons, 6 sums,
// 7 products, 8 signs, 9 what needs no parentheses.

/** Decides how to write, anew each time: a whole number below `n`. */
type Choose = (n: number) => number;

function chooser(seed: number): Choose {
  let state = seed | 1;
  return (n) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % n;
  };
}

function quoted(text: string, mark: string): string {
  return `${mark}${text.replaceAll(mark, `${mark}${mark}`)}${mark}`;
}

function levelOf(node: Any): number {
  switch (node.is) {
    case 'or':
      return 1;
    case 'and':
      return 2;
    case 'not':
      return 3;
    case 'same':
    case 'null':
      return 4;
    case 'calc':
      return node.op === '+' || node.op === '-' ? 6 : 7;
    case 'sign':
      return 8;
    case 'order':
    case 'between':
    case 'in':
    case 'search':
    case 'like':
      return 5;
    default:
      return 9;
  }
}

/** The words and symbols of a node that may stand where this level is asked for. */
function write(node: Any, level: number, choose: Choose): string[] {
  if (levelOf(node) < level || choose(12) === 0) {
    return ['(', ...write(node, 0, choose), ')'];
  }
  const not = 'not' in node && node.not ? ['NOT'] : [];
  switch (node.is) {
    case 'prop': {
      const plain = /^[\w$]+$/.test(node.name) && node.name !== 'IN';
      return [plain && choose(5) > 0 ? node.name : quoted(node.name, '"')];
    }
    case 'txt':
      return [quoted(node.value, "'")];
    case 'num':
      return [node.text];
    case 'bool':
      return [node.value ? 'TRUE' : 'FALSE'];
    case 'sign':
      return [node.op, ...write(node.of, 8, choose)];
    case 'calc': {
      const own = levelOf(node);
      return [...write(node.l, own, choose), node.op, ...write(node.r, own + 1, choose)];
    }
    case 'not':
      return ['NOT', ...write(node.of, 3, choose)];
    case 'and':
      return [...write(node.l, 2, choose), 'AND', ...write(node.r, 2, choose)];
    case 'or':
      return [...write(node.l, 1, choose), 'OR', ...write(node.r, 1, choose)];
    case 'same':
      return [...write(node.l, 4, choose), node.op, ...write(node.r, 5, choose)];
    case 'order':
      return [...write(node.l, 6, choose), node.op, ...write(node.r, 6, choose)];
    case 'between':
      return [
        ...[...write(node.of, 6, choose), ...not, 'BETWEEN', ...write(node.low, 6, choose)],
        ...['AND', ...write(node.high, 6, choose)],
      ];
    case 'in': {
      const items = node.items.flatMap((one) => [',', ...write(one, 9, () => 1)]);
      return [...write(node.of, 6, choose), ...not, 'IN', '(', ...items.slice(1), ')'];
    }
    case 'search':
      return [...write(node.of, 6, choose), ...not, node.how, quoted(node.for, "'")];
    case 'like': {
      const marks: Record<string, string> = { MANY: '%', ANY: '_' };
      const escaping = node.pattern.some((one) => '%_!'.includes(one));
      const pattern = node.pattern.map(
        (one) => marks[one] ?? ('%_!'.includes(one) ? `!${one}` : one),
      );
      return [
        ...[...write(node.of, 6, choose), ...not, 'LIKE', quoted(pattern.join(''), "'")],
        ...(escaping ? ['ESCAPE', quoted('!', "'")] : []),
      ];
    }
    case 'null':
      return [...write(node.of, 4, choose), 'IS', ...not, 'NULL'];
  }
}

const KEYWORD =
  /^(NOT|AND|OR|BETWEEN|IN|LIKE|ESCAPE|CONTAINS|STARTSWITH|ENDSWITH|IS|NULL|TRUE|FALSE)$/;
const BLANKS = [' ', '  ', '\t', '\n', '\r\n', '\f', ' /* a * b = 1 */ ', ' -- c OR\n', '/**/'];

/** Words in any case, and between them what has no meaning; nothing where nothing is needed. */
function join(words: readonly string[], choose: Choose): string {
  let text = '';
  for (const word of words) {
    const written = KEYWORD.test(word)
      ? [...word].map((one) => (choose(2) === 0 ? one.toLowerCase() : one)).join('')
      : word;
    const touching = /[\w$.]$/.test(text) && /^[\w$.]/.test(written);
    const comment = /[-/*]$/.test(text) && /^[-/*]/.test(written);
    const needed = touching || comment;
    const blank = needed || choose(2) === 0 ? (BLANKS[choose(BLANKS.length)] as string) : '';
    // A blank that starts with a symbol may make another one with what stands before it.
    text += blank === '/**/' && /[-/*<>=]$/.test(text) ? ` ${blank}` : blank;
    text += written;
  }
  return text;
}

const three = (text: string, message: Message): boolean | null => {
  const lookup = { get: (name: string) => message.get(name) };
  if (compileFilter(text).matches(lookup)) return true;
  // No brackets around it, so that a comment at its end ends there too.
  return compileFilter(`NOT (${text}\n)`).matches(lookup) ? false : null;
};

test('filters are what a plain interpreter says, however they are written', () => {
  const seen = new Map<boolean | null, number>();
  fc.assert(
    fc.property(
      cond,
      fc.array(messages, { minLength: 3, maxLength: 3 }),
      fc.integer(),
      (...all) => {
        const [node, several, seed] = all;
        const choose = chooser(seed);
        const text = join(write(node, 0, choose), choose);
        for (const message of several) {
          const expected = truthOf(node, message);
          expect(three(text, message)).toBe(expected);
          seen.set(expected, (seen.get(expected) ?? 0) + 1);
        }
      },
    ),
    { numRuns: 4000 },
  );
  // The generator is of use only when every value comes up often.
  for (const truth of [true, false, null]) expect(seen.get(truth)).toBeGreaterThan(1000);
}, 60_000);

test('the only form of a filter is read as the same filter, and every way to write it has this form', () => {
  fc.assert(
    fc.property(cond, messages, fc.integer(), (node, message, seed) => {
      const choose = chooser(seed);
      const text = join(write(node, 0, choose), choose);
      const form = formatExpression(parseFilter(text));
      expect(formatExpression(parseFilter(form))).toBe(form);
      expect(three(form, message)).toBe(truthOf(node, message));
      const again = join(write(node, 0, chooser(seed + 1)), chooser(seed + 2));
      expect(formatExpression(parseFilter(again))).toBe(form);
    }),
    { numRuns: 1000 },
  );
}, 60_000);
