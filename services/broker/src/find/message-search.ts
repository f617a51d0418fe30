// Finds messages of a topic by key and time, the newest first.
//
// Every queue has a cursor that goes down from its end. A search by key goes from one row of KEYS to the next until it
// comes to a hash that fits; of the places where the cursors stand, the one whose record lies furthest in the log is the
// newest message (of those that were appended again, the one that was so last), and is read to make sure. A call does a bounded part of this and returns the cursors to go on with.

import { type Clock, type Logger, TernError } from '@ternmq/runtime';
import type { Collector } from '../delivery/collect.ts';
import type { OffsetFinder } from '../delivery/offsets.ts';
import { RECORD_HEADER_BYTES, viewOf } from '../log/record.ts';
import type { BrokerState } from '../state/broker-state.ts';
import { firstKept } from '../state/kept-messages.ts';
import { KEYS_MAX, lastWithKey } from '../state/key-chunks.ts';
import { MESSAGE_AT, messageBytesOf, storeTimeOf } from '../state/message-record.ts';
import { fnv1a, nextKey, type Slice } from '../state/message-tag.ts';
import { CHUNK_ENTRIES, type Queue } from '../state/queue.ts';

/** Rows of KEYS that one call looks at, and messages that it reads. */
const ROWS_MAX = 8192;
const READS_MAX = 4096;
/** Rows after which other work has its turn. */
const ROWS_A_TURN = 256;
/** Bytes of records that one call finds; the last one may go past it. */
const BYTES_MAX = 2 << 20;

/** What is looked for. */
export interface SearchChoice {
  /** One of the keys of the messages, as UTF-8; undefined for all messages. */
  readonly key: Buffer | undefined;
  /** Stored at this time or later, in milliseconds since the Unix epoch. */
  readonly fromMs: number;
  /** Stored before this time; Infinity for no bound. */
  readonly toMs: number;
  readonly messagesMax: number;
}

/** How far a search is in a queue: what lies in [floor, end) is still to be looked at. */
export interface SearchCursor {
  readonly queue: Queue;
  readonly floor: number;
  end: number;
}

/** A cursor that may stand at a message. */
interface Place extends SearchCursor {
  /** Offset of the next message that may be meant, and where its record lies; -1 before it is looked for. */
  hit: number;
  position: number;
}

/** Finds messages. */
export class MessageSearch {
  readonly #state: BrokerState;
  readonly #collector: Collector;
  readonly #offsets: OffsetFinder;
  readonly #clock: Clock;
  readonly #logger: Logger;

  constructor(modules: {
    state: BrokerState;
    collector: Collector;
    offsets: OffsetFinder;
    clock: Clock;
    logger: Logger;
  }) {
    this.#state = modules.state;
    this.#collector = modules.collector;
    this.#offsets = modules.offsets;
    this.#clock = modules.clock;
    this.#logger = modules.logger;
  }

  /** Where a search begins. */
  async begin(queues: readonly Queue[], choice: SearchChoice): Promise<SearchCursor[]> {
    const cursors: SearchCursor[] = [];
    for (const queue of queues) {
      const { fromMs, toMs } = choice;
      const floor =
        fromMs > 0 ? await this.#offsets.atTime(queue, fromMs) : firstKept(this.#state, queue);
      const end = toMs < Infinity ? await this.#offsets.atTime(queue, toMs) : queue.visibleEnd;
      cursors.push({ queue, floor, end });
    }
    return cursors;
  }

  /**
   * The next messages, as records, the newest first; and what is left to look at, undefined when that is nothing. There
   * may be fewer messages than wanted, or none, and still something left.
   */
  async next(
    cursors: readonly SearchCursor[],
    choice: SearchChoice,
  ): Promise<{ records: Buffer[]; left: SearchCursor[] | undefined }> {
    const places = cursors.map((cursor): Place => ({ ...cursor, hit: -1, position: -1 }));
    const records: Buffer[] = [];
    const hash = choice.key === undefined ? 0 : fnv1a(choice.key, 0, choice.key.length);
    let rows = 0;
    let bytes = 0;
    for (let reads = 0; reads < READS_MAX; ) {
      let newest: Place | undefined;
      for (const place of places) {
        while (place.hit < 0 && this.#hasMore(place)) {
          if (rows++ === ROWS_MAX) return { records, left: leftOf(places) };
          if (rows % ROWS_A_TURN === 0) await this.#turn();
          this.#descend(place, choice.key === undefined ? undefined : hash);
        }
        if (place.hit >= 0 && place.position > (newest?.position ?? -1)) newest = place;
      }
      if (newest === undefined) return { records, left: undefined };
      if (records.length === choice.messagesMax || bytes >= BYTES_MAX) break;
      const { queue, hit } = newest;
      newest.end = hit;
      newest.hit = -1;
      reads++;
      const record = await this.#read(queue, hit);
      if (record === undefined || !fits(record, choice)) continue;
      records.push(record);
      bytes += record.length;
    }
    return { records, left: leftOf(places) };
  }

  #hasMore({ queue, floor, end }: Place): boolean {
    return !queue.deleted && end > Math.max(floor, firstKept(this.#state, queue));
  }

  /** Moves a cursor to the newest message below it that may be meant, or below the chunk that it is in. */
  #descend(place: Place, hash: number | undefined): void {
    const { queue } = place;
    const begin = this.#state.beginOf(queue);
    if (place.end <= begin) {
      this.#descendRetained(place);
      return;
    }
    const floor = Math.max(place.floor, begin);
    const chunk = Math.floor((place.end - 1) / CHUNK_ENTRIES);
    const first = chunk * CHUNK_ENTRIES;
    let index = place.end - 1 - first;
    if (hash !== undefined) {
      const row = this.#state.keyChunk(queue, chunk);
      index = row === undefined ? -1 : lastWithKey(row, hash, place.end - first);
    }
    if (index < 0 || first + index < floor) {
      place.end = Math.max(first, floor);
      return;
    }
    this.#stand(place, first + index);
  }

  /** Moves a cursor to the next message that a compacted queue retains below its begin: no rows tell their keys. */
  #descendRetained(place: Place): void {
    const { retained } = place.queue;
    const offset = retained?.at(retained.indexOf(place.end) - 1);
    if (offset === undefined || offset < place.floor) place.end = place.floor;
    else this.#stand(place, offset);
  }

  /** A cursor has come to a message; one that is lost is passed over. */
  #stand(place: Place, offset: number): void {
    const { position, length } = this.#state.locate(place.queue, offset);
    if (length === 0) place.end = offset;
    else {
      place.hit = offset;
      place.position = position;
    }
  }

  /** A copy of a message's record; undefined when it is damaged, or retention took it meanwhile. */
  async #read(queue: Queue, offset: number): Promise<Buffer | undefined> {
    try {
      return await this.#collector.copy(queue, offset);
    } catch (error) {
      if (!(error instanceof TernError && error.code === 'DATA_LOSS')) throw error;
      const { topicId, queueId } = queue;
      this.#logger.error({ topicId, queueId, offset }, 'a search passed over a damaged message');
      return undefined;
    }
  }

  #turn(): Promise<void> {
    return new Promise((resolve) => this.#clock.defer(resolve));
  }
}

/** The cursors to go on with: what they stand at was not read yet. */
function leftOf(places: readonly Place[]): SearchCursor[] {
  return places.map(({ queue, floor, end }) => ({ queue, floor, end }));
}

const slice: Slice = { start: 0, end: 0 };

/** Is a record in time, and does it have the key? */
function fits(record: Buffer, { key, fromMs, toMs }: SearchChoice): boolean {
  const view = viewOf(record);
  const timeMs = storeTimeOf(view, RECORD_HEADER_BYTES);
  if (timeMs < fromMs || timeMs >= toMs) return false;
  if (key === undefined) return true;
  const end = MESSAGE_AT + messageBytesOf(view, RECORD_HEADER_BYTES);
  let next = MESSAGE_AT;
  for (let count = 0; count < KEYS_MAX; count++) {
    next = nextKey(record, next, end, slice);
    if (next < 0) return false;
    if (record.compare(key, 0, key.length, slice.start, slice.end) === 0) return true;
  }
  return false;
}
