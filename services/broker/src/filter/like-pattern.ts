// LIKE of SQL-92: `%` stands for any text, `_` for one character (a code point, not half of one), and the escape
// character, if there is one, takes the meaning from the `%`, `_` or escape character behind it.
//
// No regular expression: one with several `.*` may take the power of their number. This takes at most the product of
// the two lengths, and the pattern's is bounded.

/** One element of a pattern: a code point, or one of the two below. */
type Element = number;
const ANY: Element = -1;
const MANY: Element = -2;

/** Why a pattern is wrong, and at which of its characters. */
export interface PatternFault {
  readonly at: number;
  readonly reason: string;
}

/** A pattern that can be matched. */
export type Matches = (text: string) => boolean;

/** What is wrong with a pattern; undefined for nothing. `escapeBy` is one character, or empty for none. */
export function findPatternFault(pattern: string, escapeBy: string): PatternFault | undefined {
  const elements = readPattern(pattern, escapeBy);
  return Array.isArray(elements) ? undefined : elements;
}

/** Makes a pattern ready to match; it must be a valid one. */
export function compilePattern(pattern: string, escapeBy: string): Matches {
  const elements = readPattern(pattern, escapeBy);
  if (!Array.isArray(elements)) throw new RangeError(elements.reason);
  const opens = elements[0] === MANY;
  const closes = elements.at(-1) === MANY;
  const inner = elements.slice(opens ? 1 : 0, closes ? -1 : undefined);
  if (inner.some((element) => element < 0)) return (text) => matchElements(elements, text);
  const search = String.fromCodePoint(...inner);
  if (opens) return closes ? (text) => text.includes(search) : (text) => text.endsWith(search);
  return closes ? (text) => text.startsWith(search) : (text) => text === search;
}

/** The elements of a pattern, never two MANY in a row. */
function readPattern(pattern: string, escapeBy: string): Element[] | PatternFault {
  const elements: Element[] = [];
  for (let at = 0; at < pattern.length; ) {
    let character = characterAt(pattern, at);
    const escaped = character === escapeBy;
    if (escaped) {
      const next = at + character.length;
      character = next < pattern.length ? characterAt(pattern, next) : '';
      if (character !== '%' && character !== '_' && character !== escapeBy) {
        return {
          at,
          reason: 'expected %, _ or the escape character itself behind the escape character',
        };
      }
      at = next;
    }
    if (escaped || (character !== '%' && character !== '_')) {
      elements.push(character.codePointAt(0) as number);
    } else if (character === '_') {
      elements.push(ANY);
    } else if (elements.at(-1) !== MANY) {
      elements.push(MANY);
    }
    at += character.length;
  }
  return elements;
}

function characterAt(text: string, at: number): string {
  return String.fromCodePoint(text.codePointAt(at) as number);
}

/**
 * Goes through both, taking as little as possible for each MANY; where that fails, only the last MANY takes one
 * character more, because a text that an earlier one could still find, the last one finds too.
 */
function matchElements(elements: readonly Element[], text: string): boolean {
  let at = 0;
  let element = 0;
  // Behind the last MANY, and what of the text comes behind all that it has taken.
  let resumeElement = -1;
  let resumeAt = 0;
  for (;;) {
    const wanted = elements[element];
    if (wanted === MANY) {
      element++;
      if (element === elements.length) return true;
      resumeElement = element;
      resumeAt = at;
      continue;
    }
    if (at >= text.length && wanted === undefined) return true;
    const found = at < text.length ? (text.codePointAt(at) as number) : undefined;
    if (found !== undefined && (wanted === ANY || wanted === found)) {
      at += width(found);
      element++;
    } else if (found === undefined || resumeElement < 0) {
      // Nothing is left, or nothing can give way.
      return false;
    } else {
      resumeAt += width(text.codePointAt(resumeAt) as number);
      at = resumeAt;
      element = resumeElement;
    }
  }
}

/** UTF-16 code units of a code point. */
function width(codePoint: number): number {
  return codePoint > 0xffff ? 2 : 1;
}
