// Which messages a subscription wants: by tag, by an SQL expression over tag, keys and properties, or by both, which must
// hold then.

import { TernError } from '@ternmq/runtime';
import { compileFilter, type Filter } from '../filter/compile.ts';
import { MessageProperties } from '../filter/message-properties.ts';
import { FilterSyntaxError } from '../filter/syntax-error.ts';
import type { Wanted } from '../state/groups.ts';
import { findTag, type Slice } from '../state/message-tag.ts';
import { parseTagFilter, type TagFilter } from './tag-filter.ts';

const tag: Slice = { start: 0, end: 0 };

/** A subscription's filter. */
export class MessageFilter {
  /** Wants every message. */
  readonly matchesAll: boolean;
  /** The filter in its only form: filters that want the same messages have the same one. */
  readonly canonical: string;
  /** The filter as parseMessageFilter takes it. */
  readonly wanted: Wanted;
  readonly #tags: TagFilter;
  readonly #sql: Filter | undefined;
  readonly #properties: MessageProperties | undefined;

  /** @param text what `sql` was compiled from; empty when it is undefined */
  constructor(tags: TagFilter, sql: Filter | undefined, text: string) {
    this.#tags = tags;
    this.#sql = sql;
    this.matchesAll = tags.matchesAll && sql === undefined;
    this.wanted = { tags: tags.matchesAll ? '' : tags.canonical, sql: text };
    this.canonical = sql === undefined ? tags.canonical : `${tags.canonical}, ${sql.canonical}`;
    if (sql !== undefined) this.#properties = new MessageProperties(sql.names);
  }

  /** Must a message be read to say whether it is wanted, beyond its tag? */
  get readsMessages(): boolean {
    return this.#sql !== undefined;
  }

  /** Can a message with this tag hash be wanted? 0 stands for no tag. */
  mayMatch(tagHash: number): boolean {
    return this.#tags.mayMatch(tagHash);
  }

  /**
   * Is a message wanted?
   *
   * @param bytes hold the producer's message, at [start, end)
   */
  matches(tagHash: number, bytes: Buffer, start: number, end: number): boolean {
    if (!this.#tags.matchesAll) {
      if (!findTag(bytes, start, end, tag)) return false;
      if (!this.#tags.matches(tagHash, bytes, tag.start, tag.end)) return false;
    }
    if (this.#sql === undefined || this.#properties === undefined) return true;
    return this.#sql.matches(this.#properties.reset(bytes, start, end));
  }

  /** Lets go of the bytes of the last message. */
  release(): void {
    this.#properties?.clear();
  }
}

/**
 * Parses a filter.
 *
 * @param tags `*` or empty for all, else names joined by `||`
 * @param sql empty for none
 * @throws TernError INVALID_ARGUMENT with reason INVALID_TAG_EXPRESSION or INVALID_SQL_EXPRESSION; metadata `position` is
 *   the index of the wrong character
 */
export function parseMessageFilter(tags: string, sql: string): MessageFilter {
  const text = sql.trim();
  return new MessageFilter(parseTagFilter(tags), text === '' ? undefined : parseSql(sql), text);
}

function parseSql(sql: string): Filter {
  try {
    return compileFilter(sql);
  } catch (error) {
    if (!(error instanceof FilterSyntaxError)) throw error;
    const { position, reason } = error;
    const description = `${reason} (at character ${position})`;
    throw new TernError(
      'INVALID_ARGUMENT',
      'INVALID_SQL_EXPRESSION',
      `The SQL expression is wrong: ${description}`,
      { metadata: { position: String(position) }, fields: [{ field: 'sql', description }] },
    );
  }
}
