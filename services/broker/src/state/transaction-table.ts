// Transactions: which half messages wait for the same outcome, and what became of it.
//
//   open -> committed (its messages are released, one record each) -> forgotten after a day
//        -> rolled back (its messages are dropped with the record)  -> forgotten after a day
//
// The record that begins a transaction stands behind its messages: half messages without one are what a crash left of a
// transaction that nobody was told of, and are dropped at the next start (`unclaimed`).

import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { TransactionState } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import {
  type Transaction as TransactionMessage,
  TransactionSchema,
} from '@ternmq/proto/gen/ternmq/log/v1/log_pb';
import { transactionKey } from './keys.ts';
import type { Row } from './store.ts';

/** A transaction. */
export interface Transaction {
  /** Offset of its first half message where messages wait; names it. */
  readonly first: number;
  /** Number of its messages. */
  readonly messages: number;
  readonly producerGroup: string;
  readonly topicId: number;
  readonly begunMs: number;
  /** Times that a producer was asked for the outcome. */
  checks: number;
  /** When a producer is asked next, in milliseconds since the Unix epoch. */
  nextCheckMs: number;
  state: TransactionState;
  /** 0 while it is open. */
  endedMs: number;
  cause: string;
}

/** The transactions of a broker. */
export class TransactionTable {
  /** By first offset, the oldest first. */
  readonly #all = new Map<number, Transaction>();
  readonly #dirty = new Set<number>();
  /** Half messages whose transaction has not begun. */
  readonly unclaimed = new Set<number>();
  /** Transactions that are open. */
  open = 0;

  /** Number of transactions, open and ended. */
  get size(): number {
    return this.#all.size;
  }

  /** All transactions, the oldest first. */
  all(): Iterable<Transaction> {
    return this.#all.values();
  }

  /** The transaction whose first half message is at an offset. */
  find(first: number): Transaction | undefined {
    return this.#all.get(first);
  }

  /** Does a message that waits belong to a transaction? */
  holds(offset: number): boolean {
    for (const { first, messages } of this.#all.values()) {
      if (offset >= first && offset < first + messages) return true;
    }
    return false;
  }

  /** A transaction begins, or is taken from a row. */
  put(message: TransactionMessage): void {
    const first = Number(message.firstOffset);
    const transaction = {
      first,
      messages: message.messages,
      producerGroup: message.producerGroup,
      topicId: message.topicId,
      begunMs: Number(message.begunMs),
      checks: message.checks,
      nextCheckMs: Number(message.nextCheckMs),
      state: message.state,
      endedMs: Number(message.endedMs),
      cause: message.cause,
    };
    this.#all.set(first, transaction);
    if (transaction.state === TransactionState.OPEN) this.open++;
    for (let offset = first; offset < first + message.messages; offset++) {
      this.unclaimed.delete(offset);
    }
  }

  /** A transaction has begun. */
  begun(message: TransactionMessage): void {
    this.put(message);
    this.#dirty.add(Number(message.firstOffset));
  }

  /** A producer was asked; without effect when the transaction is not open. */
  checked(first: number, nextCheckMs: number): void {
    const transaction = this.#all.get(first);
    if (transaction?.state !== TransactionState.OPEN) return;
    transaction.checks++;
    transaction.nextCheckMs = nextCheckMs;
    this.#dirty.add(first);
  }

  /** A transaction was decided; undefined when it is not open. */
  ended(
    first: number,
    state: TransactionState,
    cause: string,
    timeMs: number,
  ): Transaction | undefined {
    const transaction = this.#all.get(first);
    if (transaction?.state !== TransactionState.OPEN) return undefined;
    transaction.state = state;
    transaction.cause = cause;
    transaction.endedMs = timeMs;
    this.open--;
    this.#dirty.add(first);
    return transaction;
  }

  /** A transaction that ended is forgotten. */
  forget(first: number): void {
    const transaction = this.#all.get(first);
    if (transaction === undefined || transaction.state === TransactionState.OPEN) return;
    this.#all.delete(first);
    this.#dirty.add(first);
  }

  /** Is there something that the store lacks? */
  get dirty(): boolean {
    return this.#dirty.size > 0;
  }

  /** The rows that have changed since the last call. */
  collect(puts: Row[], removes: Buffer[]): void {
    for (const first of this.#dirty) {
      const transaction = this.#all.get(first);
      const key = transactionKey(first);
      if (transaction === undefined) removes.push(key);
      else puts.push({ key, value: encodeTransaction(transaction) });
    }
    this.#dirty.clear();
  }

  /** Takes a row as the store or a snapshot has it. */
  restore(value: Buffer): void {
    this.put(fromBinary(TransactionSchema, value));
  }
}

/** A transaction as the log tells it. */
export function transactionMessage(transaction: Transaction): TransactionMessage {
  const { first, begunMs, nextCheckMs, endedMs, ...rest } = transaction;
  return create(TransactionSchema, {
    ...rest,
    firstOffset: BigInt(first),
    begunMs: BigInt(begunMs),
    nextCheckMs: BigInt(nextCheckMs),
    endedMs: BigInt(endedMs),
  });
}

function encodeTransaction(transaction: Transaction): Buffer {
  return Buffer.from(toBinary(TransactionSchema, transactionMessage(transaction)));
}
