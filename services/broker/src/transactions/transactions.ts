// Decides transactions, asks producers for the outcome of those that nobody decides, and rolls back what nobody knows.
//
// The decision is one record. Messages of a committed transaction are released after it, in their order; when that is cut
// short, by a crash or a full disk, it is gone on with. Time is even (EvenClock).

import { create } from '@bufbuild/protobuf';
import { TransactionState } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import {
  TransactionCheckedSchema,
  TransactionEndedSchema,
  TransactionSchema,
  TransactionsForgottenSchema,
} from '@ternmq/proto/gen/ternmq/log/v1/log_pb';
import { type Clock, type Logger, TernError, type Timer } from '@ternmq/runtime';
import type { EvenClock } from '../held/even-clock.ts';
import type { HeldRelease } from '../held/held-release.ts';
import type { StateLog } from '../state/state-log.ts';
import type { Transaction } from '../state/transaction-table.ts';

/** Most transactions that are open on a broker. */
export const OPEN_TRANSACTIONS_MAX = 100_000;
/** Most messages of a transaction. */
export const TRANSACTION_MESSAGES_MAX = 1024;
/** Ended transactions that are remembered, for how long and how many. */
const REMEMBERED_MS = 24 * 3_600_000;
const REMEMBERED_MAX = 100_000;
const FORGOTTEN_AT_ONCE_MAX = 1000;
const TICK_MS = 500;

/** When producers are asked. */
export interface CheckOptions {
  /** When a producer is asked first, in milliseconds after the transaction began. */
  readonly firstMs: number;
  /** Longest pause between two questions, in milliseconds; the first pause is `firstMs`, and each is twice the one before. */
  readonly pauseMaxMs: number;
  /** Questions after which a transaction is rolled back. */
  readonly max: number;
  /** Age at which a transaction is rolled back, asked or not, in milliseconds. */
  readonly openMaxMs: number;
}

/** A producer that may be asked. */
export interface TransactionWatcher {
  /** Asks for the outcome; false when it cannot be asked now. */
  ask(transaction: Transaction): boolean;
}

/** The transactions of a broker. */
export class Transactions {
  readonly #options: CheckOptions;
  readonly #stateLog: StateLog;
  readonly #held: HeldRelease;
  readonly #time: EvenClock;
  readonly #logger: Logger;
  /** By producer group; who was asked last is at the end. */
  readonly #watchers = new Map<string, Set<TransactionWatcher>>();
  /** Committed transactions whose messages are being released, or shall be. */
  readonly #committing = new Map<number, Promise<void> | undefined>();
  readonly #timer: Timer;

  constructor(
    options: CheckOptions,
    modules: {
      stateLog: StateLog;
      held: HeldRelease;
      time: EvenClock;
      clock: Clock;
      logger: Logger;
    },
  ) {
    this.#options = options;
    this.#stateLog = modules.stateLog;
    this.#held = modules.held;
    this.#time = modules.time;
    this.#logger = modules.logger;
    this.#timer = modules.clock.every(TICK_MS, () => this.#tick());
  }

  /** Goes on with what the last process could not end. */
  start(): void {
    const { transactions, held } = this.#stateLog.state;
    if (transactions.unclaimed.size > 0) {
      this.#held.drop([...transactions.unclaimed]);
      transactions.unclaimed.clear();
    }
    for (const { first, messages, state } of transactions.all()) {
      if (state !== TransactionState.COMMITTED) continue;
      for (let i = 0; i < messages; i++) {
        if (held.isPending(first + i)) this.#committing.set(first, undefined);
      }
    }
    this.#tick();
  }

  /** Throws RESOURCE_EXHAUSTED (TOO_MANY_TRANSACTIONS) when no other transaction may begin. */
  assertRoom(): void {
    if (this.#stateLog.state.transactions.open < OPEN_TRANSACTIONS_MAX) return;
    throw new TernError(
      'RESOURCE_EXHAUSTED',
      'TOO_MANY_TRANSACTIONS',
      `${OPEN_TRANSACTIONS_MAX} transactions are open, which is the limit; decide some first`,
    );
  }

  /**
   * A transaction begins: its messages are the newest of those that wait.
   *
   * @param firstCheckMs when a producer is asked first, in milliseconds; 0 for the default
   */
  begin(
    first: number,
    messages: number,
    topicId: number,
    producerGroup: string,
    firstCheckMs: number,
  ): void {
    const nowMs = this.#time.nowMs();
    const value = create(TransactionSchema, {
      firstOffset: BigInt(first),
      messages,
      producerGroup,
      topicId,
      begunMs: BigInt(nowMs),
      nextCheckMs: BigInt(nowMs + (firstCheckMs || this.#options.firstMs)),
      state: TransactionState.OPEN,
    });
    this.#stateLog.change({ case: 'transactionBegun', value });
  }

  /**
   * Decides a transaction: COMMITTED or ROLLED_BACK; resolves when that is durable and its messages are visible. Deciding it again alike is harmless.
   * Throws NOT_FOUND (TRANSACTION_NOT_FOUND), FAILED_PRECONDITION (TRANSACTION_ENDED).
   */
  async end(first: number, state: TransactionState, cause: string): Promise<Transaction> {
    const transaction = this.#stateLog.state.transactions.find(first);
    if (transaction === undefined) {
      throw new TernError(
        'NOT_FOUND',
        'TRANSACTION_NOT_FOUND',
        'there is no such transaction: it never began, or ended more than 24 h ago',
      );
    }
    if (transaction.state === TransactionState.OPEN) this.#decide(first, state, cause);
    else if (transaction.state !== state) {
      const ended = transaction.state === TransactionState.COMMITTED ? 'committed' : 'rolled back';
      throw new TernError(
        'FAILED_PRECONDITION',
        'TRANSACTION_ENDED',
        `the transaction was ${ended} before: ${transaction.cause}`,
        { metadata: { state: ended } },
      );
    }
    if (this.#committing.has(first)) await this.#finish(transaction);
    await this.#stateLog.log.keptAt(this.#stateLog.log.next);
    return transaction;
  }

  #decide(first: number, state: TransactionState, cause: string): void {
    const value = create(TransactionEndedSchema, { firstOffset: BigInt(first), state, cause });
    this.#stateLog.change({ case: 'transactionEnded', value });
    if (state === TransactionState.COMMITTED) this.#committing.set(first, undefined);
  }

  /** Releases the messages of a committed transaction, all of them or as many as can be. */
  #finish(transaction: Transaction): Promise<void> {
    const { first, messages } = transaction;
    let running = this.#committing.get(first);
    if (running === undefined) {
      const offsets = Array.from({ length: messages }, (_, i) => first + i);
      running = this.#held.release(offsets).then(
        () => {
          this.#committing.delete(first);
        },
        (error: Error) => {
          this.#committing.set(first, undefined);
          throw error;
        },
      );
      this.#committing.set(first, running);
    }
    return running;
  }

  /** Adds a producer that may be asked; call what it returns when it is gone. */
  watch(producerGroup: string, watcher: TransactionWatcher): () => void {
    let watchers = this.#watchers.get(producerGroup);
    if (watchers === undefined) {
      watchers = new Set();
      this.#watchers.set(producerGroup, watchers);
    }
    watchers.add(watcher);
    return () => {
      watchers.delete(watcher);
      if (watchers.size === 0 && this.#watchers.get(producerGroup) === watchers) {
        this.#watchers.delete(producerGroup);
      }
    };
  }

  #tick(): void {
    try {
      const nowMs = this.#time.nowMs();
      const { transactions } = this.#stateLog.state;
      for (const first of this.#committing.keys()) {
        const transaction = transactions.find(first);
        if (transaction === undefined) continue;
        this.#finish(transaction).catch((error: unknown) => {
          this.#logger.error(
            { error, first },
            'a transaction cannot be completed; it is tried again',
          );
        });
      }
      if (transactions.size === 0) return;
      this.#forget(nowMs);
      for (const transaction of transactions.all()) {
        if (transaction.state === TransactionState.OPEN) this.#look(transaction, nowMs);
      }
    } catch (error) {
      // The disk is full or the log has stopped: the next tick tries again.
      if (!(error instanceof TernError)) throw error;
    }
  }

  #look(transaction: Transaction, nowMs: number): void {
    const { first, checks, nextCheckMs, begunMs, producerGroup } = transaction;
    const { firstMs, pauseMaxMs, max, openMaxMs } = this.#options;
    if (nowMs - begunMs >= openMaxMs) {
      this.#giveUp(transaction, 'it was open for too long');
      return;
    }
    if (nowMs < nextCheckMs) return;
    if (checks >= max) {
      this.#giveUp(transaction, `nobody told its outcome, asked ${checks} times`);
      return;
    }
    // Without a producer to ask, it waits for one: only questions count.
    const watchers = this.#watchers.get(producerGroup) ?? [];
    for (const watcher of watchers) {
      if (!watcher.ask(transaction)) continue;
      this.#watchers.get(producerGroup)?.delete(watcher);
      this.#watchers.get(producerGroup)?.add(watcher);
      const pauseMs = Math.min(pauseMaxMs, firstMs * 2 ** (checks + 1));
      const value = create(TransactionCheckedSchema, {
        firstOffset: BigInt(first),
        nextCheckMs: BigInt(nowMs + pauseMs),
      });
      this.#stateLog.change({ case: 'transactionChecked', value });
      return;
    }
  }

  #giveUp({ first, producerGroup }: Transaction, cause: string): void {
    this.#decide(first, TransactionState.ROLLED_BACK, cause);
    this.#logger.warn({ first, producerGroup, cause }, 'a transaction was rolled back');
  }

  #forget(nowMs: number): void {
    const { transactions } = this.#stateLog.state;
    const tooMany = transactions.size - transactions.open - REMEMBERED_MAX;
    const firstOffsets: bigint[] = [];
    for (const { first, state, endedMs } of transactions.all()) {
      if (state === TransactionState.OPEN || this.#committing.has(first)) continue;
      if (nowMs - endedMs < REMEMBERED_MS && firstOffsets.length >= tooMany) continue;
      firstOffsets.push(BigInt(first));
      if (firstOffsets.length === FORGOTTEN_AT_ONCE_MAX) break;
    }
    if (firstOffsets.length === 0) return;
    const value = create(TransactionsForgottenSchema, { firstOffsets });
    this.#stateLog.change({ case: 'transactionsForgotten', value });
  }

  /** Stops asking. */
  async close(): Promise<void> {
    this.#timer.cancel();
    await Promise.allSettled(this.#committing.values());
  }
}
