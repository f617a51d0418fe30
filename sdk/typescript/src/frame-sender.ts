// Sends whole frames, to the queues of a topic by turns, with one callback for each frame. Idempotent like the
// rest: a frame is sent again after a broken connection and stored once.

import { randomInt } from 'node:crypto';
import type { Clock } from './clock.ts';
import { MqError } from './errors.ts';
import type { OutgoingMessage } from './message.ts';
import type { LinkFrame, ProduceLink } from './produce-link.ts';
import { addressFrame, type EncodedFrame, encodeFrame } from './wire/frame.ts';

/** Where a frame was stored. */
export interface FrameReceipt {
  readonly broker: string;
  readonly queueId: number;
  /** Offset of the first message; the others follow. */
  readonly baseOffset: number;
}

interface FrameQueue {
  readonly broker: string;
  readonly queueId: number;
  readonly link: ProduceLink;
  readonly producerId: number;
  sequence: number;
}

/** Sends whole frames; made by `Producer.frames`. A frame must not be changed before its outcome. */
export class FrameSender {
  readonly #topic: string;
  readonly #queues: readonly FrameQueue[];
  readonly #clock: Clock;
  #turn = 0;

  constructor(
    topic: string,
    queues: readonly { broker: string; queueId: number; link: ProduceLink }[],
    clock: Clock,
  ) {
    this.#topic = topic;
    this.#clock = clock;
    this.#queues = queues.map(({ broker, queueId, link }) => ({
      broker,
      queueId,
      link,
      producerId: randomInt(1, 2 ** 48 - 1),
      sequence: 0,
    }));
  }

  /** Encodes messages with these bodies, and what is the same for all of them. */
  encode(
    bodies: readonly Uint8Array[],
    rest: Omit<OutgoingMessage, 'body' | 'queue'> = {},
  ): EncodedFrame {
    const messages = bodies.map((body) => ({ ...rest, body }));
    return encodeFrame(this.#topic, messages, this.#clock.nowMs());
  }

  /** The connection of the queue whose turn is next takes more at once. */
  get writable(): boolean {
    return this.#queues[this.#turn]?.link.writable ?? false;
  }

  /**
   * Sends a frame to the queue whose turn it is.
   *
   * @param done called when the frame is stored, or refused with an error
   */
  write(
    frame: EncodedFrame,
    done: (error: MqError | undefined, receipt?: FrameReceipt) => void,
  ): void {
    const queue = this.#queues[this.#turn] as FrameQueue;
    this.#turn = (this.#turn + 1) % this.#queues.length;
    const { broker, queueId, link } = queue;
    const frameId = link.nextFrameId();
    addressFrame(frame, queueId, queue.producerId, queue.sequence, frameId);
    queue.sequence += frame.count;
    const linkFrame: LinkFrame = {
      encoded: frame,
      frameId,
      left: false,
      abandoned: false,
      settled({ reason, message, baseOffset }) {
        if (reason === '') done(undefined, { broker, queueId, baseOffset });
        else done(new MqError(reason, message));
      },
    };
    link.write(linkFrame);
  }
}
