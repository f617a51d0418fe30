// Places in a queue: its begin, its end, and what was stored at a time.

import type { OffsetTarget } from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import { TernError } from '@ternmq/runtime';
import type { CommitLog } from '../log/commit-log.ts';
import { RECORD_HEADER_BYTES, viewOf } from '../log/record.ts';
import type { BrokerState } from '../state/broker-state.ts';
import { storeTimeOf } from '../state/message-record.ts';
import type { Queue } from '../state/queue.ts';

/** Tries to get hold of one message: others may push it out of the cache before it is read. */
const LOADS_MAX = 4;

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
    const begin = this.#state.beginOf(queue);
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
    let low = this.#state.beginOf(queue);
    let high = queue.visibleEnd;
    if (high > low && timeMs > queue.lastStoreTimeMs) return high;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      const storeTimeMs = await this.storeTime(queue, middle);
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
        const record = this.#log.find(position, length);
        if (record !== undefined) return storeTimeOf(viewOf(record), RECORD_HEADER_BYTES);
        await this.#log.load(position, length);
      }
    } catch (error) {
      if (!(error instanceof TernError && error.code === 'DATA_LOSS')) throw error;
    }
    return undefined;
  }
}
