// Sends whole frames, to the queues of a topic by turns, with one callback for each frame. Idempotent like the
// rest: a frame is sent again after a broken connection and stored once.
//
//   waiting for the connection -> on its way -> stored | failed
//
// Sequences run without a gap: a frame that is refused or given up fails those that are in flight behind it, with
// SEQUENCE_GAP unless the broker has stored it; what is written later goes under a new producer id.

import type { CallOptions } from './call-time.ts';
import type { Clock, Timer } from './clock.ts';
import { abortedError, type MqError } from './errors.ts';
import { expiredError, refusalError, wasStored } from './frame-fate.ts';
import type { OutgoingMessage } from './message.ts';
import type { LinkFrame, ProduceLink } from './produce-link.ts';
import { newProducerId } from './queue-sender.ts';
import { addressFrame, type EncodedFrame, encodeFrame } from './wire/frame.ts';
import type { Outcome } from './wire/outcomes.ts';

/** Most frames in flight for one queue: the broker remembers the offsets of so many. */
const FRAMES_MAX = 512;
const SWEEP_MS = 100;

/** Where a frame was stored. */
export interface FrameReceipt {
  readonly broker: string;
  readonly queueId: number;
  /** Offset of the first message; the others follow, but in a topic that drops repeats, where it is of the first message alone. */
  readonly baseOffset: number;
}

/** What a message of a frame has beside its body; its queue is the frame's. */
export type FrameRest = Omit<OutgoingMessage, 'body' | 'queue'>;

type Done = (error: MqError | undefined, receipt?: FrameReceipt) => void;

interface FrameQueue {
  readonly broker: string;
  readonly queueId: number;
  readonly link: ProduceLink;
  producerId: number;
  sequence: number;
  /** Frames without an outcome. */
  inFlight: number;
}

/** One frame on its way. */
class Flight implements LinkFrame {
  readonly encoded: EncodedFrame;
  readonly frameId: number;
  readonly untilMs: number;
  left = false;
  abandoned = false;
  readonly #queue: FrameQueue;
  readonly #producerId: number;
  readonly #done: Done;
  readonly #over: (flight: Flight) => void;

  /** @param over called once, before its outcome is told */
  constructor(
    frame: { encoded: EncodedFrame; frameId: number; untilMs: number },
    queue: FrameQueue,
    done: Done,
    over: (flight: Flight) => void,
  ) {
    this.encoded = frame.encoded;
    this.frameId = frame.frameId;
    this.untilMs = frame.untilMs;
    this.#queue = queue;
    this.#producerId = queue.producerId;
    this.#done = done;
    this.#over = over;
  }

  settled({ reason, message, baseOffset }: Outcome): void {
    if (this.abandoned) return;
    this.#over(this);
    const { broker, queueId } = this.#queue;
    if (reason === '') {
      this.#done(undefined, { broker, queueId, baseOffset });
      return;
    }
    if (!wasStored(reason)) this.#beginAnew();
    this.#done(refusalError(reason, message));
  }

  dropped(): void {
    this.expire();
  }

  /** Its time is up. */
  expire(): void {
    this.giveUp(expiredError(this.left, this.#queue.link.lastError));
  }

  /** Nobody waits for it any more. */
  giveUp(error: MqError): void {
    if (this.abandoned) return;
    this.abandoned = true;
    this.#over(this);
    this.#beginAnew();
    this.#done(error);
  }

  /** Its sequences are missing for good. */
  #beginAnew(): void {
    if (this.#queue.producerId !== this.#producerId) return;
    this.#queue.producerId = newProducerId();
    this.#queue.sequence = 0;
  }
}

/**
 * Sends whole frames; made by `Producer.frames`. A frame must not be changed before its outcome. Delayed messages need a
 * sender of their own: the broker numbers them apart from others.
 */
export class FrameSender {
  readonly #topic: string;
  readonly #queues: readonly FrameQueue[];
  readonly #deadlineMs: number;
  readonly #clock: Clock;
  readonly #flights = new Set<Flight>();
  /** Runs while frames are in flight. */
  #sweep: Timer | undefined;
  #turn = 0;

  /** @param options.deadlineMs of frames that have none of their own, in milliseconds */
  constructor(
    topic: string,
    queues: readonly { broker: string; queueId: number; link: ProduceLink }[],
    options: { deadlineMs: number },
    clock: Clock,
  ) {
    this.#topic = topic;
    this.#deadlineMs = options.deadlineMs;
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

  /**
   * Encodes messages.
   *
   * @param bodies of the messages, one each
   * @param rest what they have beside a body: the same for all, or what it returns for the index of each
   */
  encode(
    bodies: readonly Uint8Array[],
    rest: FrameRest | ((index: number) => FrameRest) = {},
  ): EncodedFrame {
    const restOf = typeof rest === 'function' ? rest : () => rest;
    const messages = bodies.map((body, index) => ({ ...restOf(index), body }));
    return encodeFrame(this.#topic, messages, this.#clock.nowMs());
  }

  /** The queue whose turn is next takes more at once. */
  get writable(): boolean {
    const { link, inFlight } = this.#queues[this.#turn] as FrameQueue;
    return link.writable && inFlight < FRAMES_MAX;
  }

  /**
   * Sends a frame to the queue whose turn it is. A refusal, and a frame that is given up, fails the frames that are in
   * flight behind it, too.
   *
   * @param done called once, when the frame is stored, or has failed with an error: a refusal, BROKER_UNREACHABLE or
   *   DEADLINE_EXCEEDED (not stored), OUTCOME_UNKNOWN, ALREADY_STORED, ABORTED
   * @param options.deadlineMs how long it may take, all tries included. Default: the producer's
   */
  write(frame: EncodedFrame, done: Done, options: CallOptions = {}): void {
    const { deadlineMs = this.#deadlineMs, signal } = options;
    if (signal?.aborted) {
      done(abortedError(signal));
      return;
    }
    const queue = this.#queues[this.#turn] as FrameQueue;
    this.#turn = (this.#turn + 1) % this.#queues.length;
    const frameId = queue.link.nextFrameId();
    addressFrame(frame, queue.queueId, queue.producerId, queue.sequence, frameId);
    const untilMs = this.#clock.monotonicMs() + deadlineMs;
    const abort =
      signal === undefined ? undefined : (): void => flight.giveUp(abortedError(signal));
    const flight = new Flight({ encoded: frame, frameId, untilMs }, queue, done, (over) => {
      queue.inFlight--;
      this.#flights.delete(over);
      if (abort !== undefined) signal?.removeEventListener('abort', abort);
    });
    if (abort !== undefined) signal?.addEventListener('abort', abort);
    queue.sequence += frame.count;
    queue.inFlight++;
    this.#flights.add(flight);
    this.#sweep ??= this.#clock.every(SWEEP_MS, () => this.#expire());
    queue.link.write(flight);
  }

  #expire(): void {
    const nowMs = this.#clock.monotonicMs();
    for (const flight of this.#flights) if (flight.untilMs <= nowMs) flight.expire();
    for (const { link } of this.#queues) link.forgetAbandoned();
    if (this.#flights.size > 0) return;
    this.#sweep?.cancel();
    this.#sweep = undefined;
  }
}
