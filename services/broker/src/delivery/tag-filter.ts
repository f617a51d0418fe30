// Which messages a subscription wants, by tag:
//
//   expression   "" | "*" | tag { "||" tag }      spaces around tags do not count
//   tag          1 to 127 bytes of UTF-8 without "|" and control characters, and not "*"
//
// The queue index has the hash of every message's tag, so most messages are refused without reading them; the
// tag itself decides, as two tags may have one hash.

import { TernError } from '@ternmq/runtime';
import { tagHash } from '../state/message-tag.ts';

export { tagHash };

/** Longest tag, in bytes of UTF-8. */
export const TAG_BYTES_MAX = 127;
/** Most different tags of an expression. */
export const TAGS_MAX = 64;

const ALL = '*';
const OR = '||';
const BETWEEN = ' || ';

/** A parsed tag expression. */
export class TagFilter {
  /** Wants every message, also those without a tag. */
  readonly matchesAll: boolean;
  /** Hashes of the wanted tags, in ascending order; two tags may have one. */
  readonly hashes: Uint32Array;
  /** The expression in its only form: filters that want the same messages have the same one. */
  readonly canonical: string;
  /** The wanted tags in UTF-8, in the order of `hashes`. */
  readonly #tags: readonly Uint8Array[];

  /** @param tags the wanted tags, each valid and once; none for all messages */
  constructor(tags: readonly string[]) {
    const wanted = tags.map((tag) => {
      const bytes = Buffer.from(tag);
      return { bytes, hash: tagHash(bytes, 0, bytes.length) };
    });
    wanted.sort((one, other) => one.hash - other.hash);
    this.matchesAll = tags.length === 0;
    this.hashes = Uint32Array.from(wanted, ({ hash }) => hash);
    this.#tags = wanted.map(({ bytes }) => bytes);
    this.canonical = this.matchesAll ? ALL : tags.toSorted().join(BETWEEN);
  }

  /** Can a message with this tag hash be wanted? 0 stands for no tag. */
  mayMatch(hash: number): boolean {
    return this.matchesAll || this.hashes.includes(hash);
  }

  /**
   * Is a message wanted?
   *
   * @param hash of its tag; 0 when it has none
   * @param bytes hold the tag, at [start, end)
   */
  matches(hash: number, bytes: Uint8Array, start = 0, end = bytes.length): boolean {
    if (this.matchesAll) return true;
    let at = this.hashes.indexOf(hash);
    if (at < 0) return false;
    for (; this.hashes[at] === hash; at++) {
      if (isEqual(this.#tags[at] as Uint8Array, bytes, start, end)) return true;
    }
    return false;
  }
}

/**
 * Parses a tag expression.
 *
 * @throws TernError INVALID_ARGUMENT with reason INVALID_TAG_EXPRESSION; metadata `position` is the index of the
 *   wrong character, or of the wrong tag's first one
 */
export function parseTagFilter(expression: string): TagFilter {
  const trimmed = expression.trim();
  if (trimmed === '' || trimmed === ALL) return new TagFilter([]);
  const tags = new Set<string>();
  for (let start = 0; start <= expression.length; ) {
    const or = expression.indexOf(OR, start);
    const end = or < 0 ? expression.length : or;
    tags.add(parseTag(expression, start, end));
    if (tags.size > TAGS_MAX) {
      throw invalid(expression, start, `it has more than ${TAGS_MAX} different tags`);
    }
    start = end + OR.length;
  }
  return new TagFilter([...tags]);
}

/** Parses the tag at [start, end) of an expression. */
function parseTag(expression: string, start: number, end: number): string {
  const alternative = expression.slice(start, end);
  const tag = alternative.trim();
  const position = start + alternative.length - alternative.trimStart().length;
  if (tag === '') throw invalid(expression, start, `a tag is missing beside '${OR}'`);
  if (tag === ALL) throw invalid(expression, position, `'${ALL}' wants all and must stand alone`);
  const bar = tag.indexOf('|');
  if (bar >= 0) throw invalid(expression, position + bar, `tags are joined by '${OR}'`);
  const control = tag.search(/\p{Cc}/u);
  if (control >= 0) throw invalid(expression, position + control, 'a tag has a control character');
  if (Buffer.byteLength(tag) > TAG_BYTES_MAX) {
    throw invalid(expression, position, `a tag is longer than ${TAG_BYTES_MAX} bytes`);
  }
  return tag;
}

function invalid(expression: string, position: number, what: string): TernError {
  const SHOWN = 20;
  const near = JSON.stringify(expression.slice(position, position + SHOWN));
  const description = `${what}, at character ${position} (${near})`;
  return new TernError(
    'INVALID_ARGUMENT',
    'INVALID_TAG_EXPRESSION',
    `The tag expression is wrong: ${description}. Write '*' for all messages, or tags joined by '||', ` +
      "for example 'paid || refunded'.",
    { metadata: { position: String(position) }, fields: [{ field: 'tags', description }] },
  );
}

function isEqual(tag: Uint8Array, bytes: Uint8Array, start: number, end: number): boolean {
  if (tag.length !== end - start) return false;
  for (let at = 0; at < tag.length; at++) {
    if (tag[at] !== bytes[start + at]) return false;
  }
  return true;
}
