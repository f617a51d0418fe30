// Begins transactions and ends them in every way; another producer of the group answers for those that are abandoned.
//
// The tag of a message says what shall become of its transaction, so that whoever is asked knows.

import { setTimeout as sleep } from 'node:timers/promises';
import type { Random } from '@ternmq/runtime';
import { type Client, isMqError, type Producer } from '@ternmq/sdk';
import { bodyOf, digestOf, nameIn } from './message-body.ts';
import type { TransactionEvent } from './transaction-checker.ts';

const BODY_BYTES = 128;
const GROUP = 'crash-shop';
const WORKERS = 12;
const MESSAGES_MAX = 3;
/** How transactions end: by the producer that began them, or, abandoned, by one that is asked. */
const PLANS = ['commit', 'commit', 'commit', 'rollback', 'ask: commit', 'ask: rollback'] as const;
const WORK_MS_MAX = 30;
/** One transaction of so many works for so long that its group is asked meanwhile. */
const SLOW_ONE_IN = 50;
const SLOW_MS_MAX = 4000;
const END_MS_MAX = 30_000;
const FAILED_PAUSE_MS = 50;
/** A producer that works is waited for until this question; then its transaction is rolled back. */
const PATIENT_CHECKS = 3;
/** Who is asked knows no answer the first time, one time of so many. */
const UNKNOWN_ONE_IN = 4;

type Tell = (event: TransactionEvent) => void;

/** What beginning transactions needs. */
export interface TransactionLoad {
  readonly client: Client;
  readonly topic: string;
  readonly random: Random;
  readonly tell: Tell;
  /** Tells it to finish. */
  readonly signal: AbortSignal;
}

/** Begins transactions until it is told to finish; resolves when all are ended or abandoned. */
export async function runTransactions(load: TransactionLoad): Promise<void> {
  const producer = load.client.producer({ group: GROUP });
  let next = 0;
  const numbers = (count: number): number[] => Array.from({ length: count }, () => next++);
  const work = async (): Promise<void> => {
    while (!load.signal.aborted) {
      const ids = numbers(1 + load.random.integer(MESSAGES_MAX));
      await runOne(load, producer, ids);
    }
  };
  await Promise.all(Array.from({ length: WORKERS }, work));
}

/** Resolves when the transaction is ended, or abandoned. */
async function runOne(
  { topic, random, tell }: TransactionLoad,
  producer: Producer,
  ids: readonly number[],
): Promise<void> {
  const [transaction = 0] = ids;
  const plan = PLANS[random.integer(PLANS.length)] ?? 'commit';
  const slow = random.integer(SLOW_ONE_IN) === 0;
  const workMs = random.integer(slow ? SLOW_MS_MAX : WORK_MS_MAX);
  const messages = ids.map((id) => {
    const body = bodyOf({ producer: 0, id }, BODY_BYTES);
    tell({ kind: 'intent', id, digest: digestOf(body), transaction });
    return { body, tag: plan };
  });
  const abandoned = Promise.withResolvers<void>();
  const ended = producer
    .transaction(
      topic,
      messages,
      async ({ transactionId }) => {
        tell({ kind: 'begun', transaction, transactionId });
        if (plan.startsWith('ask')) {
          abandoned.resolve();
          await new Promise<never>(() => {});
        }
        await sleep(workMs);
        if (plan === 'rollback') throw new Error('as planned');
        tell({ kind: 'deciding', transaction, outcome: 'commit', atMs: Date.now() });
      },
      { deadlineMs: END_MS_MAX },
    )
    .then(() => tell({ kind: 'ended', transaction, outcome: 'commit' }))
    .catch(async (error: unknown) => {
      if (isMqError(error, 'TRANSACTION_ENDED') && error.details.state === 'rolled back') {
        tell({ kind: 'ended', transaction, outcome: 'rollback' });
      } else if (isMqError(error)) await sleep(FAILED_PAUSE_MS);
    });
  await Promise.race([ended, abandoned.promise]);
}

/** Answers for the group until the client is closed. */
export function answerForTransactions(client: Client, random: Random, tell: Tell): void {
  client.producer({
    group: GROUP,
    checkTransaction: ({ transactionId, messages, checks }) => {
      const [first] = messages;
      if (first === undefined) throw new Error(`${transactionId} came without its messages`);
      const transaction = nameIn(first.body).id;
      tell({ kind: 'begun', transaction, transactionId });
      const asked = first.tag.startsWith('ask');
      if (!asked && checks < PATIENT_CHECKS) return 'unknown';
      if (checks === 1 && random.integer(UNKNOWN_ONE_IN) === 0) return 'unknown';
      const outcome = first.tag === 'ask: commit' ? 'commit' : 'rollback';
      tell({ kind: 'deciding', transaction, outcome, atMs: Date.now() });
      return outcome;
    },
  });
}
