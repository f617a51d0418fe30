// Moves messages that waited to the queues where they belong. One record moves a message: a crash leaves it where it
// waited, or where it belongs, and never in both places.

import { create } from '@bufbuild/protobuf';
import { HeldDroppedSchema } from '@ternmq/proto/gen/ternmq/log/v1/log_pb';
import { type Logger, TernError } from '@ternmq/runtime';
import type { Collector } from '../delivery/collect.ts';
import { RECORD_HEADER_BYTES, viewOf } from '../log/record.ts';
import {
  BORN_HOST_BYTES,
  bornHostAt,
  MESSAGE_AT,
  messageBytesOf,
} from '../state/message-record.ts';
import { readHeld } from '../state/message-trailer.ts';
import type { Queue } from '../state/queue.ts';
import type { StateLog } from '../state/state-log.ts';

/** Messages that are read from the disk at the same time. */
const READS_MAX = 8;

/** Releases messages that wait. */
export class HeldRelease {
  readonly #stateLog: StateLog;
  readonly #collector: Collector;
  readonly #logger: Logger;

  constructor(modules: { stateLog: StateLog; collector: Collector; logger: Logger }) {
    this.#stateLog = modules.stateLog;
    this.#collector = modules.collector;
    this.#logger = modules.logger;
  }

  /**
   * Moves messages, in the order of the list; resolves with how many when that is visible. All of them are read before
   * anything is appended, so that the order does not depend on what lies in which cache; the caller bounds the list.
   * Throws as CommitLog.begin, and the disk's errors; what was moved before stays moved.
   *
   * @param offsets where they wait; those that wait no more are passed over
   */
  async release(offsets: readonly number[]): Promise<number> {
    const records = await this.#read(offsets);
    const released = this.#append(offsets, records);
    // The log must not run away from the disk, and other work has its turn.
    await this.#stateLog.log.visibleAt(this.#stateLog.log.next);
    return released;
  }

  /** Drops messages that wait: they are recalled, or nobody will ever ask for them. Throws as CommitLog.begin. */
  drop(offsets: readonly number[]): void {
    const value = create(HeldDroppedSchema, { offsets: offsets.map(BigInt) });
    this.#stateLog.change({ case: 'heldDropped', value });
  }

  /** Reads messages in the order in which they lie in the log; one that is damaged or gone is absent. */
  async #read(offsets: readonly number[]): Promise<Map<number, Buffer>> {
    const { held } = this.#stateLog.state;
    const queue = held.queue as Queue;
    const sorted = offsets.toSorted((one, other) => one - other);
    const records = new Map<number, Buffer>();
    let next = 0;
    const read = async (): Promise<void> => {
      for (let offset = sorted[next++]; offset !== undefined; offset = sorted[next++]) {
        if (!held.isPending(offset)) continue;
        try {
          const record = this.#collector.record(queue, offset);
          const copy = Buffer.isBuffer(record)
            ? Buffer.from(record)
            : await this.#collector.copy(queue, offset);
          if (copy !== undefined) records.set(offset, copy);
        } catch (error) {
          if (!(error instanceof TernError && error.code === 'DATA_LOSS')) throw error;
        }
      }
    };
    await Promise.all(Array.from({ length: READS_MAX }, read));
    return records;
  }

  #append(offsets: readonly number[], records: ReadonlyMap<number, Buffer>): number {
    const { state, log } = this.#stateLog;
    const { held } = state;
    const heldQueue = held.queue as Queue;
    const timeMs = this.#stateLog.timeMs();
    const filled = new Set<Queue>();
    const dropped: number[] = [];
    let released = 0;
    try {
      for (const offset of offsets) {
        // It may have been recalled while it was read.
        if (!held.isPending(offset)) continue;
        const record = records.get(offset);
        if (record === undefined) {
          this.#logger.error({ offset }, 'a message that waited is damaged or gone; it is dropped');
          dropped.push(offset);
          continue;
        }
        const view = viewOf(record);
        const messageEnd = MESSAGE_AT + messageBytesOf(view, RECORD_HEADER_BYTES);
        const { topicId, queueId } = readHeld(view, messageEnd);
        const topic = state.topics.findById(topicId);
        const queue = topic?.queues[queueId];
        if (topic === undefined || queue === undefined) {
          dropped.push(offset);
          continue;
        }
        const hostAt = bornHostAt(RECORD_HEADER_BYTES);
        const bornHost = record.subarray(hostAt, hostAt + BORN_HOST_BYTES);
        const message = record.subarray(MESSAGE_AT, messageEnd);
        this.#stateLog.releaseMessage(queue, message, timeMs, bornHost, heldQueue, offset);
        filled.add(queue);
        topic.messagesIn++;
        topic.bytesIn += record.length;
        released++;
      }
      if (dropped.length > 0) this.drop(dropped);
    } finally {
      for (const queue of filled) this.#stateLog.arrived(queue);
      log.requestFlush();
    }
    return released;
  }
}
