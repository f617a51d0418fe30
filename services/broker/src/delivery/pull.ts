// Reading a queue by offset, for those who keep offsets themselves. Changes nothing.

import { create, toBinary } from '@bufbuild/protobuf';
import { PullResponseSchema } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { type Clock, TernError } from '@ternmq/runtime';
import type { CommitLog } from '../log/commit-log.ts';
import { viewOf, writeUint64 } from '../log/record.ts';
import type { BrokerState } from '../state/broker-state.ts';
import { firstKept, nextKept } from '../state/kept-messages.ts';
import type { Queue, QueueReader } from '../state/queue.ts';
import { addReader, removeReader } from '../state/state-log.ts';
import type { Topic } from '../state/topics.ts';
import type { Collector } from './collect.ts';
import type { MessageFilter } from './message-filter.ts';

/** Most reads from the disk that one batch waits for; each brings a block of 256 KiB. */
const LOADS_MAX = 64;
const TRAILER_BYTES = 27;

/** What to read. */
export interface PullChoice {
  readonly topic: Topic;
  readonly queue: Queue;
  /** The first offset wanted. */
  readonly offset: number;
  readonly messagesMax: number;
  readonly bytesMax: number;
  readonly filter: MessageFilter;
}

/** A batch of messages. */
export interface PullBatch {
  /** A PullResponse: the messages, and then offsets. */
  readonly bytes: Buffer;
  readonly messages: number;
  /** Where to read next. */
  readonly nextOffset: number;
}

/**
 * Says where a reader had better go on, host:port; undefined: here.
 *
 * @param behindBytes bytes of the log from the message that it reads next to the end
 */
export type ReadingPlace = (queue: Queue, behindBytes: number) => string | undefined;

/** Reads queues by offset. */
export class Puller {
  readonly #log: CommitLog;
  readonly #state: BrokerState;
  readonly #collector: Collector;
  readonly #clock: Clock;
  readonly #place: ReadingPlace;

  constructor(modules: {
    log: CommitLog;
    state: BrokerState;
    collector: Collector;
    clock: Clock;
    place: ReadingPlace;
  }) {
    this.#log = modules.log;
    this.#state = modules.state;
    this.#collector = modules.collector;
    this.#clock = modules.clock;
    this.#place = modules.place;
  }

  /** What is there now, perhaps nothing. Throws OUT_OF_RANGE, DATA_LOSS. */
  async read(choice: PullChoice): Promise<PullBatch> {
    const { topic, queue, filter } = choice;
    const begin = firstKept(this.#state, queue);
    if (choice.offset < begin || choice.offset > queue.visibleEnd) {
      throw outOfRange(choice, begin);
    }
    for (let loads = 0; ; loads++) {
      const parts: Buffer[] = [];
      const { messagesMax, bytesMax } = choice;
      // Gaps of a compacted queue are passed over at once.
      const offset = nextKept(this.#state, queue, choice.offset);
      const found = this.#collector.collect(
        queue,
        offset,
        messagesMax,
        bytesMax,
        filter,
        parts,
        false,
      );
      if (found.damaged !== undefined && found.end === offset) throw found.damaged;
      const enough = found.missing === undefined || found.messages > 0 || loads >= LOADS_MAX;
      if (enough || found.missing === undefined) {
        topic.messagesOut += found.messages;
        topic.bytesOut += found.bytes;
        parts.push(trailer(found.end, begin, queue.visibleEnd));
        const readAt = this.#place(queue, this.#behind(queue, found.end));
        if (readAt !== undefined) parts.push(encodeReadAt(readAt));
        return {
          bytes: Buffer.concat(parts),
          messages: found.messages,
          nextOffset: found.end,
        };
      }
      await this.#log.read.load(found.missing.position, found.missing.length);
    }
  }

  #behind(queue: Queue, offset: number): number {
    if (offset >= queue.next) return 0;
    const { position, length } = this.#state.locate(queue, offset);
    return length === 0 ? 0 : this.#log.next - position;
  }

  /** As read, and waits for a message that matches when there is none. Answers empty after `waitMs`. */
  async readOrWait(choice: PullChoice, waitMs: number, signal: AbortSignal): Promise<PullBatch> {
    const untilMs = this.#clock.monotonicMs() + waitMs;
    let { offset } = choice;
    for (;;) {
      const leftMs = untilMs - this.#clock.monotonicMs();
      // The wake-up is armed before the queue is read, so that no message slips between.
      const arrival = new Arrival(choice.queue);
      try {
        const batch = await this.read({ ...choice, offset });
        const idle = batch.messages === 0 && batch.nextOffset >= choice.queue.visibleEnd;
        if (batch.messages > 0 || leftMs <= 0 || signal.aborted || choice.queue.deleted)
          return batch;
        offset = batch.nextOffset;
        if (idle) await arrival.wait(leftMs, this.#clock, signal);
      } finally {
        arrival.close();
      }
    }
  }

  /** Resolves when something arrives in the queue behind an offset; at once when it is there. */
  async arrival(queue: Queue, offset: number, signal: AbortSignal): Promise<void> {
    const arrival = new Arrival(queue);
    try {
      if (queue.visibleEnd > offset) return;
      await arrival.wait(undefined, this.#clock, signal);
    } finally {
      arrival.close();
    }
  }
}

/** Waits for the next message of a queue. */
class Arrival implements QueueReader {
  readonly #queue: Queue;
  #happened = false;
  #wake: (() => void) | undefined;

  constructor(queue: Queue) {
    this.#queue = queue;
    addReader(queue, this);
  }

  arrived(): void {
    this.#happened = true;
    this.#wake?.();
  }

  wait(waitMs: number | undefined, clock: Clock, signal: AbortSignal): Promise<void> {
    if (this.#happened || signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = waitMs === undefined ? undefined : clock.setTimer(waitMs, () => this.#wake?.());
      const abort = (): void => this.#wake?.();
      signal.addEventListener('abort', abort);
      this.#wake = () => {
        this.#wake = undefined;
        timer?.cancel();
        signal.removeEventListener('abort', abort);
        resolve();
      };
    });
  }

  close(): void {
    removeReader(this.#queue, this);
  }
}

/** The fields 2 to 4 of PullResponse and PullStreamResponse. */
function trailer(next: number, begin: number, end: number): Buffer {
  const bytes = Buffer.allocUnsafe(TRAILER_BYTES);
  const view = viewOf(bytes);
  view.setUint8(0, 0x11);
  writeUint64(view, 1, next);
  view.setUint8(9, 0x19);
  writeUint64(view, 10, begin);
  view.setUint8(18, 0x21);
  writeUint64(view, 19, end);
  return bytes;
}

/** The field 5 of PullResponse and PullStreamResponse. */
function encodeReadAt(readAt: string): Buffer {
  const { buffer, byteOffset, length } = toBinary(
    PullResponseSchema,
    create(PullResponseSchema, { readAt }),
  );
  return Buffer.from(buffer, byteOffset, length);
}

function outOfRange(choice: PullChoice, begin: number): TernError {
  const { topic, queue, offset } = choice;
  return new TernError(
    'OUT_OF_RANGE',
    'OFFSET_OUT_OF_RANGE',
    `queue ${queue.queueId} of ${topic.name} has the offsets ${begin} to ${queue.visibleEnd}, and not ${offset}`,
    { metadata: { begin: String(begin), end: String(queue.visibleEnd) } },
  );
}
