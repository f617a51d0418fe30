// What the queue's index holds of a message beside where it lies.

import { dueHigh, dueLow } from './held-table.ts';
import { keyHashOfMessage, tagHashOfMessage } from './message-tag.ts';
import { readHeld, TrailerTag, trailerTag } from './message-trailer.ts';

/** The two numbers of an index entry that depend on the message. */
export interface Labels {
  /** Hash of the tag; of a held message the low bits of its due time. */
  tagHash: number;
  /** Hash of the ordering key; of a held message the high bits of its due time. */
  keyHash: number;
}

/**
 * The labels of a message.
 *
 * @param at index of the producer's message
 * @param messageEnd index behind it
 * @param recordEnd index behind the record
 */
export function readLabels(
  buffer: Buffer,
  view: DataView,
  at: number,
  messageEnd: number,
  recordEnd: number,
  out: Labels,
): void {
  if (trailerTag(buffer, messageEnd, recordEnd) === TrailerTag.HELD) {
    const { dueMs } = readHeld(view, messageEnd);
    out.tagHash = dueLow(dueMs);
    out.keyHash = dueHigh(dueMs);
  } else {
    out.tagHash = tagHashOfMessage(buffer, at, messageEnd);
    out.keyHash = keyHashOfMessage(buffer, at, messageEnd);
  }
}
