// From the text of a filter to its tree, by recursive descent.
//
//   condition    conjunction { OR conjunction }
//   conjunction  negation { AND negation }
//   negation     NOT negation | equality
//   equality     comparison { ("=" | "<>") comparison | IS [NOT] NULL }
//   comparison   sum [ ("<" | "<=" | ">" | ">=") sum
//                    | [NOT] BETWEEN sum AND sum
//                    | [NOT] IN "(" item { "," item } ")"
//                    | [NOT] LIKE text [ESCAPE text]
//                    | [NOT] (CONTAINS | STARTSWITH | ENDSWITH) text ]
//   sum          product { ("+" | "-") product }
//   product      factor { ("*" | "/" | "%") factor }
//   factor       ("+" | "-") factor | primary
//   primary      name | text | number | TRUE | FALSE | "(" condition ")"
//   item         text | [ "+" | "-" ] number
//
// This is RocketMQ's dialect (its SelectorParser.jj and ComparisonExpression at 8fc57f1) with arithmetic, LIKE, numbers
// in IN and IN of any value added. It is refused there and here: a condition, or a text in quotes, with < or BETWEEN;
// bounds of BETWEEN in the wrong order (here also of NOT BETWEEN); a value where a condition must be; integers of more
// than 64 bits. What differs, always where it surprises:
//
//   - NOT binds more loosely than a comparison, as in SQL. There `NOT a = 'x'` is `(NOT a) = 'x'`, which never holds,
//     and `NOT a IS NULL` is `(NOT a) IS NULL`.
//   - NULL is refused outside of IS [NOT] NULL everywhere. There only some places refuse it.
//   - `a CONTAINS ''` is refused. There neither it nor its negation ever holds.
//   - A condition is not compared with a number. There `a + 0 = TRUE` is always false.
//   - 0.0 is a number. There it is refused as too small. So is -9223372036854775808.

import { calculate, type ExactNumber, parseNumber } from './exact-number.ts';
import {
  type ArithmeticOperator,
  type CompareOperator,
  type Condition,
  type Expression,
  isNumber,
  isText,
  isValue,
  type NumberLiteral,
  type Property,
  type Text,
  type Value,
} from './expression.ts';
import { Lexer, type Token } from './lexer.ts';
import { findPatternFault } from './like-pattern.ts';
import { FilterSyntaxError } from './syntax-error.ts';

/** Longest expression, in characters. */
export const EXPRESSION_CHARACTERS_MAX = 16 << 10;
/** How deep parentheses, signs, NOT, and operators that build on each other's result may be nested. */
export const DEPTH_MAX = 100;
/** Most values of one IN. */
export const IN_ITEMS_MAX = 1000;
/** Longest pattern of LIKE, in characters: it bounds the time that matching takes. */
export const PATTERN_CHARACTERS_MAX = 256;
/** Most different properties of one expression: it bounds the time that finding them in a message takes. */
export const NAMES_MAX = 64;

const FOUND_CHARACTERS = 20;
const VALUE = "a value (a property, a text in '…', a number, TRUE or FALSE)";
const SEARCHES = { CONTAINS: 'contains', STARTSWITH: 'startsWith', ENDSWITH: 'endsWith' } as const;

/** A part of the expression that has been read. */
interface Part {
  readonly expression: Expression;
  /** Where it starts. */
  readonly position: number;
  /** How many nodes of it are below each other. */
  readonly depth: number;
}

/**
 * Reads a filter expression.
 *
 * @throws FilterSyntaxError when it is none, or larger than the bounds of this file
 */
export function parseFilter(text: string): Condition {
  if (text.length > EXPRESSION_CHARACTERS_MAX) {
    throw new FilterSyntaxError(
      EXPRESSION_CHARACTERS_MAX,
      `expected at most ${EXPRESSION_CHARACTERS_MAX} characters`,
    );
  }
  return new Parser(text).parse();
}

class Parser {
  readonly #text: string;
  readonly #lexer: Lexer;
  readonly #names = new Set<string>();
  #token: Token;
  /** Calls of #nested that are under way. */
  #nesting = 0;

  constructor(text: string) {
    this.#text = text;
    this.#lexer = new Lexer(text);
    this.#token = this.#lexer.next();
  }

  parse(): Condition {
    const part = this.#condition();
    if (this.#token.kind !== 'end') throw this.#unexpected('an operator, AND, OR or the end');
    return asCondition(part);
  }

  #condition(): Part {
    return this.#joined('or', () => this.#joined('and', () => this.#negation()));
  }

  /** Operands with AND, or OR, between them; one node for all, so that long lists are not deep. */
  #joined(kind: 'and' | 'or', read: () => Part): Part {
    const first = read();
    if (!this.#isKeyword(kind.toUpperCase())) return first;
    const operands = conditions(kind, first);
    let depth = first.depth;
    while (this.#take('keyword', kind.toUpperCase())) {
      const operand = read();
      operands.push(...conditions(kind, operand));
      depth = Math.max(depth, operand.depth);
    }
    return this.#part({ kind, operands }, first.position, depth);
  }

  #negation(): Part {
    const { position } = this.#token;
    if (!this.#take('keyword', 'NOT')) return this.#equality();
    const operand = this.#nested(position, () => this.#negation());
    return this.#part({ kind: 'not', operand: asCondition(operand) }, position, operand.depth);
  }

  #equality(): Part {
    let left = this.#comparison();
    for (;;) {
      const operator = this.#token.value;
      if (this.#take('symbol', '=') || this.#take('symbol', '<>')) {
        const right = this.#comparison();
        checkEqual(left, right);
        left = this.#compare(operator as CompareOperator, left, right);
      } else if (this.#take('keyword', 'IS')) {
        const not = this.#take('keyword', 'NOT');
        if (!this.#take('keyword', 'NULL'))
          throw this.#unexpected(not ? 'NULL' : 'NULL or NOT NULL');
        left = this.#negatable(not, { kind: 'isNull', operand: left.expression }, left);
      } else {
        return left;
      }
    }
  }

  #comparison(): Part {
    const left = this.#sum();
    const operator = this.#token.value;
    if (this.#token.kind === 'symbol' && /^[<>]=?$/.test(operator)) {
      this.#advance();
      const right = this.#sum();
      asOrdered(left, operator);
      asOrdered(right, operator);
      return this.#compare(operator as CompareOperator, left, right);
    }
    const not = this.#take('keyword', 'NOT');
    if (this.#take('keyword', 'BETWEEN')) return this.#between(not, left);
    if (this.#take('keyword', 'IN')) return this.#in(not, left);
    if (this.#isWord('LIKE')) return this.#like(not, left);
    for (const [keyword, kind] of Object.entries(SEARCHES)) {
      if (!this.#take('keyword', keyword)) continue;
      const operand = asText(left, keyword);
      const { value: search, position } = this.#textLiteral(`a text in '…' behind ${keyword}`);
      if (search === '') {
        throw new FilterSyntaxError(position, `expected at least one character behind ${keyword}`);
      }
      return this.#negatable(not, { kind, operand, search }, left);
    }
    if (not)
      throw this.#unexpected('BETWEEN, IN, LIKE, CONTAINS, STARTSWITH or ENDSWITH behind NOT');
    return left;
  }

  #between(not: boolean, left: Part): Part {
    const operand = asOrdered(left, 'BETWEEN');
    const lowPart = this.#sum();
    const low = asOrdered(lowPart, 'BETWEEN');
    if (!this.#take('keyword', 'AND')) throw this.#unexpected('AND and the upper bound of BETWEEN');
    const highPart = this.#sum();
    const high = asOrdered(highPart, 'BETWEEN');
    if (low.kind === 'number' && high.kind === 'number' && low.value > high.value) {
      throw new FilterSyntaxError(
        lowPart.position,
        `expected the lower bound of BETWEEN first, but ${low.value} is above ${high.value}`,
      );
    }
    return this.#negatable(not, { kind: 'between', operand, low, high }, left, lowPart, highPart);
  }

  #in(not: boolean, left: Part): Part {
    const operand = asValue(left, 'on the left of IN');
    if (!this.#take('symbol', '(')) throw this.#unexpected('( behind IN');
    const items: (Text | NumberLiteral)[] = [];
    do {
      if (items.length === IN_ITEMS_MAX) {
        throw this.#unexpected(`at most ${IN_ITEMS_MAX} values in one IN`);
      }
      items.push(this.#item());
    } while (this.#take('symbol', ','));
    if (!this.#take('symbol', ')')) throw this.#unexpected(', or ) behind a value of IN');
    return this.#negatable(not, { kind: 'in', operand, items }, left);
  }

  #item(): Text | NumberLiteral {
    const { position, value: sign } = this.#token;
    const signed = this.#take('symbol', '-') || this.#take('symbol', '+');
    if (this.#token.kind === 'number') {
      return { kind: 'number', value: this.#number(signed ? sign : '', position) };
    }
    if (signed || this.#token.kind !== 'text') throw this.#unexpected("a text in '…' or a number");
    return { kind: 'text', value: this.#advance().value };
  }

  #like(not: boolean, left: Part): Part {
    const operand = asText(left, 'LIKE');
    this.#advance();
    const token = this.#token;
    const { value: pattern } = this.#textLiteral("a pattern in '…' behind LIKE");
    if (pattern.length > PATTERN_CHARACTERS_MAX) {
      throw new FilterSyntaxError(
        token.position,
        `expected at most ${PATTERN_CHARACTERS_MAX} characters in a pattern of LIKE`,
      );
    }
    let escapeBy = '';
    if (this.#isWord('ESCAPE')) {
      this.#advance();
      const { position } = this.#token;
      escapeBy = this.#textLiteral("one character in '…' behind ESCAPE").value;
      if ([...escapeBy].length !== 1) {
        throw new FilterSyntaxError(position, "expected one character in '…' behind ESCAPE");
      }
    }
    const fault = findPatternFault(pattern, escapeBy);
    if (fault !== undefined) {
      const before = pattern.slice(0, fault.at);
      // Behind the opening quote; a quote of the pattern is two of the expression.
      const position = token.position + 1 + before.length + before.split("'").length - 1;
      throw new FilterSyntaxError(position, fault.reason);
    }
    return this.#negatable(not, { kind: 'like', operand, pattern, escapeBy }, left);
  }

  #textLiteral(expected: string): Token {
    if (this.#token.kind !== 'text') throw this.#unexpected(expected);
    return this.#advance();
  }

  #sum(): Part {
    return this.#calculation(['+', '-'], () =>
      this.#calculation(['*', '/', '%'], () => this.#factor()),
    );
  }

  #calculation(operators: readonly ArithmeticOperator[], read: () => Part): Part {
    let left = read();
    for (;;) {
      const { value } = this.#token;
      const operator = operators.find((one) => one === value);
      if (operator === undefined || !this.#take('symbol', operator)) return left;
      const right = read();
      const expression = {
        kind: 'arithmetic' as const,
        operator,
        left: asOperand(left, operator),
        right: asOperand(right, operator),
      };
      left = this.#part(expression, left.position, Math.max(left.depth, right.depth));
    }
  }

  #factor(): Part {
    const { position, value: sign } = this.#token;
    if (!this.#take('symbol', '-') && !this.#take('symbol', '+')) return this.#primary();
    if (this.#token.kind === 'number') {
      return this.#part({ kind: 'number', value: this.#number(sign, position) }, position, 0);
    }
    const operand = this.#nested(position, () => this.#factor());
    const operator = sign as '+' | '-';
    const right = asOperand(operand, sign);
    const known = right.kind === 'number' ? calculate(operator, 0, right.value) : undefined;
    if (known !== undefined) return this.#part({ kind: 'number', value: known }, position, 0);
    const left = { kind: 'number', value: 0 } as const;
    const expression: Expression = { kind: 'arithmetic', operator, left, right };
    return this.#part(expression, position, operand.depth);
  }

  #primary(): Part {
    const token = this.#token;
    const { kind, value, position } = token;
    switch (kind) {
      case 'number':
        return this.#part({ kind, value: this.#number('', position) }, position, 0);
      case 'text':
        this.#advance();
        return this.#part({ kind, value }, position, 0);
      case 'name':
        this.#advance();
        return this.#part({ kind: 'property', name: this.#name(value, position) }, position, 0);
      case 'symbol': {
        if (!this.#take('symbol', '(')) break;
        const { expression, depth } = this.#nested(position, () => this.#condition());
        if (!this.#take('symbol', ')')) throw this.#unexpected('an operator, AND, OR or )');
        return { expression, position, depth };
      }
      case 'keyword':
        if (value === 'NULL') {
          throw new FilterSyntaxError(
            position,
            'expected a value but found NULL, which equals nothing; use IS NULL or IS NOT NULL',
          );
        }
        if (value === 'NOT') {
          throw new FilterSyntaxError(
            position,
            'expected a value but found NOT; write (NOT …) in parentheses',
          );
        }
        if (value !== 'TRUE' && value !== 'FALSE') break;
        this.#advance();
        return this.#part({ kind: 'boolean', value: value === 'TRUE' }, position, 0);
    }
    throw this.#unexpected(VALUE);
  }

  #name(name: string, position: number): string {
    this.#names.add(name);
    if (this.#names.size > NAMES_MAX) {
      throw new FilterSyntaxError(
        position,
        `expected at most ${NAMES_MAX} different properties in an expression`,
      );
    }
    return name;
  }

  /** The number of the current token, which is taken. */
  #number(sign: string, position: number): ExactNumber {
    const { value: digits } = this.#advance();
    if (/^\d+$/.test(digits)) {
      const value = BigInt(sign + digits);
      if (BigInt.asIntN(64, value) !== value) {
        throw new FilterSyntaxError(
          position,
          'expected a whole number of 64 bits, -9223372036854775808 to 9223372036854775807; ' +
            'write a larger one with .0',
        );
      }
    }
    const value = parseNumber(sign + digits);
    if (value === undefined) {
      throw new FilterSyntaxError(position, `expected a number of at most ${Number.MAX_VALUE}`);
    }
    return value;
  }

  #compare(operator: CompareOperator, left: Part, right: Part): Part {
    const expression: Expression = {
      kind: 'compare',
      operator,
      left: left.expression,
      right: right.expression,
    };
    return this.#part(expression, left.position, Math.max(left.depth, right.depth));
  }

  /** A condition on the first of some parts, or the opposite. */
  #negatable(not: boolean, condition: Condition, ...parts: readonly [Part, ...Part[]]): Part {
    const [{ position }] = parts;
    const depth = Math.max(...parts.map((part) => part.depth));
    return not
      ? this.#part({ kind: 'not', operand: condition }, position, depth + 1)
      : this.#part(condition, position, depth);
  }

  /** @param below the depth of what is below the new node */
  #part(expression: Expression, position: number, below: number): Part {
    if (below >= DEPTH_MAX) throw tooDeep(position);
    return { expression, position, depth: below + 1 };
  }

  /** Reads what is inside; without a bound, the call stack would be one. */
  #nested(position: number, read: () => Part): Part {
    if (++this.#nesting > DEPTH_MAX) throw tooDeep(position);
    const part = read();
    this.#nesting--;
    return part;
  }

  #isKeyword(keyword: string): boolean {
    return this.#token.kind === 'keyword' && this.#token.value === keyword;
  }

  /** Is it this word, which is no keyword, and without quotes? */
  #isWord(word: string): boolean {
    const { position, end } = this.#token;
    return this.#text.slice(position, end).toUpperCase() === word;
  }

  /** Goes past a token when it is this one. */
  #take(kind: 'keyword' | 'symbol', value: string): boolean {
    if (this.#token.kind !== kind || this.#token.value !== value) return false;
    this.#advance();
    return true;
  }

  /** Goes to the next token; returns the one before. */
  #advance(): Token {
    const token = this.#token;
    this.#token = this.#lexer.next();
    return token;
  }

  #unexpected(expected: string): FilterSyntaxError {
    const { kind, position, end } = this.#token;
    const written = this.#text.slice(position, Math.min(end, position + FOUND_CHARACTERS));
    const found = kind === 'end' ? 'the end' : JSON.stringify(written);
    return new FilterSyntaxError(position, `expected ${expected} but found ${found}`);
  }
}

function tooDeep(position: number): FilterSyntaxError {
  return new FilterSyntaxError(position, `expected at most ${DEPTH_MAX} levels of nesting`);
}

/** What a part is, for a reader. */
function describe({ expression }: Part): string {
  if (expression.kind === 'text') return "a text in '…'";
  if (expression.kind === 'property') return 'a property';
  return isNumber(expression) ? 'a number' : 'a condition';
}

function asCondition(part: Part): Condition {
  const { expression } = part;
  if (expression.kind === 'property') return { kind: 'flag', operand: expression };
  if (isValue(expression)) {
    throw new FilterSyntaxError(
      part.position,
      `expected a condition, for example a = 1, but found ${describe(part)}`,
    );
  }
  return expression;
}

/** The operands that a part adds to AND or OR: its own ones when it is the same. */
function conditions(kind: 'and' | 'or', part: Part): Condition[] {
  const condition = asCondition(part);
  return condition.kind === kind ? [...condition.operands] : [condition];
}

function asValue(part: Part, where: string): Value {
  if (isValue(part.expression)) return part.expression;
  throw new FilterSyntaxError(part.position, `expected a property, text or number ${where}`);
}

function asText(part: Part, operator: string): Property | Text {
  if (isText(part.expression)) return part.expression;
  throw new FilterSyntaxError(
    part.position,
    `expected a property or text on the left of ${operator} but found ${describe(part)}`,
  );
}

/** What can be less or more: numbers, and properties that may hold one. */
function asOrdered(part: Part, operator: string): Value {
  const { expression } = part;
  if (expression.kind === 'property' || isNumber(expression)) return expression;
  throw new FilterSyntaxError(
    part.position,
    `expected a property or a number beside ${operator} but found ${describe(part)}; ` +
      'only numbers have an order, write them without quotes',
  );
}

function asOperand(part: Part, operator: string): Value {
  const { expression } = part;
  if (expression.kind === 'property' || isNumber(expression)) return expression;
  throw new FilterSyntaxError(
    part.position,
    `expected a property or a number beside ${operator} but found ${describe(part)}`,
  );
}

/** A number and a condition are never equal; everything else may be. */
function checkEqual(left: Part, right: Part): void {
  const numbers = isNumber(left.expression) || isNumber(right.expression);
  if (numbers && !(isValue(left.expression) && isValue(right.expression))) {
    throw new FilterSyntaxError(
      right.position,
      `expected a property or ${describe(left)} to compare with ${describe(left)}, ` +
        `but found ${describe(right)}`,
    );
  }
}
