// Filters that are ready to be asked. The tree becomes a tree of closures, each chosen by the types of its operands,
// so that asking decides nothing about types and makes no object (but for integers beyond 2^53).
//
// NULL is a property that the message does not have, and a calculation without a result. Conditions have three values:
//
//   =  <>  <  <=  >  >=  BETWEEN  IN  LIKE  CONTAINS …   unknown when an operand that decides is NULL
//   NOT unknown                                          unknown
//   unknown AND false,  unknown OR true                  false, true; all other joins with unknown are unknown
//   IS NULL                                              never unknown; true for NULL and for an unknown condition
//
// A message is wanted when the whole is true. All properties are text. How it compares:
//
//   text with text        = <> IN LIKE …: by its characters, so '3.0' is not '3'
//   text with a number    as the number that the text is (exact-number.ts), and unknown when it is none
//   < between properties  as the numbers that both are, and unknown when one is none
//   text with a condition as true or false when it is such a word, in any case, and unknown otherwise; also where a
//                         property stands for a condition
//
// These are RocketMQ's rules (doCreateEqual and __compare in ComparisonExpression.java, UnaryExpression.java at
// 8fc57f1), and better where its own lead to messages that are lost or not meant:
//
//   - There a text that is no number ends the whole evaluation with an error and the message is not delivered, though
//     it may match what stands behind an OR. Here only that comparison is unknown.
//   - There '3.5' is no number beside 3, because 3 is read as an integer, nor is 3000000000. Here a number is a number.
//   - There `'x' <> a` is true without a, and `a = b` without both; `a <> 'x'` is not. Here all are unknown.
//   - There `NOT (a CONTAINS 'x')` is true without a, and `a NOT CONTAINS 'x'` is not. Here both are unknown.
//   - There a property as a condition never holds, even when it is 'true'; any text equals FALSE that is not 'true'; and
//     `TRUE = a` is an error. Here see above.
//   - There `-a` is NULL for every property. Here it is calculated.

import { calculate, type ExactNumber, parseNumber } from './exact-number.ts';
import {
  type Arithmetic,
  type CompareOperator,
  type Condition,
  type Expression,
  isText,
  isValue,
  type NumberLiteral,
  type Property,
  type Text,
  type Value,
} from './expression.ts';
import { formatExpression } from './format.ts';
import { compilePattern } from './like-pattern.ts';
import { parseFilter } from './parser.ts';

/** What a filter asks about a message. */
export interface PropertyLookup {
  /** The value of a property; undefined when the message does not have it. */
  get(name: string): string | undefined;
}

const FALSE = 0;
const UNKNOWN = 1;
const TRUE = 2;
/** In this order AND is the least, OR the greatest, and NOT the distance from TRUE. */
type Truth = typeof FALSE | typeof UNKNOWN | typeof TRUE;

type TextOf = (properties: PropertyLookup) => string | undefined;
type NumberOf = (properties: PropertyLookup) => ExactNumber | undefined;
type TruthOf = (properties: PropertyLookup) => Truth;

/** A filter expression that is ready to be asked. */
export class Filter {
  /** The expression in its only form: filters that differ in spaces, case of keywords or comments have the same one. */
  readonly canonical: string;
  /** The properties that the expression uses, each once; no others are asked for. */
  readonly names: readonly string[];
  readonly #truthOf: TruthOf;

  /** Use `compileFilter`. */
  constructor(condition: Condition) {
    const names = new Set<string>();
    this.canonical = formatExpression(condition);
    this.#truthOf = compileCondition(condition, names);
    this.names = [...names];
  }

  /** Is the message with these properties wanted? */
  matches(properties: PropertyLookup): boolean {
    return this.#truthOf(properties) === TRUE;
  }
}

/**
 * Makes a filter of an expression.
 *
 * @throws FilterSyntaxError when it is none, or too large
 */
export function compileFilter(text: string): Filter {
  return new Filter(parseFilter(text));
}

function compileCondition(condition: Condition, names: Set<string>): TruthOf {
  switch (condition.kind) {
    case 'boolean': {
      const truth = truthOf(condition.value);
      return () => truth;
    }
    case 'flag':
      return truthOfText(compileText(condition.operand, names));
    case 'not':
      return negated(compileCondition(condition.operand, names));
    case 'and':
      return compileAnd(condition.operands.map((one) => compileCondition(one, names)));
    case 'or':
      return compileOr(condition.operands.map((one) => compileCondition(one, names)));
    case 'compare':
      return compileCompare(condition.operator, condition.left, condition.right, names);
    case 'between': {
      const operand = compileNumber(condition.operand, names);
      const low = compileNumber(condition.low, names);
      const high = compileNumber(condition.high, names);
      return compileAnd([compileAtMost(low, operand), compileAtMost(operand, high)]);
    }
    case 'in':
      return compileIn(condition.operand, condition.items, names);
    case 'contains': {
      const { search } = condition;
      return compileSearch(condition.operand, (text) => text.includes(search), names);
    }
    case 'startsWith': {
      const { search } = condition;
      return compileSearch(condition.operand, (text) => text.startsWith(search), names);
    }
    case 'endsWith': {
      const { search } = condition;
      return compileSearch(condition.operand, (text) => text.endsWith(search), names);
    }
    case 'like': {
      const matches = compilePattern(condition.pattern, condition.escapeBy);
      return compileSearch(condition.operand, matches, names);
    }
    case 'isNull':
      return compileIsNull(condition.operand, names);
  }
}

function compileAnd(operands: readonly TruthOf[]): TruthOf {
  return (properties) => {
    let least: Truth = TRUE;
    for (const operand of operands) {
      const truth = operand(properties);
      if (truth === FALSE) return FALSE;
      if (truth < least) least = truth;
    }
    return least;
  };
}

function compileOr(operands: readonly TruthOf[]): TruthOf {
  return (properties) => {
    let greatest: Truth = FALSE;
    for (const operand of operands) {
      const truth = operand(properties);
      if (truth === TRUE) return TRUE;
      if (truth > greatest) greatest = truth;
    }
    return greatest;
  };
}

function negated(operand: TruthOf): TruthOf {
  return (properties) => (TRUE - operand(properties)) as Truth;
}

function compileCompare(
  operator: CompareOperator,
  left: Expression,
  right: Expression,
  names: Set<string>,
): TruthOf {
  switch (operator) {
    case '=':
      return compileEqual(left, right, names);
    case '<>':
      return negated(compileEqual(left, right, names));
    case '<':
      return compileLess(compileNumber(left, names), compileNumber(right, names));
    case '<=':
      return compileAtMost(compileNumber(left, names), compileNumber(right, names));
    case '>':
      return compileLess(compileNumber(right, names), compileNumber(left, names));
    case '>=':
      return compileAtMost(compileNumber(right, names), compileNumber(left, names));
  }
}

function compileEqual(left: Expression, right: Expression, names: Set<string>): TruthOf {
  if (isText(left) && isText(right)) {
    const leftOf = compileText(left, names);
    const rightOf = compileText(right, names);
    return (properties) => {
      const one = leftOf(properties);
      if (one === undefined) return UNKNOWN;
      const other = rightOf(properties);
      return other === undefined ? UNKNOWN : truthOf(one === other);
    };
  }
  if (isValue(left) && isValue(right)) {
    const leftOf = compileNumber(left, names);
    const rightOf = compileNumber(right, names);
    return (properties) => {
      const one = leftOf(properties);
      if (one === undefined) return UNKNOWN;
      const other = rightOf(properties);
      return other === undefined ? UNKNOWN : truthOf(one <= other && one >= other);
    };
  }
  const leftOf = compileTruth(left, names);
  const rightOf = compileTruth(right, names);
  return (properties) => {
    const one = leftOf(properties);
    if (one === UNKNOWN) return UNKNOWN;
    const other = rightOf(properties);
    return other === UNKNOWN ? UNKNOWN : truthOf(one === other);
  };
}

function compileLess(left: NumberOf, right: NumberOf): TruthOf {
  return (properties) => {
    const one = left(properties);
    if (one === undefined) return UNKNOWN;
    const other = right(properties);
    return other === undefined ? UNKNOWN : truthOf(one < other);
  };
}

function compileAtMost(left: NumberOf, right: NumberOf): TruthOf {
  return (properties) => {
    const one = left(properties);
    if (one === undefined) return UNKNOWN;
    const other = right(properties);
    return other === undefined ? UNKNOWN : truthOf(one <= other);
  };
}

/** As `operand = item OR …`, with one look-up for all items of a type. */
function compileIn(
  operand: Value,
  items: readonly (Text | NumberLiteral)[],
  names: Set<string>,
): TruthOf {
  const texts = new Set(items.flatMap((item) => (item.kind === 'text' ? [item.value] : [])));
  const numbers = new Set(items.flatMap((item) => (item.kind === 'number' ? [item.value] : [])));
  if (!isText(operand)) {
    const numberOf = compileNumber(operand, names);
    // A number is never equal to a text that is none, and never known to be different.
    let otherwise: Truth = FALSE;
    for (const text of texts) {
      const number = parseNumber(text);
      if (number === undefined) otherwise = UNKNOWN;
      else numbers.add(number);
    }
    return (properties) => {
      const number = numberOf(properties);
      if (number === undefined) return UNKNOWN;
      return hasNumber(numbers, number) ? TRUE : otherwise;
    };
  }
  const textOf = compileText(operand, names);
  return (properties) => {
    const value = textOf(properties);
    if (value === undefined) return UNKNOWN;
    if (texts.has(value)) return TRUE;
    if (numbers.size === 0) return FALSE;
    const number = parseNumber(value);
    return number === undefined ? UNKNOWN : truthOf(hasNumber(numbers, number));
  };
}

function hasNumber(numbers: ReadonlySet<ExactNumber>, number: ExactNumber): boolean {
  if (numbers.has(number)) return true;
  if (Number.isSafeInteger(number)) return false;
  // A float and a bigint may be equal, and a set does not see it.
  for (const one of numbers) if (one <= number && one >= number) return true;
  return false;
}

function compileSearch(
  operand: Property | Text,
  matches: (text: string) => boolean,
  names: Set<string>,
): TruthOf {
  const textOf = compileText(operand, names);
  return (properties) => {
    const text = textOf(properties);
    return text === undefined ? UNKNOWN : truthOf(matches(text));
  };
}

function compileIsNull(operand: Expression, names: Set<string>): TruthOf {
  if (isText(operand)) {
    const textOf = compileText(operand, names);
    return (properties) => truthOf(textOf(properties) === undefined);
  }
  if (isValue(operand)) {
    const numberOf = compileNumber(operand, names);
    return (properties) => truthOf(numberOf(properties) === undefined);
  }
  const conditionOf = compileCondition(operand, names);
  return (properties) => truthOf(conditionOf(properties) === UNKNOWN);
}

/** An operand that is compared with a condition, and so is one. */
function compileTruth(expression: Expression, names: Set<string>): TruthOf {
  if (isText(expression)) return truthOfText(compileText(expression, names));
  return compileCondition(expression as Condition, names);
}

function compileText(expression: Property | Text, names: Set<string>): TextOf {
  if (expression.kind === 'text') {
    const { value } = expression;
    return () => value;
  }
  const { name } = expression;
  names.add(name);
  return (properties) => properties.get(name);
}

/** An operand that is compared with a number or calculated with. The parser lets no condition come here. */
function compileNumber(expression: Expression, names: Set<string>): NumberOf {
  if (isText(expression)) {
    const textOf = compileText(expression, names);
    return (properties) => {
      const text = textOf(properties);
      return text === undefined ? undefined : parseNumber(text);
    };
  }
  if (expression.kind === 'number') {
    const { value } = expression;
    return () => value;
  }
  return compileArithmetic(expression as Arithmetic, names);
}

function compileArithmetic({ operator, left, right }: Arithmetic, names: Set<string>): NumberOf {
  const leftOf = compileNumber(left, names);
  const rightOf = compileNumber(right, names);
  return (properties) => {
    const one = leftOf(properties);
    if (one === undefined) return undefined;
    const other = rightOf(properties);
    return other === undefined ? undefined : calculate(operator, one, other);
  };
}

function truthOfText(textOf: TextOf): TruthOf {
  return (properties) => {
    const text = textOf(properties);
    // Most texts are neither, and tell by their length.
    if (text?.length === 4 && text.toLowerCase() === 'true') return TRUE;
    return text?.length === 5 && text.toLowerCase() === 'false' ? FALSE : UNKNOWN;
  };
}

function truthOf(value: boolean): Truth {
  return value ? TRUE : FALSE;
}
