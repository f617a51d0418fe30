// A filter expression in its only form: expressions that differ in spaces, comments, the case of keywords or needless
// parentheses have the same one. It can be read again and means the same.

import type { Condition, Expression } from './expression.ts';

const PLAIN_NAME = /^[a-z_$][a-z0-9_$]*$/i;
const KEYWORD = /^(?:not|and|or|between|in|true|false|null|is|contains|startswith|endswith)$/i;

/** Writes an expression in its only form. */
export function formatExpression(expression: Expression): string {
  switch (expression.kind) {
    case 'property': {
      const { name } = expression;
      return PLAIN_NAME.test(name) && !KEYWORD.test(name) ? name : quote(name, '"');
    }
    case 'text':
      return quote(expression.value, "'");
    case 'number':
      return formatNumber(expression.value);
    case 'boolean':
      return expression.value ? 'TRUE' : 'FALSE';
    case 'flag':
      return formatExpression(expression.operand);
    case 'arithmetic':
    case 'compare':
      return `${operand(expression.left)} ${expression.operator} ${operand(expression.right)}`;
    case 'not':
      return `NOT ${operand(expression.operand)}`;
    case 'and':
      return expression.operands.map(joined).join(' AND ');
    case 'or':
      return expression.operands.map(joined).join(' OR ');
    case 'between':
      return `${operand(expression.operand)} BETWEEN ${operand(expression.low)} AND ${operand(expression.high)}`;
    case 'in':
      return `${operand(expression.operand)} IN (${expression.items.map(formatExpression).join(', ')})`;
    case 'contains':
    case 'startsWith':
    case 'endsWith': {
      const keyword = expression.kind.toUpperCase();
      return `${operand(expression.operand)} ${keyword} ${quote(expression.search, "'")}`;
    }
    case 'like': {
      const escaping =
        expression.escapeBy === '' ? '' : ` ESCAPE ${quote(expression.escapeBy, "'")}`;
      return `${operand(expression.operand)} LIKE ${quote(expression.pattern, "'")}${escaping}`;
    }
    case 'isNull':
      return `${operand(expression.operand)} IS NULL`;
  }
}

/** An operand of AND or OR. */
function joined(condition: Condition): string {
  const text = formatExpression(condition);
  return condition.kind === 'and' || condition.kind === 'or' ? `(${text})` : text;
}

/** An operand of anything else. */
function operand(expression: Expression): string {
  const text = formatExpression(expression);
  switch (expression.kind) {
    case 'property':
    case 'text':
    case 'number':
    case 'boolean':
    case 'flag':
      return text;
    default:
      return `(${text})`;
  }
}

function quote(text: string, mark: string): string {
  return `${mark}${text.replaceAll(mark, mark + mark)}${mark}`;
}

function formatNumber(value: number | bigint): string {
  const text = String(value);
  // A float that would be read again as a whole number, which it may be too large for.
  const float = typeof value === 'number' && !Number.isSafeInteger(value);
  return float && /^-?\d+$/.test(text) ? `${text}.0` : text;
}
