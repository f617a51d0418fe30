// What a filter expression means, as a tree. Every node has one of three types, known before any message is
// seen: text (properties and quoted texts), number, and condition.

import type { ExactNumber } from './exact-number.ts';

/** A property of the message; absent ones are NULL. */
export interface Property {
  readonly kind: 'property';
  readonly name: string;
}

/** A text in quotes. */
export interface Text {
  readonly kind: 'text';
  readonly value: string;
}

/** A number, with its sign. */
export interface NumberLiteral {
  readonly kind: 'number';
  readonly value: ExactNumber;
}

/** Operators between numbers. */
export type ArithmeticOperator = '+' | '-' | '*' | '/' | '%';

/** A calculation; NULL when an operand is NULL or no number, or there is no finite result. */
export interface Arithmetic {
  readonly kind: 'arithmetic';
  readonly operator: ArithmeticOperator;
  readonly left: Value;
  readonly right: Value;
}

/** What is not a condition. */
export type Value = Property | Text | NumberLiteral | Arithmetic;

/** Operators that compare. */
export type CompareOperator = '=' | '<>' | '<' | '<=' | '>' | '>=';

/** What is true, false or unknown. NOT IN and its like are a `not` around the positive form. */
export type Condition =
  | { readonly kind: 'boolean'; readonly value: boolean }
  /** A property that stands for a condition: true when its text is `true`, false when it is `false`. */
  | { readonly kind: 'flag'; readonly operand: Property }
  | { readonly kind: 'not'; readonly operand: Condition }
  | { readonly kind: 'and' | 'or'; readonly operands: readonly Condition[] }
  | {
      readonly kind: 'compare';
      readonly operator: CompareOperator;
      readonly left: Expression;
      readonly right: Expression;
    }
  /** `low <= operand AND operand <= high`. */
  | { readonly kind: 'between'; readonly operand: Value; readonly low: Value; readonly high: Value }
  /** `operand = item OR …`. */
  | {
      readonly kind: 'in';
      readonly operand: Value;
      readonly items: readonly (Text | NumberLiteral)[];
    }
  | {
      readonly kind: 'contains' | 'startsWith' | 'endsWith';
      readonly operand: Property | Text;
      readonly search: string;
    }
  /** The pattern is a valid one for the escape character, which is empty for none. */
  | {
      readonly kind: 'like';
      readonly operand: Property | Text;
      readonly pattern: string;
      readonly escapeBy: string;
    }
  | { readonly kind: 'isNull'; readonly operand: Expression };

/** A node of the tree. */
export type Expression = Value | Condition;

/** Is it no condition? */
export function isValue(expression: Expression): expression is Value {
  return isText(expression) || isNumber(expression);
}

/** Is it text: a property or a text in quotes? */
export function isText(expression: Expression): expression is Property | Text {
  return expression.kind === 'property' || expression.kind === 'text';
}

/** Is it a number, written or calculated? */
export function isNumber(expression: Expression): expression is NumberLiteral | Arithmetic {
  return expression.kind === 'number' || expression.kind === 'arithmetic';
}
