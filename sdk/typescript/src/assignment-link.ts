// A member's stream to one broker: it joins, and is in until the stream ends; a stream that breaks is opened anew.
//
//   connecting -> in -> broken, connecting again | refused | closed

import { BackOff, type Clock, type Timer } from './clock.ts';
import type { MqError } from './errors.ts';
import type { Events } from './events.ts';
import { type Assignment, encodeReleased, readAssignment } from './transport/assignment.ts';
import type { ByteStream, Channel } from './transport/channel.ts';
import { broker } from './transport/methods.ts';

/** How long the broker may take to end the stream, in milliseconds. */
const END_MS_MAX = 2000;

/** Errors that trying again does not mend. */
const FATAL = new Set([
  'STRATEGY_MISMATCH',
  'INVALID_CONSUMER_ID',
  'INVALID_FIELD',
  'GROUP_NOT_FOUND',
  'REPLACED',
]);

/** Told what becomes of a member. */
export interface AssignmentObserver {
  /** These are the queues now; `released` tells the broker that the others are let go of. */
  assigned(queues: Assignment['queues'], released: () => void): void;
  /** The stream has broken: what was assigned belongs to others. */
  lost(): void;
  /** The broker does not let the member in. */
  refused(error: MqError): void;
}

/** A member's stream to one broker. */
export class AssignmentLink {
  readonly #channel: Channel;
  readonly #join: Buffer;
  readonly #clock: Clock;
  readonly #events: Events;
  readonly #observer: AssignmentObserver;
  readonly #backOff = new BackOff(50, 5000);
  #stream: ByteStream | undefined;
  /** The stream has brought queues. */
  #in = false;
  #reconnect: Timer | undefined;
  #closed = false;
  readonly #ended = Promise.withResolvers<void>();

  /** @param join the message that joins */
  constructor(
    channel: Channel,
    join: Buffer,
    modules: { clock: Clock; events: Events },
    observer: AssignmentObserver,
  ) {
    this.#channel = channel;
    this.#join = join;
    this.#clock = modules.clock;
    this.#events = modules.events;
    this.#observer = observer;
    this.#open();
  }

  #open(): void {
    this.#reconnect = undefined;
    const stream = this.#channel.bytes(broker.assignQueues, {
      message: (bytes) => this.#take(stream, bytes),
      ended: (error) => this.#lost(stream, error),
    });
    this.#stream = stream;
    stream.write(this.#join);
  }

  #take(stream: ByteStream, bytes: Buffer): void {
    if (this.#stream !== stream || this.#closed) return;
    const { generation, queues } = readAssignment(bytes);
    if (!this.#in) {
      this.#in = true;
      this.#backOff.reset();
      this.#events.emit({ type: 'connected', address: this.#channel.address });
    }
    this.#observer.assigned(queues, () => {
      if (this.#stream === stream) stream.write(encodeReleased(generation));
    });
  }

  #lost(stream: ByteStream, error: MqError | undefined): void {
    if (this.#stream !== stream) return;
    this.#stream = undefined;
    this.#in = false;
    if (this.#closed) {
      this.#ended.resolve();
      return;
    }
    const { address } = this.#channel;
    this.#events.emit({ type: 'disconnected', address, ...(error === undefined ? {} : { error }) });
    this.#observer.lost();
    if (error !== undefined && FATAL.has(error.code)) {
      this.#closed = true;
      this.#ended.resolve();
      this.#observer.refused(error);
      return;
    }
    this.#reconnect = this.#clock.setTimer(this.#backOff.next(), () => this.#open());
  }

  /** Leaves; resolves when the broker knows, or does not answer. */
  close(): Promise<void> {
    if (this.#closed) return this.#ended.promise;
    this.#closed = true;
    this.#reconnect?.cancel();
    const stream = this.#stream;
    if (stream === undefined) this.#ended.resolve();
    else {
      stream.end();
      const timer = this.#clock.setTimer(END_MS_MAX, () => {
        stream.cancel();
        this.#ended.resolve();
      });
      void this.#ended.promise.then(() => timer.cancel());
    }
    return this.#ended.promise;
  }
}
