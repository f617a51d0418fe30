// Sends one producer's messages for one queue: joins them to frames, numbers them, and answers for each.
//
//   pending -> in a frame in flight -> stored | failed
//                \-> pending again, when the broker refused the frame and it may be tried once more
//
// While a frame is in flight, what comes meanwhile waits for its outcome or for a full frame, so that a lone message
// leaves at once and many travel together. Sequences run without a gap; after a refusal, or when the fate of a frame
// stays unknown, the sender waits until nothing is in flight and goes on under a new producer id.

import { randomInt } from 'node:crypto';
import { MqError } from './errors.ts';
import type { OutgoingMessage, Receipt } from './message.ts';
import { messageId } from './message-id.ts';
import type { LinkFrame, ProduceLink } from './produce-link.ts';
import { addressFrame, encodeFrame } from './wire/frame.ts';
import type { Outcome } from './wire/outcomes.ts';

/** Most messages and bytes of a frame, but that one message may be larger. */
const FRAME_MESSAGES_MAX = 256;
const FRAME_BYTES_MAX = 256 << 10;
/** Most frames in flight for one queue: the broker remembers the offsets of so many. */
const FRAMES_MAX = 512;
/** Refusals after which trying again, soon or elsewhere, may help. */
const RETRYABLE = new Set([
  'DISK_FULL',
  'NOT_READY',
  'NOT_MASTER',
  'OVERLOADED',
  'LOG_FAILED',
  'INTERNAL',
]);
/** Refusals that one message of a frame may bring on all. */
const ONE_IS_BAD = new Set([
  'BODY_EMPTY',
  'BODY_TOO_LARGE',
  'PROPERTIES_TOO_LARGE',
  'INVALID_TAG',
  'INVALID_KEY',
  'INVALID_ORDERING_KEY',
  'MALFORMED_FRAME',
]);

/** One message that is to be sent. */
export interface Outgoing {
  readonly message: OutgoingMessage;
  /** Bytes that it counts for. */
  readonly bytes: number;
  /** When it fails for good, by the monotonic clock. */
  readonly untilMs: number;
  /** It must stay on its queue. */
  readonly pinned: boolean;
  /** It was refused together with others, and travels alone to find out which was meant. */
  alone: boolean;
  /** Its outcome was told. */
  done: boolean;
  readonly stored: (receipt: Receipt) => void;
  readonly failed: (error: MqError) => void;
}

interface Flight extends LinkFrame {
  readonly items: readonly Outgoing[];
  readonly sequence: number;
}

/** A random producer id, 1 to 2^48 - 1, which is what the broker allows and more than are ever in use. */
function newProducerId(): number {
  return randomInt(1, 2 ** 48 - 1);
}

/** Sends to one queue. */
export class QueueSender {
  readonly topic: string;
  readonly broker: string;
  readonly queueId: number;
  readonly link: ProduceLink;
  readonly #nowMs: () => number;
  /** Called when a refused message should be tried again after a pause. */
  readonly #retryLater: (sender: QueueSender) => void;
  #pending: Outgoing[] = [];
  #pendingBytes = 0;
  #flights: Flight[] = [];
  #producerId = newProducerId();
  #sequence = 0;
  /** Refused items, in order, that go to the front once nothing is in flight. */
  #requeued: Outgoing[] = [];
  #draining = false;
  #scheduled = false;

  constructor(
    place: { topic: string; broker: string; queueId: number },
    modules: {
      link: ProduceLink;
      nowMs: () => number;
      retryLater: (sender: QueueSender) => void;
    },
  ) {
    this.topic = place.topic;
    this.broker = place.broker;
    this.queueId = place.queueId;
    this.link = modules.link;
    this.#nowMs = modules.nowMs;
    this.#retryLater = modules.retryLater;
  }

  /** Messages that have no outcome. */
  get waiting(): number {
    let count = this.#pending.length + this.#requeued.length;
    for (const { items } of this.#flights) count += items.length;
    return count;
  }

  /** Sends a message with the next frame. */
  add(item: Outgoing): void {
    this.#pending.push(item);
    this.#pendingBytes += item.bytes;
    const full =
      this.#pending.length >= FRAME_MESSAGES_MAX || this.#pendingBytes >= FRAME_BYTES_MAX;
    if (full) this.#flush(true);
    else this.#flushSoon();
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
    while (!this.#draining && this.#pending.length > 0 && this.#flights.length < FRAMES_MAX) {
      const full =
        this.#pending.length >= FRAME_MESSAGES_MAX || this.#pendingBytes >= FRAME_BYTES_MAX;
      if (!full && (fullOnly || this.#flights.length > 0)) return;
      this.#sendFrame();
    }
  }

  #sendFrame(): void {
    const items: Outgoing[] = [];
    let bytes = 0;
    for (const item of this.#pending) {
      const fits = items.length < FRAME_MESSAGES_MAX && bytes + item.bytes <= FRAME_BYTES_MAX;
      if (items.length > 0 && (!fits || item.alone || items[0]?.alone)) break;
      items.push(item);
      bytes += item.bytes;
    }
    this.#pending.splice(0, items.length);
    this.#pendingBytes -= bytes;
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
    };
    this.#sequence += items.length;
    this.#flights.push(flight);
    this.link.write(flight);
  }

  #settled(flight: Flight, outcome: Outcome): void {
    this.#flights.splice(this.#flights.indexOf(flight), 1);
    if (outcome.reason === '') {
      this.#stored(flight, outcome);
    } else {
      this.#draining = true;
      for (const item of flight.items) this.#refused(item, flight.items.length > 1, outcome);
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
    const again = this.#requeued;
    this.#requeued = [];
    this.#pending = again.concat(this.#pending);
    for (const { bytes } of again) this.#pendingBytes += bytes;
    if (again.some(({ alone }) => !alone)) this.#retryLater(this);
    else this.#flush(false);
  }

  /** Tries again what was refused. */
  retry(): void {
    this.#flush(false);
  }

  #stored(flight: Flight, outcome: Outcome): void {
    const { topicId, queueId, baseOffset, parts } = outcome;
    for (const [index, item] of flight.items.entries()) {
      if (item.done) continue;
      item.done = true;
      const part = parts?.findLast(({ firstIndex }) => firstIndex <= index);
      const offset =
        part === undefined ? baseOffset + index : part.offset + index - part.firstIndex;
      item.stored({
        messageId: messageId(this.broker, topicId, queueId, offset),
        broker: this.broker,
        queueId,
        offset,
      });
    }
  }

  #refused(item: Outgoing, together: boolean, { reason, message }: Outcome): void {
    if (item.done) return;
    if (together && ONE_IS_BAD.has(reason)) {
      item.alone = true;
      this.#requeued.push(item);
    } else if (reason === 'SEQUENCE_GAP' || RETRYABLE.has(reason)) {
      this.#requeued.push(item);
    } else {
      item.done = true;
      item.failed(new MqError(reason, message, { retryable: false }));
    }
  }

  /** Fails what has waited past its deadline. */
  expire(nowMs: number): void {
    const waits = (item: Outgoing): boolean => !item.done && item.untilMs > nowMs;
    for (const item of [...this.#pending, ...this.#requeued]) {
      if (!item.done && item.untilMs <= nowMs) this.#failUnsent(item);
    }
    this.#pending = this.#pending.filter(waits);
    this.#pendingBytes = this.#pending.reduce((sum, { bytes }) => sum + bytes, 0);
    this.#requeued = this.#requeued.filter(waits);
    for (const flight of this.#flights) {
      for (const item of flight.items) {
        if (item.done || item.untilMs > nowMs) continue;
        if (flight.left) this.#failUnknown(item);
        else this.#failUnsent(item);
      }
      if (flight.abandoned || flight.items.some(({ done }) => !done)) continue;
      // Its sequences may never arrive: what follows goes on under a new producer id.
      flight.abandoned = true;
      this.#draining = true;
    }
    this.#flights = this.#flights.filter(({ abandoned, left }) => !abandoned || left);
  }

  #failUnsent(item: Outgoing): void {
    item.done = true;
    const { lastError } = this.link;
    item.failed(
      lastError ??
        new MqError('DEADLINE_EXCEEDED', 'the message could not be sent before its deadline', {
          retryable: true,
        }),
    );
  }

  #failUnknown(item: Outgoing): void {
    item.done = true;
    item.failed(
      new MqError(
        'OUTCOME_UNKNOWN',
        'the broker has not answered before the deadline: the message may be stored or not; sending it again may store it twice',
        { cause: this.link.lastError },
      ),
    );
  }

  /** The broker cannot be reached: gives back what has never left and may go elsewhere. */
  takeMovable(): Outgoing[] {
    const unsent = new Set<LinkFrame>(this.#flights.filter(({ left }) => !left));
    const first = this.#flights.find((flight) => unsent.has(flight));
    if (first !== undefined && !this.#draining) this.#sequence = first.sequence;
    const items = this.#flights
      .filter((flight) => unsent.has(flight))
      .flatMap((flight) => flight.items)
      .concat(this.#pending)
      .filter(({ done }) => !done);
    this.#flights = this.#flights.filter((flight) => !unsent.has(flight));
    this.#pending = items.filter(({ pinned }) => pinned);
    this.#pendingBytes = this.#pending.reduce((sum, { bytes }) => sum + bytes, 0);
    return items.filter(({ pinned }) => !pinned);
  }
}
