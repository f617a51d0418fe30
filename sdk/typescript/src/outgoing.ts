// One message on its way, from `send` to its outcome.
//
//   waiting for its topic's route -> waiting for room -> pending at its queue -> in flight -> stored | failed
//                                                        \-------- and back, when refused for now -------/

import type { EncodedMessage } from './body-encoding.ts';
import { abortedError, type MqError } from './errors.ts';
import type { Receipt } from './message.ts';

/** A message that is to be sent. */
export class Outgoing {
  readonly topic: string;
  readonly message: EncodedMessage;
  /** Bytes that it counts for. */
  readonly bytes: number;
  /** When it fails for good, by the monotonic clock, in milliseconds. */
  readonly untilMs: number;
  /** It must stay on its queue. */
  readonly pinned: boolean;
  /** Settles with its outcome. */
  readonly receipt: Promise<Receipt>;
  /** It counts against the bytes under way. */
  admitted = false;
  /** It was refused together with others, and travels alone to find out which was meant. */
  alone = false;
  /** Its outcome was told. */
  done = false;
  /** Why it was refused for now: the cause to tell when its time is up. */
  refusal: MqError | undefined;
  readonly #resolve: (receipt: Receipt) => void;
  readonly #reject: (error: MqError) => void;
  readonly #whenDone: (item: Outgoing) => void;
  readonly #signal: AbortSignal | undefined;
  readonly #abort: (() => void) | undefined;

  /** @param whenDone called once, when the outcome is told */
  constructor(
    topic: string,
    message: EncodedMessage,
    options: { bytes: number; untilMs: number; signal: AbortSignal | undefined },
    whenDone: (item: Outgoing) => void,
  ) {
    this.topic = topic;
    this.message = message;
    this.bytes = options.bytes;
    this.untilMs = options.untilMs;
    this.pinned =
      message.queue !== undefined ||
      (message.orderingKey !== undefined && message.orderingKey !== '');
    const { promise, resolve, reject } = Promise.withResolvers<Receipt>();
    this.receipt = promise;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#whenDone = whenDone;
    const { signal } = options;
    this.#signal = signal;
    if (signal !== undefined) {
      this.#abort = () => this.failed(abortedError(signal));
      signal.addEventListener('abort', this.#abort);
    }
  }

  /** It is stored; without effect when an outcome was told before. */
  stored(receipt: Receipt): void {
    if (!this.#end()) return;
    this.#resolve(receipt);
    this.#whenDone(this);
  }

  /** It failed for good; without effect when an outcome was told before. */
  failed(error: MqError): void {
    if (!this.#end()) return;
    this.#reject(error);
    this.#whenDone(this);
  }

  #end(): boolean {
    if (this.done) return false;
    this.done = true;
    if (this.#abort !== undefined) this.#signal?.removeEventListener('abort', this.#abort);
    return true;
  }
}
