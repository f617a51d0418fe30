// Words and symbols of a filter expression.
//
//   keyword  NOT AND OR BETWEEN IN TRUE FALSE NULL IS CONTAINS STARTSWITH ENDSWITH, in any case
//   name     a letter, _ or $, then letters, digits, _ and $; its case counts. Or any text in double quotes, "" for
//            one of them: "order-id"
//   text     in single quotes, '' for one of them
//   number   42  42L  0.5  .5  5.  1e3; its sign is a symbol of its own
//   symbol   = <> < <= > >= + - * / % ( ) ,
//
// Between them: space, tab, line breaks, form feed, comments of SQL: -- to the end of the line, and /* … */.
//
// As in RocketMQ (filter/src/main/java/org/apache/rocketmq/filter/parser/SelectorParser.jj at 8fc57f1), except that
// names in double quotes are ours (its properties with another name cannot be filtered by), a -- comment may end with
// the expression, 0L is a number, and LIKE and ESCAPE have a meaning. These two are no keywords, so that properties of
// these names stay usable: the parser knows them by where they stand. Hexadecimal and octal numbers are none there
// either; 010 is refused, because it means 8 to some and 10 to others.

import { FilterSyntaxError } from './syntax-error.ts';

/** A piece of the expression. */
export interface Token {
  readonly kind: 'keyword' | 'name' | 'text' | 'number' | 'symbol' | 'end';
  /** A keyword in upper case, a number without `L`, a name or text without quotes; the symbol; empty at the end. */
  readonly value: string;
  /** Where it lies in the expression: [position, end). */
  readonly position: number;
  readonly end: number;
}

const KEYWORDS: ReadonlySet<string> = new Set([
  ...['NOT', 'AND', 'OR', 'BETWEEN', 'IN', 'TRUE', 'FALSE', 'NULL', 'IS'],
  ...['CONTAINS', 'STARTSWITH', 'ENDSWITH'],
]);
const WORD = /[a-z_$][a-z0-9_$]*/iy;
const FLOAT = /(?:\d+\.\d*|\.\d+)(?:e[+-]?\d+)?|\d+e[+-]?\d+/iy;
const WHOLE = /(\d+)l?/iy;
const SYMBOL = /<>|<=|>=|[=<>+\-*/%(),]/y;
const SPACE = /[ \t\n\r\f]+|--[^\n\r]*/y;
const COMMENT = '/*';
const COMMENT_END = '*/';
/** What others write for our symbols. */
const FOREIGN: Readonly<Record<string, string>> = {
  '!=': '<>',
  '==': '=',
  '&&': 'AND',
  '||': 'OR',
};

/** Cuts an expression into tokens, one at a time. */
export class Lexer {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  /**
   * The next token; `end` again and again at the end.
   *
   * @throws FilterSyntaxError when there is none
   */
  next(): Token {
    this.#skip();
    const position = this.#at;
    const first = this.#text[position];
    if (first === undefined) return this.#token('end', '', position);
    if (first === "'") return this.#quoted('text', first);
    if (first === '"') return this.#quoted('name', first);
    const word = this.#match(WORD);
    if (word !== undefined) {
      const upper = word[0].toUpperCase();
      return KEYWORDS.has(upper)
        ? this.#token('keyword', upper, position)
        : this.#token('name', word[0], position);
    }
    const float = this.#match(FLOAT);
    if (float !== undefined) return this.#token('number', float[0], position);
    const whole = this.#match(WHOLE);
    if (whole !== undefined) return this.#whole(whole[1] as string, position);
    const foreign = FOREIGN[this.#text.slice(position, position + 2)];
    if (foreign !== undefined) {
      const written = this.#text.slice(position, position + 2);
      throw new FilterSyntaxError(position, `expected ${foreign} instead of ${written}`);
    }
    const symbol = this.#match(SYMBOL);
    if (symbol !== undefined) return this.#token('symbol', symbol[0], position);
    const character = String.fromCodePoint(this.#text.codePointAt(position) as number);
    throw new FilterSyntaxError(
      position,
      `expected a name, a value or an operator but found ${JSON.stringify(character)}; ` +
        'texts stand in \'…\', and names of other characters in "…"',
    );
  }

  #skip(): void {
    for (;;) {
      if (this.#text.startsWith(COMMENT, this.#at)) {
        const end = this.#text.indexOf(COMMENT_END, this.#at + COMMENT.length);
        if (end < 0) {
          throw new FilterSyntaxError(
            this.#at,
            `expected ${COMMENT_END} at the end of the comment`,
          );
        }
        this.#at = end + COMMENT_END.length;
      } else if (this.#match(SPACE) === undefined) {
        return;
      }
    }
  }

  /** Goes past what a sticky expression finds here; undefined when it finds nothing. */
  #match(pattern: RegExp): RegExpExecArray | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text);
    if (found === null) return undefined;
    this.#at += found[0].length;
    return found;
  }

  #whole(digits: string, position: number): Token {
    if (digits.length > 1 && digits.startsWith('0')) {
      throw new FilterSyntaxError(position, 'expected a decimal number without leading zeros');
    }
    return this.#token('number', digits, position);
  }

  #quoted(kind: 'text' | 'name', quote: string): Token {
    const position = this.#at;
    let value = '';
    for (let from = position + 1; ; ) {
      const end = this.#text.indexOf(quote, from);
      if (end < 0) {
        throw new FilterSyntaxError(position, `expected ${quote} at the end of this ${kind}`);
      }
      value += this.#text.slice(from, end);
      if (this.#text[end + 1] !== quote) {
        this.#at = end + 1;
        break;
      }
      value += quote;
      from = end + 2;
    }
    if (kind === 'name' && value === '') {
      throw new FilterSyntaxError(position, 'expected at least one character in a name');
    }
    return this.#token(kind, value, position);
  }

  #token(kind: Token['kind'], value: string, position: number): Token {
    return { kind, value, position, end: this.#at };
  }
}
