// One broker's Produce stream, shared by all queues that a producer writes to there.
//
//   idle -> connecting -> open -> lost -> connecting … as long as frames wait -> idle
//
// Frames wait in the order in which they were written until the broker has told their outcome. Outcomes of one topic come in
// that order; those of topics that are answered earlier may come before. Nothing is written before the connection stands,
// so that a frame that finds the broker away is known to have stayed here. When the stream breaks, all that have no outcome are
// sent again on the next one, unchanged: their sequences make that harmless.

import { BackOff, type Clock, type Timer } from './clock.ts';
import { brokerUnreachable, MqError } from './errors.ts';
import type { Events } from './events.ts';
import type { ByteStream, Channel } from './transport/channel.ts';
import { broker } from './transport/methods.ts';
import type { EncodedFrame } from './wire/frame.ts';
import { type Outcome, readOutcomes } from './wire/outcomes.ts';

/** How long a connection may take to come about, in milliseconds. */
const CONNECT_MS_MAX = 3000;
/** How long others are preferred to a broker that was away, in milliseconds. */
const AVOID_MS = 3000;

/** A frame on its way. */
export interface LinkFrame {
  readonly encoded: EncodedFrame;
  readonly frameId: number;
  /** It was written to a connection at least once: it may be stored. */
  left: boolean;
  /** Nobody waits for it any more: it is not sent again. */
  abandoned: boolean;
  /** The broker has answered. */
  settled(outcome: Outcome): void;
  /** The link was closed before the broker had answered. */
  dropped(): void;
}

/** The stream to one broker. */
export class ProduceLink {
  readonly #channel: () => Channel;
  readonly #clock: Clock;
  readonly #events: Events;
  readonly #down: () => void;
  readonly #backOff = new BackOff(20, 2000);
  /** Frames without an outcome from `#head` on, oldest first; those from `#unsent` on are not on this stream. */
  readonly #frames: LinkFrame[] = [];
  #head = 0;
  #unsent = 0;
  #stream: ByteStream | undefined;
  /** The stream's connection stands. */
  #open = false;
  #clogged = false;
  #connecting: Timer | undefined;
  #reconnect: Timer | undefined;
  #avoidUntilMs = Number.NEGATIVE_INFINITY;
  #frameId = 0;
  #closed = false;
  /** Why the broker cannot be reached; undefined while it can, or was not tried. */
  lastError: MqError | undefined;

  /**
   * @param channel the way to the broker as it is known now; asked again for every connection
   * @param down called when a connection could not be made, or was lost
   */
  constructor(channel: () => Channel, modules: { clock: Clock; events: Events }, down: () => void) {
    this.#channel = channel;
    this.#clock = modules.clock;
    this.#events = modules.events;
    this.#down = down;
  }

  /** The stream takes more at once. */
  get writable(): boolean {
    return !this.#clogged;
  }

  /** Frames without an outcome. */
  get waiting(): number {
    return this.#frames.length - this.#head;
  }

  /** Others are better for now: the broker was away a moment ago, or has refused. */
  get avoided(): boolean {
    return this.#clock.monotonicMs() < this.#avoidUntilMs;
  }

  /** Prefers others for a while. */
  avoid(): void {
    this.#avoidUntilMs = this.#clock.monotonicMs() + AVOID_MS;
  }

  /** A number for the next frame. */
  nextFrameId(): number {
    this.#frameId = (this.#frameId + 1) >>> 0;
    return this.#frameId;
  }

  /** Sends a frame, now or when the broker can be reached. */
  write(frame: LinkFrame): void {
    this.#frames.push(frame);
    if (this.#stream !== undefined) this.#send();
    else if (this.#reconnect === undefined) this.#connect();
  }

  /** Takes back the frames that were never written to any connection, oldest first. */
  takeUnsent(): LinkFrame[] {
    let first = this.#frames.length;
    while (first > this.#head && this.#frames[first - 1]?.left === false) first--;
    const taken = this.#frames.splice(first);
    this.#unsent = Math.min(this.#unsent, this.#frames.length);
    return taken;
  }

  /** Forgets the frames that nobody waits for and that are not on their way. */
  forgetAbandoned(): void {
    const from = this.#open ? this.#unsent : this.#head;
    const kept = this.#frames.slice(from).filter(({ abandoned }) => !abandoned);
    this.#frames.length = from;
    for (const frame of kept) this.#frames.push(frame);
    this.#unsent = Math.min(this.#unsent, this.#frames.length);
  }

  #connect(): void {
    this.#reconnect = undefined;
    if (this.#closed || this.#stream !== undefined || this.waiting === 0) return;
    const channel = this.#channel();
    const { address } = channel;
    let answered = false;
    const stream = channel.bytes(broker.produce, {
      connected: () => {
        if (this.#stream !== stream) return;
        this.#connecting?.cancel();
        this.#open = true;
        this.#events.emit({ type: 'connected', address });
        this.#send();
      },
      message: (bytes) => {
        if (this.#stream !== stream) return;
        if (!answered) {
          answered = true;
          this.lastError = undefined;
          this.#backOff.reset();
        }
        const fault = this.#answer(bytes);
        if (fault === undefined) return;
        stream.cancel();
        this.#lost(stream, address, fault);
      },
      drained: () => {
        if (this.#stream !== stream) return;
        this.#clogged = false;
        this.#send();
      },
      ended: (error) => this.#lost(stream, address, error),
    });
    this.#stream = stream;
    this.#unsent = this.#head;
    this.#connecting = this.#clock.setTimer(CONNECT_MS_MAX, () => {
      stream.cancel();
      this.#lost(
        stream,
        address,
        new MqError('UNAVAILABLE', `no connection within ${CONNECT_MS_MAX} ms`),
      );
    });
  }

  #send(): void {
    const stream = this.#stream;
    if (stream === undefined || !this.#open) return;
    while (!this.#clogged && this.#unsent < this.#frames.length) {
      const frame = this.#frames[this.#unsent++] as LinkFrame;
      if (frame.abandoned) {
        this.#frames.splice(--this.#unsent, 1);
        continue;
      }
      frame.left = true;
      this.#clogged = !stream.write(frame.encoded.bytes);
    }
  }

  /** Returns what is wrong with the answer, if anything: what it does not settle is sent again. */
  #answer(bytes: Buffer): MqError | undefined {
    const outcomes: Outcome[] = [];
    try {
      readOutcomes(bytes, (outcome) => outcomes.push(outcome));
    } catch (error) {
      return error as MqError;
    }
    let fault: MqError | undefined;
    for (const outcome of outcomes) {
      const frame = this.#takeSent(outcome.frameId);
      if (frame === undefined) {
        fault = new MqError('MALFORMED_RESPONSE', 'the broker answered a frame that was not sent');
        break;
      }
      frame.settled(outcome);
    }
    if (this.#head === this.#frames.length || this.#head > 1024) {
      this.#frames.splice(0, this.#head);
      this.#unsent -= this.#head;
      this.#head = 0;
    }
    return fault;
  }

  /** Takes out the frame of a number that is on the stream: nearly always the oldest one. */
  #takeSent(frameId: number): LinkFrame | undefined {
    for (let i = this.#head; i < this.#unsent; i++) {
      const frame = this.#frames[i];
      if (frame?.frameId !== frameId) continue;
      if (i === this.#head) this.#head++;
      else {
        this.#frames.splice(i, 1);
        this.#unsent--;
      }
      return frame;
    }
    return undefined;
  }

  #lost(stream: ByteStream, address: string, cause: MqError | undefined): void {
    if (this.#stream !== stream) return;
    this.#connecting?.cancel();
    this.#stream = undefined;
    this.#open = false;
    this.#clogged = false;
    if (this.#closed) return;
    const error = brokerUnreachable(address, cause);
    this.lastError = error;
    this.avoid();
    this.#events.emit({ type: 'disconnected', address, error });
    if (this.waiting > 0) {
      this.#reconnect = this.#clock.setTimer(this.#backOff.next(), () => this.#connect());
    }
    this.#down();
  }

  /** The broker group is elsewhere now: what has no outcome goes there, at once. */
  moved(): void {
    if (this.#closed) return;
    this.#connecting?.cancel();
    this.#reconnect?.cancel();
    this.#reconnect = undefined;
    const stream = this.#stream;
    this.#stream = undefined;
    this.#open = false;
    this.#clogged = false;
    this.#backOff.reset();
    stream?.cancel();
    this.#connect();
  }

  /** Closes the stream; frames without an outcome are dropped. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#connecting?.cancel();
    this.#reconnect?.cancel();
    if (this.waiting === 0) this.#stream?.end();
    else this.#stream?.cancel();
    for (const frame of this.#frames.splice(0).slice(this.#head)) frame.dropped();
    this.#head = 0;
    this.#unsent = 0;
  }
}
