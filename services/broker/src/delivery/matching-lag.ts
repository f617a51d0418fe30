// How many of the messages that a group was never given its subscription wants. The queue's index has a hash of every
// message's tag, which tells without reading the messages; two tags of one hash count as one.

import type { Clock } from '@ternmq/runtime';
import type { BrokerState } from '../state/broker-state.ts';
import { nextKept } from '../state/kept-messages.ts';
import { CHUNK_ENTRIES, entryTagHash, type Queue } from '../state/queue.ts';
import type { MessageFilter } from './message-filter.ts';

/** Entries that are looked at in one turn of the event loop. */
const ENTRIES_A_TURN = 64 * CHUNK_ENTRIES;

/**
 * Counts the messages from an offset on that a filter wants; undefined when the index cannot tell: because the filter has an
 * SQL condition, or because messages are retained below the queue's begin, which the index no longer has.
 *
 * @param entriesMax entries that are looked at; what lies behind is taken for alike
 */
export async function countMatching(
  state: BrokerState,
  queue: Queue,
  from: number,
  filter: MessageFilter,
  entriesMax: number,
  clock: Clock,
): Promise<number | undefined> {
  const begin = Math.max(from, state.beginOf(queue));
  if (filter.readsMessages || queue.sparse || nextKept(state, queue, from) < begin)
    return undefined;
  const end = queue.visibleEnd;
  if (filter.matchesAll || begin >= end) return Math.max(0, end - begin);
  const lookedAt = Math.min(end, begin + entriesMax);
  let matching = 0;
  for (let offset = begin; offset < lookedAt && !queue.deleted; ) {
    const turnEnd = Math.min(lookedAt, offset + ENTRIES_A_TURN);
    while (offset < turnEnd) {
      const chunk = Math.floor(offset / CHUNK_ENTRIES);
      const chunkEnd = Math.min(turnEnd, (chunk + 1) * CHUNK_ENTRIES);
      const entries = state.chunk(queue, chunk);
      for (; offset < chunkEnd; offset++) {
        if (filter.mayMatch(entryTagHash(entries, offset % CHUNK_ENTRIES))) matching++;
      }
    }
    if (offset < lookedAt) await new Promise<void>((resolve) => clock.defer(resolve));
    // Retention may have taken messages meanwhile, and their part of the index.
    offset = Math.max(offset, state.beginOf(queue));
  }
  return Math.round((matching * (end - begin)) / (lookedAt - begin));
}
