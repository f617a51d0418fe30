// One broker's Produce stream, shared by all queues that a producer writes to there.
//
// Frames wait in the order in which they were written until the broker has told their outcome; outcomes come in
// the same order. When the stream breaks, all that have no outcome are sent again on the next one, unchanged:
// their sequences make that harmless.

import { BackOff, type Clock, type Timer } from './clock.ts';
import { MqError } from './errors.ts';
import type { Events } from './events.ts';
import type { ByteStream, Channel } from './transport/channel.ts';
import { broker } from './transport/methods.ts';
import type { EncodedFrame } from './wire/frame.ts';
import { type Outcome, readOutcomes } from './wire/outcomes.ts';

/** A frame on its way. */
export interface LinkFrame {
  readonly encoded: EncodedFrame;
  readonly frameId: number;
  /** It was written to a stream at least once: it may be stored. */
  left: boolean;
  /** Nobody waits for it any more: it is not sent again. */
  abandoned: boolean;
  /** The broker has answered. */
  readonly settled: (outcome: Outcome) => void;
}

/** Told when the connection comes and goes. */
export interface LinkObserver {
  /** A connection could not be made, or was lost. */
  down(error: MqError): void;
  /** More may be written. */
  drained(): void;
}

/** The stream to one broker. */
export class ProduceLink {
  readonly address: string;
  readonly #channel: Channel;
  readonly #clock: Clock;
  readonly #events: Events;
  readonly #observer: LinkObserver;
  readonly #backOff = new BackOff(20, 2000);
  /** Frames without an outcome, oldest first; those from `#unsent` on are not written to this stream. */
  #frames: LinkFrame[] = [];
  #head = 0;
  #unsent = 0;
  #stream: ByteStream | undefined;
  #clogged = false;
  #reconnect: Timer | undefined;
  #frameId = 0;
  #closed = false;
  /** Why the broker cannot be reached; undefined while it can, or was not tried. */
  lastError: MqError | undefined;

  constructor(channel: Channel, modules: { clock: Clock; events: Events }, observer: LinkObserver) {
    this.address = channel.address;
    this.#channel = channel;
    this.#clock = modules.clock;
    this.#events = modules.events;
    this.#observer = observer;
  }

  /** The stream takes more at once. */
  get writable(): boolean {
    return !this.#clogged;
  }

  /** Frames without an outcome. */
  get waiting(): number {
    return this.#frames.length - this.#head;
  }

  /** A number for the next frame. */
  nextFrameId(): number {
    this.#frameId = (this.#frameId + 1) >>> 0;
    return this.#frameId;
  }

  /** Sends a frame, now or when the broker can be reached. */
  write(frame: LinkFrame): void {
    this.#frames.push(frame);
    if (this.#stream === undefined) {
      if (this.#reconnect === undefined) this.#connect();
    } else this.#send();
  }

  /** Takes back the frames that were never written to any stream, oldest first. */
  takeUnsent(): LinkFrame[] {
    let first = this.#frames.length;
    while (first > this.#head && this.#frames[first - 1]?.left === false) first--;
    const taken = this.#frames.splice(first);
    this.#unsent = Math.min(this.#unsent, this.#frames.length);
    return taken;
  }

  #connect(): void {
    this.#reconnect = undefined;
    if (this.#closed || this.waiting === 0) return;
    let answered = false;
    const stream = this.#channel.bytes(broker.produce, {
      message: (bytes) => {
        if (!answered) {
          answered = true;
          this.lastError = undefined;
          this.#backOff.reset();
          this.#events.emit({ type: 'connected', address: this.address });
        }
        this.#answer(bytes);
      },
      drained: () => {
        this.#clogged = false;
        this.#send();
        this.#observer.drained();
      },
      ended: (error) => this.#lost(stream, error),
    });
    this.#stream = stream;
    this.#clogged = false;
    this.#unsent = this.#head;
    this.#send();
  }

  #send(): void {
    const stream = this.#stream;
    if (stream === undefined) return;
    while (!this.#clogged && this.#unsent < this.#frames.length) {
      const frame = this.#frames[this.#unsent++] as LinkFrame;
      if (frame.abandoned) {
        // Its outcome will not come: it leaves the list with the others around it.
        this.#frames.splice(--this.#unsent, 1);
        continue;
      }
      frame.left = true;
      this.#clogged = !stream.write(frame.encoded.bytes);
    }
  }

  #answer(bytes: Buffer): void {
    try {
      readOutcomes(bytes, (outcome) => {
        const frame = this.#frames[this.#head];
        if (frame === undefined || frame.frameId !== outcome.frameId) {
          throw new MqError('MALFORMED_RESPONSE', 'the broker answered a frame that was not sent');
        }
        this.#head++;
        frame.settled(outcome);
      });
    } catch {
      // What is not answered is sent again.
      this.#stream?.cancel();
    }
    if (this.#head === this.#frames.length || this.#head > 1024) {
      this.#frames.splice(0, this.#head);
      this.#unsent -= this.#head;
      this.#head = 0;
    }
  }

  #lost(stream: ByteStream, error: MqError | undefined): void {
    if (this.#stream !== stream) return;
    this.#stream = undefined;
    this.#clogged = false;
    if (this.#closed) return;
    this.lastError = new MqError(
      'BROKER_UNREACHABLE',
      `broker ${this.address} cannot be reached: check that it runs, and that its --advertise is an address ` +
        'that this client can reach',
      { retryable: true, cause: error },
    );
    this.#events.emit({ type: 'disconnected', address: this.address, error: this.lastError });
    this.#observer.down(this.lastError);
    if (this.waiting > 0)
      this.#reconnect = this.#clock.setTimer(this.#backOff.next(), () => this.#connect());
  }

  /** Closes the stream; frames without an outcome stay without one. */
  close(): void {
    this.#closed = true;
    this.#reconnect?.cancel();
    if (this.waiting === 0) this.#stream?.end();
    else this.#stream?.cancel();
  }
}
