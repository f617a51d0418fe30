// Sends one producer's messages for one queue: joins them to frames, numbers them, and answers for each.
//
//   pending -> in a frame in flight -> stored | failed
//                \-> pending again, when the broker refused the frame and it may be tried once more
//
// While a frame is in flight, what comes meanwhile waits for its outcome or for a full frame, so that a lone message
// leaves at once and many travel together. Sequences run without a gap; after a refusal, or when the fate of a frame
// stays unknown, the sender waits until nothing is in flight and goes on under a new producer id. While the topic's
// route does not name the queue's broker group, nothing new leaves: what must go there waits for it to come back.

import { randomInt } from 'node:crypto';
import { MqError } from './errors.ts';
import { expiredError, refusalError, wasStored } from './frame-fate.ts';
import { messageId } from './message-id.ts';
import type { Outgoing } from './outgoing.ts';
import type { LinkFrame, ProduceLink } from './produce-link.ts';
import { addressFrame, encodeFrame } from './wire/frame.ts';
import type { Outcome } from './wire/outcomes.ts';

/** Most messages and bytes of a frame, but that one message may be larger. */
const FRAME_MESSAGES_MAX = 256;
const FRAME_BYTES_MAX = 256 << 10;
/** Most frames in flight for one queue: the broker remembers the offsets of so many. */
const FRAMES_MAX = 512;
/** Refusals that one message of a frame may bring on all. */
const ONE_IS_BAD = new Set([
  'BODY_EMPTY',
  'BODY_TOO_LARGE',
  'PROPERTIES_TOO_LARGE',
  'INVALID_TAG',
  'INVALID_KEY',
  'INVALID_ORDERING_KEY',
  'MALFORMED_FRAME',
  'WRONG_MESSAGE_KIND',
  'ORDERING_KEY_REQUIRED',
  'DELAY_TOO_LONG',
]);

interface Flight extends LinkFrame {
  readonly items: readonly Outgoing[];
  readonly sequence: number;
}

/** A random producer id, 1 to 2^48 - 1: fewer than the 2^53 - 1 that brokers take, and all that `randomInt` can draw. */
export function newProducerId(): number {
  return randomInt(1, 2 ** 48 - 1);
}

/** Sends to one queue. */
export class QueueSender {
  readonly topic: string;
  readonly broker: string;
  readonly queueId: number;
  readonly link: ProduceLink;
  readonly #nowMs: () => number;
  /** Called when the broker cannot take messages for now; `retry` ends the pause. */
  readonly #refusedForNow: (sender: QueueSender) => void;
  #pending: Outgoing[] = [];
  #pendingBytes = 0;
  /** Frames in flight that are not abandoned. */
  #flights: Flight[] = [];
  #producerId = newProducerId();
  #sequence = 0;
  /** Refused items, in order, that go to the front once nothing is in flight. */
  #requeued: Outgoing[] = [];
  /** Nothing leaves until all that is in flight has its outcome; then a new producer id begins. */
  #draining = false;
  /** One of the frames of this drain was refused for now. */
  #refused = false;
  /** Nothing leaves until `retry`. */
  #resting = false;
  /** The route does not name the broker group now. */
  #away = false;
  #scheduled = false;

  constructor(
    place: { topic: string; broker: string; queueId: number },
    modules: {
      link: ProduceLink;
      nowMs: () => number;
      refusedForNow: (sender: QueueSender) => void;
    },
  ) {
    this.topic = place.topic;
    this.broker = place.broker;
    this.queueId = place.queueId;
    this.link = modules.link;
    this.#nowMs = modules.nowMs;
    this.#refusedForNow = modules.refusedForNow;
  }

  /** The topic's route does not name the queue's broker group: nothing new leaves until it does. */
  get away(): boolean {
    return this.#away;
  }

  set away(away: boolean) {
    this.#away = away;
    if (!away) this.#flush(false);
  }

  /** Messages wait here that are in no frame on its way. */
  get waits(): boolean {
    return this.#pending.length > 0 || this.#requeued.length > 0;
  }

  /** Sends a message with the next frame. */
  add(item: Outgoing): void {
    this.#pending.push(item);
    this.#pendingBytes += item.bytes;
    if (this.#full) this.#flush(true);
    else this.#flushSoon();
  }

  get #full(): boolean {
    return this.#pending.length >= FRAME_MESSAGES_MAX || this.#pendingBytes >= FRAME_BYTES_MAX;
  }

  /** At the end of the current run of code: what is sent in one go travels together. */
  #flushSoon(): void {
    if (this.#scheduled || this.#flights.length > 0) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#flush(false);
    });
  }

  /** Sends what is pending; while something is in flight only full frames. */
  #flush(fullOnly: boolean): void {
    while (!this.#draining && !this.#resting && this.#flights.length < FRAMES_MAX) {
      if (this.#away || this.#pending.length === 0) return;
      if (!this.#full && (fullOnly || this.#flights.length > 0)) return;
      this.#sendFrame();
    }
  }

  #sendFrame(): void {
    const items: Outgoing[] = [];
    let bytes = 0;
    let taken = 0;
    for (const item of this.#pending) {
      if (!item.done) {
        const fits = items.length < FRAME_MESSAGES_MAX && bytes + item.bytes <= FRAME_BYTES_MAX;
        if (items.length > 0 && (!fits || item.alone || items[0]?.alone)) break;
        items.push(item);
        bytes += item.bytes;
      }
      this.#pendingBytes -= item.bytes;
      taken++;
    }
    this.#pending.splice(0, taken);
    if (items.length === 0) return;
    const frameId = this.link.nextFrameId();
    const messages = items.map((item) => item.message);
    const encoded = encodeFrame(this.topic, messages, this.#nowMs());
    addressFrame(encoded, this.queueId, this.#producerId, this.#sequence, frameId);
    const flight: Flight = {
      encoded,
      frameId,
      left: false,
      abandoned: false,
      items,
      sequence: this.#sequence,
      settled: (outcome) => this.#settled(flight, outcome),
      dropped: () => {
        for (const item of items) this.#expired(item, flight.left);
      },
    };
    this.#sequence += items.length;
    this.#flights.push(flight);
    this.link.write(flight);
  }

  #settled(flight: Flight, outcome: Outcome): void {
    // Its messages were given up, and the sender goes on without it.
    if (flight.abandoned) return;
    const index = this.#flights.indexOf(flight);
    // What was taken back does not leave any more.
    if (index < 0) return;
    this.#flights.splice(index, 1);
    if (outcome.reason === '') {
      this.#stored(flight, outcome);
    } else if (wasStored(outcome.reason)) {
      for (const item of flight.items) item.failed(refusalError(outcome.reason, outcome.message));
    } else {
      this.#draining = true;
      for (const item of flight.items) this.#refuse(item, flight.items.length > 1, outcome);
    }
    this.#goOn();
  }

  #goOn(): void {
    if (!this.#draining) {
      this.#flush(false);
      return;
    }
    if (this.#flights.length > 0) return;
    this.#draining = false;
    this.#producerId = newProducerId();
    this.#sequence = 0;
    for (const { bytes } of this.#requeued) this.#pendingBytes += bytes;
    this.#pending = this.#requeued.concat(this.#pending);
    this.#requeued = [];
    if (this.#refused) {
      this.#refused = false;
      this.#resting = true;
      this.#refusedForNow(this);
    } else this.#flush(false);
  }

  /** Nothing leaves, and nothing is on its way, until `retry`. */
  get resting(): boolean {
    return this.#resting;
  }

  /** Goes on after a pause, or after messages were taken away. */
  retry(): void {
    this.#resting = false;
    this.#goOn();
  }

  #stored(flight: Flight, outcome: Outcome): void {
    const { topicId, baseOffset, parts } = outcome;
    for (const [index, item] of flight.items.entries()) {
      if (item.done) continue;
      const part = parts?.findLast(({ firstIndex }) => firstIndex <= index);
      const offset =
        part === undefined ? baseOffset + index : part.offset + index - part.firstIndex;
      const queueId = part?.queueId ?? outcome.queueId;
      item.stored({
        messageId: messageId(this.broker, topicId, queueId, offset),
        broker: this.broker,
        queueId,
        offset,
        duplicate: part?.duplicate ?? false,
      });
    }
  }

  #refuse(item: Outgoing, together: boolean, { reason, message }: Outcome): void {
    if (item.done) return;
    const error = refusalError(reason, message);
    if (together && ONE_IS_BAD.has(reason)) {
      item.alone = true;
      this.#requeued.push(item);
    } else if (reason === 'SEQUENCE_GAP') {
      this.#requeued.push(item);
    } else if (error.retryable) {
      item.refusal = error;
      this.#refused = true;
      this.#requeued.push(item);
    } else {
      item.failed(error);
    }
  }

  /** Fails what has waited past its deadline. */
  expire(nowMs: number): void {
    for (const item of [...this.#pending, ...this.#requeued]) {
      if (item.untilMs <= nowMs) this.#expired(item, false);
    }
    this.#pending = this.#pending.filter(({ done }) => !done);
    this.#pendingBytes = this.#pending.reduce((sum, { bytes }) => sum + bytes, 0);
    this.#requeued = this.#requeued.filter(({ done }) => !done);
    for (const flight of this.#flights) {
      for (const item of flight.items) {
        if (item.untilMs <= nowMs) this.#expired(item, flight.left);
      }
      // Its sequences may never arrive: what follows goes on under a new producer id.
      if (flight.items.every(({ done }) => done)) {
        flight.abandoned = true;
        this.#draining = true;
      }
    }
    if (!this.#draining) return;
    this.#flights = this.#flights.filter(({ abandoned }) => !abandoned);
    this.#goOn();
  }

  #expired(item: Outgoing, left: boolean): void {
    if (left) item.failed(expiredError(true, this.link.lastError));
    else if (this.#away) item.failed(brokerAway(this.broker));
    else item.failed(item.refusal ?? expiredError(false, this.link.lastError));
  }

  /** Gives back what has never left and may go elsewhere; only after the link's `takeUnsent`. */
  takeMovable(): Outgoing[] {
    const unsent = this.#flights.filter(({ left }) => !left);
    const [first] = unsent;
    if (first !== undefined) this.#sequence = first.sequence;
    this.#flights = this.#flights.filter(({ left }) => left);
    const items = unsent
      .flatMap((flight) => flight.items)
      .concat(this.#pending)
      .filter(({ done }) => !done);
    this.#pending = items.filter(({ pinned }) => pinned);
    this.#pendingBytes = this.#pending.reduce((sum, { bytes }) => sum + bytes, 0);
    return items.filter(({ pinned }) => !pinned);
  }
}

function brokerAway(broker: string): MqError {
  return new MqError(
    'BROKER_UNREACHABLE',
    `no broker of broker group ${broker} takes messages now, and what belongs to one of its queues goes nowhere ` +
      'else: start its master, or allow more time',
    { retryable: true },
  );
}
