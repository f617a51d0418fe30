import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { faultsFound, formatReport } from './report.ts';
import {
  TransactionChecker,
  type TransactionEvent,
  type TransactionFault,
} from './transaction-checker.ts';

const BEGUN_MS = 1_000_000;
const QUEUES = 3;

/** What became of a transaction. */
const outcome = fc.constantFrom(
  'committed',
  'committed',
  'committed, answer lost',
  'committed by another',
  'rolled back',
  'rolled back by another',
  'commit came too late',
  'never begun',
);

interface History {
  readonly sent: TransactionEvent[];
  readonly deliveries: TransactionEvent[];
  readonly stored: Extract<TransactionEvent, { kind: 'stored' }>[];
  readonly listed: Extract<TransactionEvent, { kind: 'listed' }>[];
}

const anyHistory = fc
  .array(
    fc.record({
      outcome,
      messages: fc.integer({ min: 1, max: 3 }),
      workMs: fc.nat(3000),
      redelivered: fc.boolean(),
    }),
    { minLength: 20, maxLength: 50 },
  )
  .map((transactions): History => {
    const history: History = { sent: [], deliveries: [], stored: [], listed: [] };
    let next = 0;
    for (const { outcome, messages, workMs, redelivered } of transactions) {
      const transaction = next;
      const transactionId = `t${transaction}`;
      const ids = Array.from({ length: messages }, () => next++);
      for (const id of ids) history.sent.push({ kind: 'intent', id, digest: id, transaction });
      if (outcome === 'never begun') continue;
      const atMs = BEGUN_MS + transaction + workMs;
      const commits = outcome.startsWith('commit');
      const committed = outcome.startsWith('committed');
      history.sent.push({ kind: 'begun', transaction, transactionId });
      if (commits || outcome.endsWith('by another')) {
        const said = commits ? 'commit' : 'rollback';
        history.sent.push({ kind: 'deciding', transaction, outcome: said, atMs });
      }
      if (outcome === 'committed') {
        history.sent.push({ kind: 'ended', transaction, outcome: 'commit' });
      }
      if (outcome === 'commit came too late') {
        history.sent.push({ kind: 'ended', transaction, outcome: 'rollback' });
      }
      history.listed.push({
        kind: 'listed',
        transactionId,
        outcome: committed ? 'commit' : 'rollback',
      });
      if (!committed) continue;
      for (const id of ids) {
        const place = { queue: transaction % QUEUES, offset: history.stored.length };
        const sighting = { id, digest: id, ...place, storeMs: atMs + 1 };
        const received: TransactionEvent = {
          ...{ kind: 'received', attempt: 1, atMs: atMs + 2 },
          ...sighting,
        };
        history.deliveries.push(received, ...(redelivered ? [received] : []));
        history.deliveries.push({ kind: 'settled', ...place });
        history.stored.push({ kind: 'stored', ...sighting });
      }
    }
    return history;
  });

function judge({ sent, deliveries, stored, listed }: History) {
  const checker = new TransactionChecker();
  checker.apply([...sent, ...deliveries, ...stored, ...listed]);
  return checker.check();
}

/** Changes what is seen of some messages, by whoever sees them. */
function seen(
  history: History,
  ids: readonly number[],
  change: (event: TransactionEvent) => TransactionEvent[],
): History {
  const apply = (event: TransactionEvent) =>
    (event.kind === 'received' || event.kind === 'stored') && ids.includes(event.id)
      ? change(event)
      : [event];
  return {
    ...history,
    deliveries: history.deliveries.flatMap(apply),
    stored: history.stored.flatMap(apply) as History['stored'],
  };
}

/** The messages of a transaction. */
function messagesOf({ sent }: History, transaction: number): number[] {
  return sent.flatMap((event) =>
    event.kind === 'intent' && event.transaction === transaction ? [event.id] : [],
  );
}

function withoutListing(history: History, transaction: number): History['listed'] {
  return history.listed.filter(({ transactionId }) => transactionId !== `t${transaction}`);
}

/** A fault, planted at a committed transaction; undefined where it does not apply. */
type Plant = (history: History, transaction: number) => History | undefined;

const plants: { name: string; found: TransactionFault[]; plant: Plant }[] = [
  {
    name: 'a committed transaction whose messages never came',
    found: ['lost'],
    plant: (history, transaction) => seen(history, messagesOf(history, transaction), () => []),
  },
  {
    name: 'a commit that was confirmed and is not even listed',
    found: ['lost'],
    plant: (history, transaction) => {
      const confirmed = history.sent.some(
        (event) => event.kind === 'ended' && event.transaction === transaction,
      );
      if (!confirmed) return undefined;
      const gone = seen(history, messagesOf(history, transaction), () => []);
      return { ...gone, listed: withoutListing(history, transaction) };
    },
  },
  {
    name: 'messages that are seen although nobody said commit',
    found: ['undecided'],
    plant: (history, transaction) => ({
      ...history,
      sent: history.sent.filter(
        (event) => event.kind !== 'deciding' || event.transaction !== transaction,
      ),
    }),
  },
  {
    name: 'a message that is stored in its queue before anybody said commit',
    found: ['undecided'],
    plant: (history, transaction) =>
      seen(history, [transaction], (event) => [
        { ...event, storeMs: BEGUN_MS + transaction - 1 } as TransactionEvent,
      ]),
  },
  {
    name: 'a message that came before anybody said commit, whatever the broker says',
    found: ['undecided'],
    plant: (history, transaction) =>
      seen(history, [transaction], (event) => [
        event.kind === 'received' ? { ...event, atMs: BEGUN_MS + transaction - 1 } : event,
      ]),
  },
  {
    name: 'messages of a transaction that the broker lists as rolled back',
    found: ['rolledBack'],
    plant: (history, transaction) => {
      const confirmed = history.sent.some(
        (event) => event.kind === 'ended' && event.transaction === transaction,
      );
      const transactionId = `t${transaction}`;
      const rolledBack = { kind: 'listed', transactionId, outcome: 'rollback' } as const;
      const listed = [...withoutListing(history, transaction), rolledBack];
      return confirmed ? undefined : { ...history, listed };
    },
  },
  {
    name: 'a commit that was confirmed and then listed as rolled back',
    found: ['lost', 'unsettled'],
    plant: (history, transaction) => {
      const confirmed = history.sent.some(
        (event) => event.kind === 'ended' && event.transaction === transaction,
      );
      const transactionId = `t${transaction}`;
      const rolledBack = { kind: 'listed', transactionId, outcome: 'rollback' } as const;
      const gone = seen(history, messagesOf(history, transaction), () => []);
      const listed = [...withoutListing(history, transaction), rolledBack];
      return confirmed ? { ...gone, listed } : undefined;
    },
  },
  {
    name: 'a transaction of which a part came',
    found: ['lost', 'torn'],
    plant: (history, transaction) =>
      messagesOf(history, transaction).length > 1
        ? seen(history, [transaction], () => [])
        : undefined,
  },
  {
    name: 'a transaction that is still open',
    found: ['unsettled'],
    plant: (history, transaction) => ({
      ...history,
      listed: [
        ...withoutListing(history, transaction),
        { kind: 'listed', transactionId: `t${transaction}`, outcome: 'open' },
      ],
    }),
  },
  {
    name: 'a transaction that nobody began',
    found: ['unsettled'],
    plant: (history) => ({
      ...history,
      listed: [...history.listed, { kind: 'listed', transactionId: 'x', outcome: 'rollback' }],
    }),
  },
  {
    name: 'a committed message that is released twice',
    found: ['duplicated'],
    plant: (history, transaction) =>
      seen(history, [transaction], (event) =>
        event.kind === 'stored' ? [event, { ...event, offset: 1000 }] : [event],
      ),
  },
  {
    name: 'a delivery after the confirmed acknowledgement',
    found: ['redelivered'],
    plant: (history, transaction) => ({
      ...history,
      deliveries: [
        ...history.deliveries,
        ...history.deliveries.filter(
          (event) => event.kind === 'received' && event.id === transaction,
        ),
      ],
    }),
  },
];

describe('the checker of transactions', () => {
  test('finds nothing in a healthy history', () => {
    fc.assert(
      fc.property(anyHistory, (history) => {
        const report = judge(history);
        expect(faultsFound(report), formatReport(report)).toEqual([]);
      }),
      { numRuns: 50 },
    );
  });

  test.each(plants)('finds $name', ({ found, plant }) => {
    let planted = 0;
    fc.assert(
      fc.property(anyHistory, fc.nat(), (history, choice) => {
        const committed = history.sent.flatMap((event) =>
          event.kind === 'intent' &&
          event.id === event.transaction &&
          history.stored.some(({ id }) => id === event.id)
            ? [event.id]
            : [],
        );
        const transaction = committed[choice % Math.max(1, committed.length)];
        const broken = transaction === undefined ? undefined : plant(history, transaction);
        if (broken === undefined) return;
        planted++;
        expect(faultsFound(judge(broken)).sort()).toEqual(found);
      }),
      { numRuns: 50 },
    );
    expect(planted).toBeGreaterThan(10);
  });
});
