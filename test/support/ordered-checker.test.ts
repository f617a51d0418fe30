import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { OrderedChecker, type OrderedEvent, type OrderedFault } from './ordered-checker.ts';
import { faultsFound, formatReport } from './report.ts';

const KEYS = 4;
const QUEUES = 2;

type Stored = Extract<OrderedEvent, { kind: 'stored' }>;

/** What a healthy broker did: sends, and for each message of a key after the other its deliveries. */
interface History {
  readonly sent: OrderedEvent[];
  /** By message: what is told from its first delivery until the next one of its key may come. */
  readonly deliveries: OrderedEvent[][];
  readonly stored: Stored[];
}

const anyHistory = fc
  .array(
    fc.record({
      key: fc.nat(KEYS - 1),
      failures: fc.constantFrom(0, 0, 0, 1, 2),
      settled: fc.boolean(),
      /** The last two of the key come again, in their order, for their acknowledgements were lost. */
      crash: fc.constantFrom(false, false, true),
      acked: fc.boolean(),
    }),
    { minLength: 40, maxLength: 80 },
  )
  .map((messages): History => {
    const history: History = { sent: [], deliveries: [], stored: [] };
    const unsettled = new Map<number, Stored[]>();
    for (const [id, { key, failures, settled, crash, acked }] of messages.entries()) {
      history.sent.push({ kind: 'intent', id, digest: id, key });
      if (acked) history.sent.push({ kind: 'ack', id });
      const offset = history.stored.length;
      const stored: Stored = {
        ...{ kind: 'stored', id, digest: id, queue: key % QUEUES },
        ...{ offset, storeMs: 0 },
      };
      history.stored.push(stored);
      const told: OrderedEvent[] = [];
      for (let attempt = 1; attempt <= failures; attempt++) {
        told.push(receivedOf(stored), { kind: 'failed', id });
      }
      told.push(receivedOf(stored), { kind: 'handled', id });
      const last = (unsettled.get(key) ?? []).concat(stored).slice(-2);
      if (crash) {
        for (const one of last) told.push(receivedOf(one), { kind: 'handled', id: one.id });
      }
      if (settled) {
        const { queue, offset } = stored;
        told.push({ kind: 'settled', queue, offset });
      }
      unsettled.set(key, settled ? [] : last);
      history.deliveries.push(told);
    }
    return history;
  });

function receivedOf(stored: Stored): OrderedEvent {
  return { ...stored, kind: 'received', atMs: 0, attempt: 1 };
}

function judge({ sent, deliveries, stored }: History) {
  const checker = new OrderedChecker();
  checker.apply([...sent, ...deliveries.flat(), ...stored]);
  return checker.check();
}

function keyOf({ sent }: History, id: number): number {
  const intent = sent.find((event) => event.kind === 'intent' && event.id === id);
  return intent?.kind === 'intent' ? intent.key : -1;
}

/** The next message of a message's key. */
function nextOf(history: History, id: number): Stored | undefined {
  return history.stored.find((one) => one.id > id && keyOf(history, one.id) === keyOf(history, id));
}

function withDeliveries(history: History, id: number, told: OrderedEvent[]): History {
  return { ...history, deliveries: history.deliveries.with(id, told) };
}

/** A fault, planted at a message; undefined where it does not apply. */
type Plant = (history: History, victim: Stored) => History | undefined;

const plants: { name: string; found: OrderedFault; plant: Plant }[] = [
  {
    name: 'an acknowledged message that is not stored',
    found: 'lost',
    plant: (history, { id }) => {
      const acked = history.sent.some((event) => event.kind === 'ack' && event.id === id);
      const stored = history.stored.filter((one) => one.id !== id);
      const deliveries = history.deliveries.map((told) =>
        told.filter((event) => !('id' in event) || event.id !== id),
      );
      return acked ? { ...history, deliveries, stored } : undefined;
    },
  },
  {
    name: 'messages of a key that are stored in another order',
    found: 'reordered',
    plant: (history, victim) => {
      const next = nextOf(history, victim.id);
      if (next === undefined) return undefined;
      const stored = history.stored.map((one) => {
        if (one === victim) return { ...one, offset: next.offset };
        return one === next ? { ...one, offset: victim.offset } : one;
      });
      return { ...history, stored };
    },
  },
  {
    name: 'a message in another queue than its key',
    found: 'reordered',
    plant: (history, victim) =>
      nextOf(history, victim.id) === undefined
        ? undefined
        : {
            ...history,
            stored: history.stored.map((one) =>
              one === victim ? { ...one, queue: one.queue + QUEUES } : one,
            ),
          },
  },
  {
    name: 'a message that comes before the one that is next',
    found: 'overtaking',
    plant: (history, { id }) => {
      const next = nextOf(history, id);
      if (next === undefined) return undefined;
      const told = [receivedOf(next), { kind: 'handled', id: next.id } as const];
      return withDeliveries(history, id, [...told, ...(history.deliveries[id] ?? [])]);
    },
  },
  {
    name: 'a message that comes while the one before it is worked on',
    found: 'overtaking',
    plant: (history, victim) => {
      const next = nextOf(history, victim.id);
      if (next === undefined) return undefined;
      const [first, ...rest] = history.deliveries[victim.id] ?? [];
      const told = [receivedOf(next), { kind: 'handled', id: next.id } as const];
      return withDeliveries(history, victim.id, [first as OrderedEvent, ...told, ...rest]);
    },
  },
  {
    name: 'a message that comes after the one before it has failed',
    found: 'overtaking',
    plant: (history, victim) => {
      const next = nextOf(history, victim.id);
      if (next === undefined) return undefined;
      const told: OrderedEvent[] = [
        ...[receivedOf(victim), { kind: 'failed', id: victim.id } as const],
        ...[receivedOf(next), { kind: 'handled', id: next.id } as const],
      ];
      return withDeliveries(history, victim.id, [
        ...told,
        ...(history.deliveries[victim.id] ?? []),
      ]);
    },
  },
  {
    name: 'a message that comes while the one before it has come again after a crash',
    found: 'overtaking',
    plant: (history, victim) => {
      const next = nextOf(history, victim.id);
      if (next === undefined) return undefined;
      const told = (history.deliveries[victim.id] ?? []).filter(({ kind }) => kind !== 'settled');
      return withDeliveries(history, victim.id, [
        ...told,
        ...[receivedOf(victim), receivedOf(next), { kind: 'handled', id: next.id } as const],
        ...[{ kind: 'handled', id: victim.id } as const],
      ]);
    },
  },
  {
    name: 'a delivery after the confirmed acknowledgement',
    found: 'redelivered',
    plant: (history, victim) => {
      const told = history.deliveries[victim.id] ?? [];
      const settled = told.some(({ kind }) => kind === 'settled');
      const again = [receivedOf(victim), { kind: 'handled', id: victim.id } as const];
      return settled ? withDeliveries(history, victim.id, [...told, ...again]) : undefined;
    },
  },
];

describe('the checker of ordered messages', () => {
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
        const victim = history.stored[choice % history.stored.length] as Stored;
        const broken = plant(history, victim);
        if (broken === undefined) return;
        planted++;
        expect(faultsFound(judge(broken))).toContain(found);
      }),
      { numRuns: 50 },
    );
    expect(planted).toBeGreaterThan(10);
  });
});
