import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DelayedChecker, type DelayedEvent, type DelayedFault } from './delayed-checker.ts';
import { faultsFound, formatReport } from './report.ts';

const SENT_MS = 1_000_000;
const QUEUES = 3;

/** What became of a message: of its send, and of a recall. */
const outcome = fc.constantFrom(
  'delivered',
  'delivered',
  'delivered',
  'unknown, absent',
  'unknown, delivered',
  'recalled',
  'recalled too late',
  'recall unknown, delivered',
  'recall unknown, absent',
  'recall unknown and then refused, absent',
);

interface History {
  readonly sent: DelayedEvent[];
  readonly deliveries: DelayedEvent[];
  readonly stored: Extract<DelayedEvent, { kind: 'stored' }>[];
}

const anyHistory = fc
  .array(
    fc.record({
      outcome,
      delayMs: fc.integer({ min: 0, max: 10_000 }),
      lateMs: fc.nat(3000),
      redelivered: fc.boolean(),
    }),
    { minLength: 30, maxLength: 80 },
  )
  .map((messages): History => {
    const history: History = { sent: [], deliveries: [], stored: [] };
    for (const [id, { outcome, delayMs, lateMs, redelivered }] of messages.entries()) {
      const dueMs = SENT_MS + id + delayMs;
      history.sent.push({ kind: 'intent', id, digest: id, dueMs });
      if (!outcome.startsWith('unknown')) history.sent.push({ kind: 'ack', id });
      if (outcome.startsWith('recall')) history.sent.push({ kind: 'recalling', id });
      if (outcome === 'recalled') history.sent.push({ kind: 'recalled', id });
      if (outcome.includes('and then')) history.sent.push({ kind: 'recalling', id });
      if (outcome === 'recalled too late' || outcome.includes('and then')) {
        history.sent.push({ kind: 'recallRefused', id });
      }
      if (outcome.endsWith('absent') || outcome === 'recalled') continue;
      const place = { queue: id % QUEUES, offset: history.stored.length };
      const sighting = { id, digest: id, ...place, storeMs: dueMs + lateMs };
      const atMs = sighting.storeMs + 1;
      const received: DelayedEvent = { kind: 'received', attempt: 1, atMs, ...sighting };
      history.deliveries.push(received, ...(redelivered ? [received] : []));
      history.deliveries.push({ kind: 'settled', ...place });
      history.stored.push({ kind: 'stored', ...sighting });
    }
    return history;
  });

function judge({ sent, deliveries, stored }: History) {
  const checker = new DelayedChecker();
  checker.apply([...sent, ...deliveries, ...stored]);
  return checker.check();
}

/** Changes what is seen of one message, by whoever sees it. */
function seen(
  history: History,
  id: number,
  change: (event: DelayedEvent) => DelayedEvent[],
): History {
  const apply = (event: DelayedEvent) =>
    (event.kind === 'received' || event.kind === 'stored') && event.id === id
      ? change(event)
      : [event];
  return {
    ...history,
    deliveries: history.deliveries.flatMap(apply),
    stored: history.stored.flatMap(apply) as History['stored'],
  };
}

type Plant = (history: History, id: number) => History;

const isSure = ({ sent }: History, id: number): boolean =>
  sent.some((event) => event.kind === 'ack' && event.id === id) &&
  sent.filter((event) => event.kind === 'recalling' && event.id === id).length ===
    sent.filter((event) => event.kind === 'recallRefused' && event.id === id).length;

const plants: { name: string; found: DelayedFault; where?: typeof isSure; plant: Plant }[] = [
  {
    name: 'an acknowledged message that never came',
    found: 'lost',
    where: isSure,
    plant: (history, id) => seen(history, id, () => []),
  },
  {
    name: 'a message that was released before its time',
    found: 'early',
    plant: (history, id) =>
      seen(history, id, (event) => [{ ...event, storeMs: SENT_MS + id - 10 } as DelayedEvent]),
  },
  {
    name: 'a message that came before its time, whatever the broker says',
    found: 'early',
    plant: (history, id) =>
      seen(history, id, (event) => [
        event.kind === 'received' ? { ...event, atMs: SENT_MS + id - 10 } : event,
      ]),
  },
  {
    name: 'a message that came after its recall was answered',
    found: 'recalled',
    plant: (history, id) => ({
      ...history,
      sent: [...history.sent, { kind: 'recalling', id }, { kind: 'recalled', id }],
    }),
  },
  {
    name: 'a message that was released twice',
    found: 'duplicated',
    plant: (history, id) =>
      seen(history, id, (event) =>
        event.kind === 'stored' ? [event, { ...event, offset: 1000 }] : [event],
      ),
  },
  {
    name: 'a delivery after the confirmed acknowledgement',
    found: 'redelivered',
    plant: (history, id) => ({
      ...history,
      deliveries: [
        ...history.deliveries,
        ...history.deliveries.filter((event) => event.kind === 'received' && event.id === id),
      ],
    }),
  },
];

describe('the checker of delayed messages', () => {
  test('finds nothing in a healthy history', () => {
    fc.assert(
      fc.property(anyHistory, (history) => {
        const report = judge(history);
        expect(faultsFound(report), formatReport(report)).toEqual([]);
      }),
      { numRuns: 50 },
    );
  });

  test.each(plants)('finds $name', ({ found, where, plant }) => {
    let planted = 0;
    fc.assert(
      fc.property(anyHistory, fc.nat(), (history, choice) => {
        const victims = history.stored.filter(({ id }) => where?.(history, id) ?? true);
        const victim = victims[choice % Math.max(1, victims.length)];
        if (victim === undefined) return;
        planted++;
        expect(faultsFound(judge(plant(history, victim.id)))).toEqual([found]);
      }),
      { numRuns: 50 },
    );
    expect(planted).toBeGreaterThan(10);
  });
});
