// Consumes whole frames, acknowledged when the handler returns: for benchmarks and bulk readers.

import { MqError } from './errors.ts';
import type { SubscriptionLink } from './subscription-link.ts';
import type { DeliveredFrame, RecordSlice } from './wire/delivery.ts';
import { recordPlace } from './wire/record-place.ts';
import { SettleAction } from './wire/subscribe-request.ts';

/** A delivered frame. */
export interface Frame {
  /** Number of messages. */
  readonly messages: number;
  /** Bytes of their records. */
  readonly bytes: number;
  /** When each was stored, in milliseconds since 1970 UTC. */
  storeTimes(): Float64Array;
  /** The records, undecoded. */
  records(): readonly RecordSlice[];
}

/** Takes frames. */
export type FrameHandler = (frame: Frame) => void;

/** A running consumer of frames. */
export class FrameConsumer {
  readonly #handler: FrameHandler;
  readonly #ended = Promise.withResolvers<void>();
  #closed = false;
  /** Set by the consumer: ends the streams. */
  onClose: () => Promise<void> = async () => {};

  constructor(handler: FrameHandler) {
    this.#handler = handler;
    this.#ended.promise.catch(() => {});
  }

  /** Resolves when it was closed; rejects when the broker refuses the subscription, or the handler throws. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** Takes a delivered frame. */
  take({ records, leases }: DeliveredFrame, link: SubscriptionLink): void {
    if (this.#closed) return;
    let bytes = 0;
    for (const { start, end } of records) bytes += end - start;
    try {
      this.#handler({
        messages: records.length,
        bytes,
        storeTimes: () => Float64Array.from(records, (slice) => recordPlace(slice).storeTimeMs),
        records: () => records,
      });
    } catch (cause) {
      this.fail(new MqError('HANDLER_FAILED', 'the handler of frames has thrown', { cause }));
      return;
    }
    for (const { topicId, queueId, first, end, leaseId } of leases) {
      const action = SettleAction.ACKNOWLEDGE;
      link.settle({ topicId, queueId, first, end, leaseId, action, delayMs: 0, reason: '' });
    }
    link.credit(records.length, bytes);
  }

  /** The broker refuses the subscription, or the handler has thrown. */
  fail(error: MqError): void {
    this.#ended.reject(error);
    void this.close();
  }

  /** Ends the streams. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.onClose();
    this.#ended.resolve();
  }
}
