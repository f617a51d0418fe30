// Places in a queue: its begin, its end, and what was stored at a time.

import type { OffsetTarget } from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import { TernError } from '@ternmq/runtime';
import type { CommitLog } from '../log/commit-log.ts';
import { RECORD_HEADER_BYTES, viewOf } from '../log/record.ts';
import type { BrokerState } from '../state/broker-state.ts';
import { firstKept } from '../state/kept-messages.ts';
import { storeTimeOf } from '../state/message-record.ts';
import type { Queue } from '../state/queue.ts';

/** Tries to get hold of one message: others may push it out of the cache before it is read. */
const LOADS_MAX = 4;

/** Where progress is set to in a queue. */
export interface SetOffset {
  readonly queueId: number;
  readonly offset: number;
}

/** Finds offsets. */
export class OffsetFinder {
  readonly #log: CommitLog;
  readonly #state: BrokerState;

  constructor(modules: { log: CommitLog; state: BrokerState }) {
    this.#log = modules.log;
    this.#state = modules.state;
  }

  /** The offset of a place in a queue; the end when nothing is said. An offset is kept within the queue. */
  async find(queue: Queue, target: OffsetTarget['target'] | undefined): Promise<number> {
    const begin = firstKept(this.#state, queue);
    switch (target?.case) {
      case 'begin':
        return begin;
      case 'timeMs':
        return this.atTime(queue, Number(target.value));
      case 'offset':
        return Math.min(Math.max(Number(target.value), begin), queue.visibleEnd);
      default:
        return queue.visibleEnd;
    }
  }

  /** Offset of the first message that was stored at or after a time, in ms since the Unix epoch; else the end. */
  async atTime(queue: Queue, timeMs: number): Promise<number> {
    const begin = this.#state.beginOf(queue);
    const end = queue.visibleEnd;
    if (end > begin && timeMs > queue.lastStoreTimeMs) return end;
    // The list may change while it is searched; what is found is a place in the queue all the same.
    const below = queue.retained?.indexOf(begin) ?? 0;
    const index = await this.#search(0, below, timeMs, (at) =>
      this.storeTime(queue, queue.retained?.at(at) ?? begin),
    );
    if (index < below) return queue.retained?.at(index) ?? begin;
    return this.#search(begin, end, timeMs, (offset) => this.storeTime(queue, offset));
  }

  /** The first number of [from, to) that was stored at or after a time; `to` when there is none. */
  async #search(
    from: number,
    to: number,
    timeMs: number,
    storeTime: (at: number) => Promise<number | undefined>,
  ): Promise<number> {
    let low = from;
    let high = to;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      const storeTimeMs = await storeTime(middle);
      // A lost message says nothing; what is around it decides.
      if (storeTimeMs !== undefined && storeTimeMs < timeMs) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** When a message was stored, in milliseconds since the Unix epoch; undefined when it is damaged or gone. */
  async storeTime(queue: Queue, offset: number): Promise<number | undefined> {
    try {
      for (let loads = 0; loads < LOADS_MAX; loads++) {
        const { position, length } = this.#state.locate(queue, offset);
        if (length === 0) return undefined;
        const record = this.#log.read.find(position, length);
        if (record !== undefined) return storeTimeOf(viewOf(record), RECORD_HEADER_BYTES);
        await this.#log.read.load(position, length);
      }
    } catch (error) {
      if (!(error instanceof TernError && error.code === 'DATA_LOSS')) throw error;
    }
    return undefined;
  }
}
