// Who waits for an answer to a message. In memory alone: the answer is for a call that is open, and ends with it.
//
//   open -> answered | timed out | given up by its caller | ended by the broker's stop

import type { Message } from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import { type Clock, type Random, TernError } from '@ternmq/runtime';

/** Calls that may wait at the same time. */
const OPEN_MAX = 65_536;
/** Of what nobody can guess. */
const TOKEN_BYTES = 16;
const RETRY_AFTER_MS = 1000;

/** A call that waits for an answer. */
export interface ReplyInbox {
  /** Where the answer is to go: the broker's name, `/`, and what nobody can guess. */
  readonly replyTo: string;
  /** The answer; undefined when the time is up. Rejects with the signal's reason. */
  wait(timeoutMs: number, signal: AbortSignal): Promise<Message | undefined>;
  /** Waits no more. */
  close(): void;
}

/** The answers that are waited for at this broker. */
export class ReplyInboxes {
  readonly #brokerName: string;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #open = new Map<string, (answer: Message) => void>();

  constructor(brokerName: string, modules: { clock: Clock; random: Random }) {
    this.#brokerName = brokerName;
    this.#clock = modules.clock;
    this.#random = modules.random;
  }

  /** Calls that wait. */
  get waiting(): number {
    return this.#open.size;
  }

  /** Opens an inbox for one answer. Throws RESOURCE_EXHAUSTED (TOO_MANY_REQUESTS). */
  open(): ReplyInbox {
    if (this.#open.size >= OPEN_MAX) {
      throw new TernError(
        'RESOURCE_EXHAUSTED',
        'TOO_MANY_REQUESTS',
        `${OPEN_MAX} requests wait for answers, which is the limit; ask less often, or wait shorter`,
        { retryAfterMs: RETRY_AFTER_MS },
      );
    }
    const replyTo = `${this.#brokerName}/${this.#random.bytes(TOKEN_BYTES).toString('hex')}`;
    const { promise: answered, resolve } = Promise.withResolvers<Message>();
    this.#open.set(replyTo, resolve);
    const close = (): void => void this.#open.delete(replyTo);
    return {
      replyTo,
      close,
      wait: async (timeoutMs, signal) => {
        const { promise: over, resolve: end, reject } = Promise.withResolvers<undefined>();
        const timer = this.#clock.setTimer(timeoutMs, () => end(undefined));
        const abort = (): void => reject(signal.reason);
        signal.addEventListener('abort', abort);
        if (signal.aborted) abort();
        try {
          return await Promise.race([answered, over]);
        } finally {
          timer.cancel();
          signal.removeEventListener('abort', abort);
          close();
        }
      },
    };
  }

  /** Hands an answer over; once. Throws NOT_FOUND (REPLY_NOT_AWAITED). */
  answer(replyTo: string, answer: Message): void {
    const take = this.#open.get(replyTo);
    if (take === undefined) {
      throw new TernError(
        'NOT_FOUND',
        'REPLY_NOT_AWAITED',
        `nobody waits for this answer at broker ${this.#brokerName}: its time is over, it was answered before, or its sender has gone`,
      );
    }
    this.#open.delete(replyTo);
    take(answer);
  }
}
