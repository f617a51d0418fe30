// Sends whole frames, to the queues of a topic by turns, with one callback for each frame. Idempotent like the
// rest: a frame is sent again after a broken connection and stored once.

import type { Clock } from './clock.ts';
import { MqError } from './errors.ts';
import type { OutgoingMessage } from './message.ts';
import type { ProduceLink } from './produce-link.ts';
import { newProducerId } from './queue-sender.ts';
import { addressFrame, type EncodedFrame, encodeFrame } from './wire/frame.ts';

/** Most frames in flight for one queue: the broker remembers the offsets of so many. */
const FRAMES_MAX = 512;

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
  producerId: number;
  sequence: number;
  /** Frames without an outcome. */
  inFlight: number;
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
      producerId: newProducerId(),
      sequence: 0,
      inFlight: 0,
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

  /** The queue whose turn is next takes more at once. */
  get writable(): boolean {
    const { link, inFlight } = this.#queues[this.#turn] as FrameQueue;
    return link.writable && inFlight < FRAMES_MAX;
  }

  /**
   * Sends a frame to the queue whose turn it is. There is no deadline: it is tried until the producer is closed, and
   * fails with OUTCOME_UNKNOWN then. A refusal fails the frames that are in flight behind it, too.
   *
   * @param done called once, when the frame is stored, or has failed with an error
   */
  write(
    frame: EncodedFrame,
    done: (error: MqError | undefined, receipt?: FrameReceipt) => void,
  ): void {
    const queue = this.#queues[this.#turn] as FrameQueue;
    this.#turn = (this.#turn + 1) % this.#queues.length;
    const { broker, queueId, link, producerId } = queue;
    const frameId = link.nextFrameId();
    addressFrame(frame, queueId, producerId, queue.sequence, frameId);
    queue.sequence += frame.count;
    queue.inFlight++;
    link.write({
      encoded: frame,
      frameId,
      left: false,
      abandoned: false,
      settled({ reason, message, baseOffset }) {
        queue.inFlight--;
        if (reason === '') {
          done(undefined, { broker, queueId, baseOffset });
          return;
        }
        // Its sequences are missing for good: what comes now begins anew.
        if (queue.producerId === producerId) {
          queue.producerId = newProducerId();
          queue.sequence = 0;
        }
        done(new MqError(reason, message));
      },
      dropped() {
        queue.inFlight--;
        done(
          new MqError(
            'OUTCOME_UNKNOWN',
            'the producer was closed before the broker had answered: the messages may be stored or not',
          ),
        );
      },
    });
  }
}
