// Answers brokers that ask for the outcome of transactions of a producer group: one stream to every broker.

import { type Clock, pause } from './clock.ts';
import { isMqError } from './errors.ts';
import type { Events } from './events.ts';
import type { ReceivedMessage } from './received-message.ts';
import type { Routes } from './routes.ts';
import { endTransaction } from './transactions.ts';
import type { Channel } from './transport/channel.ts';
import type { Channels } from './transport/channels.ts';
import { broker } from './transport/methods.ts';
import { receivedOf } from './transport/stored-message.ts';
import { type AskedTransaction, committed, rolledBack } from './transport/transaction-messages.ts';

/** Brokers are looked up anew so often, and broken streams opened again. */
const LOOK_MS = 1000;
const ANSWER_MS_MAX = 15_000;

/** What a producer says of a transaction that it is asked for; `unknown` has it asked again later. */
export type TransactionOutcome = 'commit' | 'rollback' | 'unknown';

/** A transaction that a producer is asked for. */
export interface PendingTransaction {
  /** Names the transaction. */
  readonly transactionId: string;
  readonly topic: string;
  /** Its messages. */
  readonly messages: readonly ReceivedMessage[];
  /** Which question this is, from 1. */
  readonly checks: number;
  /** When it began, in milliseconds since the Unix epoch by the broker's clock. */
  readonly begunMs: number;
}

/** Tells the outcome of a transaction of the producer's group; throwing is `unknown`. */
export type TransactionChecker = (
  transaction: PendingTransaction,
) => TransactionOutcome | Promise<TransactionOutcome>;

/** Answers for a producer group until it is closed. */
export class TransactionWatch {
  readonly #group: string;
  readonly #checker: TransactionChecker;
  readonly #modules: { routes: Routes; channels: Channels; clock: Clock; events: Events };
  readonly #closing = new AbortController();
  /** Streams that are open, by the broker's address. */
  readonly #streams = new Map<string, { cancel(): void }>();

  constructor(
    group: string,
    checker: TransactionChecker,
    modules: { routes: Routes; channels: Channels; clock: Clock; events: Events },
  ) {
    this.#group = group;
    this.#checker = checker;
    this.#modules = modules;
    void this.#look();
  }

  async #look(): Promise<void> {
    const { routes, clock } = this.#modules;
    const { signal } = this.#closing;
    while (!signal.aborted) {
      try {
        for (const { address, master } of await routes.brokers({ deadlineMs: LOOK_MS, signal })) {
          if (master && !this.#streams.has(address)) this.#open(address);
        }
      } catch (error) {
        // No name server answers; the streams that are open stay.
        if (!isMqError(error)) throw error;
      }
      await pause(clock, LOOK_MS, signal);
    }
  }

  #open(address: string): void {
    if (this.#closing.signal.aborted) return;
    const channel = this.#modules.channels.get(address);
    const request = { producerGroup: this.#group };
    const stream = channel.watch(broker.watchTransactions, request, {
      message: (asked) => void this.#answer(channel, asked),
      ended: () => this.#streams.delete(address),
    });
    this.#streams.set(address, stream);
  }

  async #answer(channel: Channel, asked: AskedTransaction): Promise<void> {
    const { transactionId = '', topic = '', checks = 0, begunMs = 0n } = asked.transaction ?? {};
    const messages = asked.messages.map((message) => receivedOf(message, topic, ''));
    const pending = { transactionId, topic, messages, checks, begunMs: Number(begunMs) };
    try {
      const outcome = await this.#checker(pending);
      if (outcome === 'unknown') return;
      const request =
        outcome === 'commit'
          ? committed(transactionId)
          : rolledBack(transactionId, 'its producer group said so');
      await endTransaction(channel, request, ANSWER_MS_MAX, this.#modules.clock);
    } catch (error) {
      // The broker asks again.
      this.#modules.events.emit({ type: 'sendFailed', topic, error: error as Error });
    }
  }

  /** Answers no more. */
  close(): void {
    this.#closing.abort();
    for (const stream of this.#streams.values()) stream.cancel();
  }
}
