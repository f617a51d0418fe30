// A run of a producer's messages that are dropped, because they repeat others: its sequences are used up with one record,
// so that the producer goes on behind it, and a frame that is sent again is answered as before.

import { create } from '@bufbuild/protobuf';
import { RepeatsDroppedSchema } from '@ternmq/proto/gen/ternmq/log/v1/log_pb';
import type { Queue } from '../state/queue.ts';
import type { StateLog } from '../state/state-log.ts';

interface Place {
  readonly queueId: number;
  readonly offset: number;
}

/** The run that is being collected. */
export class DroppedRun {
  readonly #stateLog: StateLog;
  readonly #queue: Queue;
  readonly #producerId: number;
  #sequence = 0;
  #count = 0;
  #first: Place = { queueId: 0, offset: 0 };

  constructor(stateLog: StateLog, queue: Queue, producerId: number) {
    this.#stateLog = stateLog;
    this.#queue = queue;
    this.#producerId = producerId;
  }

  /** Adds the message of a sequence, which repeats another. Sequences are in order. Throws as CommitLog.begin. */
  add(sequence: number, repeated: Place): void {
    const { queueId, offset } = this.#first;
    const continues = queueId === repeated.queueId && offset + this.#count === repeated.offset;
    if (this.#count > 0 && !continues) this.end();
    if (this.#count === 0) {
      this.#sequence = sequence;
      this.#first = repeated;
    }
    this.#count++;
  }

  /** The next message is stored: writes the record, if there is anything to tell. Throws as CommitLog.begin. */
  end(): void {
    if (this.#count === 0) return;
    const value = create(RepeatsDroppedSchema, {
      topicId: this.#queue.topicId,
      queueId: this.#queue.queueId,
      producerId: BigInt(this.#producerId),
      sequence: BigInt(this.#sequence),
      count: this.#count,
      firstQueueId: this.#first.queueId,
      firstOffset: BigInt(this.#first.offset),
    });
    this.#count = 0;
    this.#stateLog.change({ case: 'repeatsDropped', value });
  }
}
