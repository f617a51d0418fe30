// Judges transactions: their messages are seen when somebody has decided to commit them and not before, all or none, and
// whatever the broker confirmed holds.
//
// A transaction is named by the number of its first message.

import { Findings, type Report } from './report.ts';
import {
  describe,
  TOPIC_FAULTS,
  type TopicEvent,
  type TopicFault,
  TopicHistory,
} from './topic-history.ts';

/** How a transaction ends. */
export type Outcome = 'commit' | 'rollback';

/** What processes outside the broker tell of transactions. */
export type TransactionEvent =
  | TopicEvent
  /** Before a transaction begins, of each of its messages. */
  | {
      readonly kind: 'intent';
      readonly id: number;
      readonly digest: number;
      readonly transaction: number;
    }
  /** The broker's name of a transaction: it has answered that it began, or asks for its outcome. */
  | { readonly kind: 'begun'; readonly transaction: number; readonly transactionId: string }
  /** Before the broker is told an outcome, in milliseconds since the Unix epoch. */
  | {
      readonly kind: 'deciding';
      readonly transaction: number;
      readonly outcome: Outcome;
      readonly atMs: number;
    }
  /** The broker said that it ended so. */
  | { readonly kind: 'ended'; readonly transaction: number; readonly outcome: Outcome }
  /** How the broker lists it when all is over. */
  | {
      readonly kind: 'listed';
      readonly transactionId: string;
      readonly outcome: Outcome | 'open';
    };

/** What can be wrong with transactions. */
export type TransactionFault =
  | TopicFault
  /** Stored in its queue, or delivered, before anybody said commit, or without that. */
  | 'undecided'
  /** The broker said that it was rolled back, and it came. */
  | 'rolledBack'
  /** Some messages of the transaction came, and others did not. */
  | 'torn'
  /** Still open when all is over, or listed otherwise than the broker had confirmed. */
  | 'unsettled';

/** All that is known of one transaction. */
interface TransactionRecord {
  readonly messages: number[];
  /** Earliest time at which somebody said commit. */
  commitMs: number;
  readonly ended: Set<Outcome>;
}

/** Collects events and judges them. */
export class TransactionChecker {
  readonly #findings = new Findings<TransactionFault>([
    ...TOPIC_FAULTS,
    'undecided',
    'rolledBack',
    'torn',
    'unsettled',
  ]);
  readonly #history = new TopicHistory(this.#findings);
  readonly #transactions = new Map<number, TransactionRecord>();
  readonly #ofMessage = new Map<number, TransactionRecord>();
  readonly #byId = new Map<string, number>();

  /** Takes events: first those of who sends and who is asked, then those of who reads, then the lists. */
  apply(events: Iterable<TransactionEvent>): void {
    for (const event of events) this.#apply(event);
  }

  #apply(event: TransactionEvent): void {
    this.#history.count(event.kind);
    switch (event.kind) {
      case 'intent': {
        this.#history.intended(event.id, event.digest);
        const record = this.#transaction(event.transaction);
        record.messages.push(event.id);
        this.#ofMessage.set(event.id, record);
        return;
      }
      case 'begun':
        this.#byId.set(event.transactionId, event.transaction);
        return;
      case 'deciding': {
        if (event.outcome !== 'commit') return;
        const record = this.#transaction(event.transaction);
        record.commitMs = Math.min(record.commitMs, event.atMs);
        return;
      }
      case 'ended':
        this.#ended(event.transaction, event.outcome);
        return;
      case 'listed': {
        const transaction = this.#byId.get(event.transactionId);
        if (event.outcome === 'open' || transaction === undefined) {
          const why = event.outcome === 'open' ? 'is open' : 'is nobody’s';
          this.#findings.add('unsettled', `transaction ${event.transactionId} ${why}`);
        } else this.#ended(transaction, event.outcome);
        return;
      }
      case 'received':
      case 'stored': {
        const atMs = event.kind === 'received' ? event.atMs : event.storeMs;
        const commitMs = this.#ofMessage.get(event.id)?.commitMs ?? 0;
        if (Math.min(atMs, event.storeMs) < commitMs) {
          this.#findings.add('undecided', `${describe(event)}, before it was committed`);
        }
        break;
      }
      case 'ack':
      case 'settled':
        break;
    }
    this.#history.apply(event);
  }

  #transaction(transaction: number): TransactionRecord {
    let record = this.#transactions.get(transaction);
    if (record === undefined) {
      record = { messages: [], commitMs: Number.POSITIVE_INFINITY, ended: new Set() };
      this.#transactions.set(transaction, record);
    }
    return record;
  }

  #ended(transaction: number, outcome: Outcome): void {
    this.#transaction(transaction).ended.add(outcome);
    this.#history.count(`ended by ${outcome}`);
  }

  /** Judges the whole history. To be called once, when no transaction is open and all was read. */
  check(): Report<TransactionFault> {
    const history = this.#history;
    history.check();
    for (const [transaction, { messages, ended }] of this.#transactions) {
      const name = `transaction ${transaction}`;
      const seen = messages.filter((id) => history.isSeen(id));
      if (seen.length > 0 && seen.length < messages.length) {
        this.#findings.add('torn', `${name}: of ${messages} only ${seen} came`);
      }
      if (ended.size > 1) this.#findings.add('unsettled', `${name} was ended in both ways`);
      if (ended.has('commit')) {
        for (const id of messages) {
          if (!history.stored.has(id)) {
            this.#findings.add('lost', `message ${id} of ${name}, committed and never released`);
          }
        }
      }
      if (ended.has('rollback')) {
        for (const id of seen) {
          this.#findings.add('rolledBack', `message ${id} of ${name} came nevertheless`);
        }
      }
    }
    return { faults: this.#findings.byKind, counts: history.counts, timeline: [] };
  }
}
