// How many of the messages that a group was never given its subscription wants. The queue's index has a hash of every
// message's tag, which tells without reading the messages; two tags of one hash count as one. Where the index cannot tell,
// because of an SQL condition, or because messages are retained below the queue's begin, they are read.

import { type Clock, TernError } from '@ternmq/runtime';
import type { CommitLog } from '../log/commit-log.ts';
import { isMarked } from '../progress/marks.ts';
import type { BrokerState } from '../state/broker-state.ts';
import { countKept, nextKept } from '../state/kept-messages.ts';
import { CHUNK_ENTRIES, entryTagHash, type Queue } from '../state/queue.ts';
import type { Collector } from './collect.ts';
import type { MessageFilter } from './message-filter.ts';

/** Entries of the index that are looked at in one turn of the event loop, and for one topic. */
const ENTRIES_A_TURN = 64 * CHUNK_ENTRIES;
const ENTRIES_MAX = 1_000_000;
/** Messages that are read for one topic, and bytes that are loaded from the disk for that. */
const READ_MAX = 20_000;
const LOADED_BYTES_MAX = 64 << 20;
/** What a load reads at least. */
const LOAD_BYTES_MIN = 256 << 10;

/** How many messages are wanted. */
export interface MatchingLag {
  readonly messages: number;
  /** Offset of the first of them that was seen; -1 for none. */
  readonly first: number;
  /** It is extrapolated from a part of them. */
  readonly estimated: boolean;
}

/** Counts messages that subscriptions want. */
export class MatchingLags {
  readonly #log: CommitLog;
  readonly #state: BrokerState;
  readonly #collector: Collector;
  readonly #clock: Clock;

  constructor(modules: { log: CommitLog; state: BrokerState; collector: Collector; clock: Clock }) {
    this.#log = modules.log;
    this.#state = modules.state;
    this.#collector = modules.collector;
    this.#clock = modules.clock;
  }

  /**
   * Counts the messages from an offset on that a filter wants.
   *
   * @param share the queue has one of so many shares of the topic's work
   */
  async count(
    queue: Queue,
    from: number,
    filter: MessageFilter,
    share: number,
  ): Promise<MatchingLag> {
    const kept = countKept(this.#state, queue, from);
    const begin = nextKept(this.#state, queue, from);
    if (filter.matchesAll || kept === 0) {
      return { messages: kept, first: kept === 0 ? -1 : begin, estimated: false };
    }
    const indexed = !filter.readsMessages && begin >= this.#state.beginOf(queue);
    const { end, messages, first } = indexed
      ? await this.#countTags(queue, begin, filter, Math.ceil(ENTRIES_MAX / share))
      : await this.#read(queue, begin, filter, share);
    const unseen = countKept(this.#state, queue, end);
    const seen = kept - unseen;
    if (unseen === 0 || seen <= 0) return { messages, first, estimated: unseen > 0 };
    return { messages: Math.round((messages * kept) / seen), first, estimated: true };
  }

  /** Counts by the index; ends where the queue ends, or after so many entries. */
  async #countTags(
    queue: Queue,
    from: number,
    filter: MessageFilter,
    entriesMax: number,
  ): Promise<{ end: number; messages: number; first: number }> {
    const end = Math.min(queue.visibleEnd, from + entriesMax);
    let messages = 0;
    let first = -1;
    for (let offset = from; offset < end && !queue.deleted; ) {
      const turnEnd = Math.min(end, offset + ENTRIES_A_TURN);
      while (offset < turnEnd) {
        const chunk = Math.floor(offset / CHUNK_ENTRIES);
        const chunkEnd = Math.min(turnEnd, (chunk + 1) * CHUNK_ENTRIES);
        const entries = this.#state.chunk(queue, chunk);
        for (; offset < chunkEnd; offset++) {
          if (!filter.mayMatch(entryTagHash(entries, offset % CHUNK_ENTRIES))) continue;
          if (messages++ === 0) first = offset;
        }
      }
      if (offset < end) await this.#nextTurn();
      // Retention may have taken messages meanwhile, and their part of the index.
      offset = Math.max(offset, this.#state.beginOf(queue));
    }
    return { end, messages, first };
  }

  /** Counts by reading; ends where the queue ends, or when enough was read. */
  async #read(
    queue: Queue,
    from: number,
    filter: MessageFilter,
    share: number,
  ): Promise<{ end: number; messages: number; first: number }> {
    const end = queue.visibleEnd;
    let left = Math.ceil(READ_MAX / share);
    let bytesLeft = LOADED_BYTES_MAX / share;
    let messages = 0;
    let first = -1;
    let offset = from;
    while (offset < end && left > 0 && bytesLeft > 0 && !queue.deleted) {
      const found = this.#collector.collect(queue, offset, left, bytesLeft, filter, [], false);
      if (messages === 0 && found.messages > 0) first = offset + firstMatch(found.unmatched);
      messages += found.messages;
      left -= countKept(this.#state, queue, offset) - countKept(this.#state, queue, found.end);
      offset = found.end;
      if (found.damaged !== undefined) offset++;
      if (found.missing !== undefined) {
        const { position, length } = found.missing;
        bytesLeft -= Math.max(length, LOAD_BYTES_MIN);
        if (!(await this.#loaded(position, length))) offset++;
      }
      await this.#nextTurn();
      offset = Math.min(end, nextKept(this.#state, queue, offset));
    }
    return { end: Math.min(offset, end), messages, first };
  }

  /** Reads a stretch from the disk; false when it is damaged. */
  async #loaded(position: number, length: number): Promise<boolean> {
    try {
      await this.#log.read.load(position, length);
      return true;
    } catch (error) {
      if (!(error instanceof TernError)) throw error;
      return false;
    }
  }

  #nextTurn(): Promise<void> {
    return new Promise((resolve) => this.#clock.defer(resolve));
  }
}

/** Index of the first message that is not marked as one that does not match. */
function firstMatch(unmatched: Uint8Array | undefined): number {
  let index = 0;
  while (isMarked(unmatched, index)) index++;
  return index;
}
