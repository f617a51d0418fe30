import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Checker } from './checker.ts';
import type { FaultKind } from './ledger.ts';
import { type LedgerEvent, LedgerWriter, readLedger } from './ledger-event.ts';
import { faultsFound, formatReport } from './report.ts';
import { TempDir } from './temp-dir.ts';

const PRODUCERS = 3;
const SCAN = 0;
const GROUP = 1;

type Received = Extract<LedgerEvent, { kind: 'received' }>;

/** What a healthy broker did: sends, a scan of all queues, and a group that reads and settles. */
interface History {
  readonly sends: LedgerEvent[];
  /** What the queues hold, by queue and offset. */
  readonly stored: Received[];
  readonly deliveries: LedgerEvent[];
  readonly closing: LedgerEvent[];
}

const outcome = fc.constantFrom('ack', 'ack', 'ack', 'fail', 'unknown, stored', 'unknown, absent');

const anyHistory = fc
  .record({
    queues: fc.integer({ min: 1, max: 3 }),
    begin: fc.integer({ min: 0, max: 5 }),
    messages: fc.array(
      fc.record({
        producer: fc.nat(PRODUCERS - 1),
        digest: fc.nat(0xffffffff),
        key: fc.nat(4),
        outcome,
        redelivered: fc.boolean(),
      }),
      { minLength: 40, maxLength: 120 },
    ),
  })
  .map(({ queues, begin, messages }): History => {
    const ids = new Array<number>(PRODUCERS).fill(0);
    const ends = new Array<number>(queues).fill(begin);
    const history: History = { sends: [], stored: [], deliveries: [], closing: [] };
    for (const [turn, { producer, digest, key, outcome, redelivered }] of messages.entries()) {
      const id = ids[producer] as number;
      ids[producer] = id + 1;
      history.sends.push({ kind: 'intent', producer, id, digest, key });
      if (outcome === 'fail') history.sends.push({ kind: 'fail', producer, id });
      if (outcome.startsWith('unknown')) history.sends.push({ kind: 'unknown', producer, id });
      if (outcome === 'fail' || outcome === 'unknown, absent') continue;
      const queue = (key === 0 ? turn : key) % queues;
      const offset = ends[queue] as number;
      ends[queue] = offset + 1;
      if (outcome === 'ack') history.sends.push({ kind: 'ack', producer, id, queue, offset });
      const received: Received = {
        kind: 'received',
        reader: SCAN,
        producer,
        id,
        queue,
        offset,
        digest,
      };
      history.stored.push(received);
      const delivery: LedgerEvent = { ...received, reader: GROUP };
      history.deliveries.push(delivery, ...(redelivered ? [delivery] : []));
      history.deliveries.push({ kind: 'settled', reader: GROUP, queue, offset });
    }
    for (const [queue, offset] of ends.entries()) {
      history.closing.push({ kind: 'progress', reader: GROUP, queue, offset, waiting: 0 });
      history.closing.push({ kind: 'range', queue, begin, offset });
    }
    return history;
  });

function eventsOf(history: History): LedgerEvent[] {
  return [...history.sends, ...history.deliveries, ...history.stored, ...history.closing];
}

function judge(events: Iterable<LedgerEvent>) {
  const checker = new Checker({ producers: PRODUCERS, readers: 2 });
  checker.apply(events);
  return checker.check();
}

/** Replaces every event of the message at a place: as if the broker had done it to all its readers. */
function everywhere(
  history: History,
  victim: Received,
  change: (event: Received) => LedgerEvent[],
): History {
  const apply = (event: LedgerEvent) =>
    event.kind === 'received' && event.queue === victim.queue && event.offset === victim.offset
      ? change(event)
      : [event];
  return {
    ...history,
    stored: history.stored.flatMap(apply) as Received[],
    deliveries: history.deliveries.flatMap(apply),
  };
}

function isAcked(history: History, victim: Received): boolean {
  return history.sends.some(
    (event) =>
      event.kind === 'ack' && event.queue === victim.queue && event.offset === victim.offset,
  );
}

function endOf(history: History, queue: number): number {
  return 1 + Math.max(...history.stored.filter((e) => e.queue === queue).map((e) => e.offset));
}

function addAtEnd(history: History, received: Received): History {
  return {
    ...history,
    stored: [...history.stored, received],
    deliveries: [...history.deliveries, { ...received, reader: GROUP }],
    closing: history.closing.filter((event) => event.kind !== 'range'),
  };
}

/** A fault, planted into a healthy history at one stored message; undefined where it does not apply. */
type Plant = (history: History, victim: Received) => History | undefined;

const plants: { name: string; found: FaultKind; plant: Plant }[] = [
  {
    name: 'an acknowledged message that is missing from the log',
    found: 'lost',
    plant: (history, victim) =>
      isAcked(history, victim) ? everywhere(history, victim, () => []) : undefined,
  },
  {
    name: 'a stored message that the group never got',
    found: 'lost',
    plant: (history, victim) =>
      everywhere(history, victim, (event) => (event.reader === GROUP ? [] : [event])),
  },
  {
    name: 'a message that is stored twice',
    found: 'duplicated',
    plant: (history, victim) =>
      addAtEnd(history, { ...victim, offset: endOf(history, victim.queue) }),
  },
  {
    name: 'two messages of an ordering key that changed places',
    found: 'reordered',
    plant: (history, victim) => {
      const key = (message: Received) =>
        history.sends.find(
          (event) =>
            event.kind === 'intent' &&
            event.producer === message.producer &&
            event.id === message.id,
        ) as Extract<LedgerEvent, { kind: 'intent' }>;
      const other = history.stored.find(
        (message) =>
          message.id > victim.id &&
          message.producer === victim.producer &&
          key(message).key === key(victim).key,
      );
      if (key(victim).key === 0 || other === undefined) return undefined;
      const content = ({ producer, id, digest }: Received) => ({ producer, id, digest });
      const swapped = everywhere(history, victim, (event) => [{ ...event, ...content(other) }]);
      return everywhere(swapped, other, (event) => [{ ...event, ...content(victim) }]);
    },
  },
  {
    name: 'a message with another body',
    found: 'altered',
    plant: (history, victim) =>
      everywhere(history, victim, (event) => [{ ...event, digest: event.digest ^ 1 }]),
  },
  {
    name: 'a message that nobody sent',
    found: 'unexpected',
    plant: (history, victim) =>
      everywhere(history, victim, (event) => [{ ...event, id: 4_000_000_000 }]),
  },
  {
    name: 'a message of a producer that does not exist',
    found: 'unexpected',
    plant: (history, victim) =>
      everywhere(history, victim, (event) => [{ ...event, producer: PRODUCERS }]),
  },
  {
    name: 'a refused message that is stored',
    found: 'unexpected',
    plant: (history, victim) => ({
      ...history,
      sends: [...history.sends, { kind: 'fail', producer: victim.producer, id: victim.id }],
    }),
  },
  {
    name: 'an acknowledgement with another offset than the message has',
    found: 'moved',
    plant: (history, victim) =>
      isAcked(history, victim)
        ? {
            ...history,
            sends: history.sends.map((event) =>
              event.kind === 'ack' && event.queue === victim.queue && event.offset === victim.offset
                ? { ...event, offset: endOf(history, victim.queue) }
                : event,
            ),
          }
        : undefined,
  },
  {
    name: 'an offset that held another message for an earlier reader',
    found: 'moved',
    plant: (history, victim) => {
      const other = history.stored.find((message) => message.id !== victim.id);
      if (other === undefined) return undefined;
      const delivery: Received = { ...victim, reader: GROUP, id: other.id };
      const intended = history.stored.some(
        ({ producer, id }) => producer === victim.producer && id === other.id,
      );
      return intended ? { ...history, deliveries: [delivery, ...history.deliveries] } : undefined;
    },
  },
  {
    name: 'an offset that holds nothing',
    found: 'gap',
    plant: (history, victim) => everywhere(history, victim, () => []),
  },
  {
    name: 'a queue that ends behind its last message',
    found: 'gap',
    plant: (history) => ({
      ...history,
      closing: history.closing.map((event) =>
        event.kind === 'range' ? { ...event, offset: event.offset + 1 } : event,
      ),
    }),
  },
  {
    name: 'progress ahead of what was delivered',
    found: 'progressAhead',
    plant: (history, victim) => ({
      ...history,
      closing: [
        ...history.closing,
        {
          kind: 'progress',
          reader: GROUP,
          queue: victim.queue,
          offset: endOf(history, victim.queue) + 1,
          waiting: 0,
        },
      ],
    }),
  },
  {
    name: 'a delivery after the confirmed settlement',
    found: 'redelivered',
    plant: (history, victim) => ({
      ...history,
      deliveries: [...history.deliveries, { ...victim, reader: GROUP }],
    }),
  },
];

describe('the checker', () => {
  test('finds nothing in a healthy history', () => {
    fc.assert(
      fc.property(anyHistory, (history) => {
        const report = judge(eventsOf(history));
        expect(formatReport(report)).toContain('no faults');
        expect(faultsFound(report)).toEqual([]);
      }),
      { numRuns: 50 },
    );
  });

  test('finds nothing when readers come before producers are heard, and accepts progress that waits', () => {
    fc.assert(
      fc.property(anyHistory, (history) => {
        const victim = history.stored[0] as Received;
        const ahead: LedgerEvent = {
          kind: 'progress',
          reader: GROUP,
          queue: victim.queue,
          offset: endOf(history, victim.queue) + 1,
          waiting: 1,
        };
        expect(faultsFound(judge([...eventsOf(history), ahead]))).toEqual([]);
      }),
      { numRuns: 20 },
    );
  });

  test.each(plants)('finds $name', ({ found, plant }) => {
    let planted = 0;
    fc.assert(
      fc.property(anyHistory, fc.nat(), (history, choice) => {
        if (history.stored.length === 0) return;
        const victim = history.stored[choice % history.stored.length] as Received;
        const broken = plant(history, victim);
        if (broken === undefined) return;
        planted++;
        expect(faultsFound(judge(eventsOf(broken)))).toContain(found);
      }),
      { numRuns: 50 },
    );
    expect(planted).toBeGreaterThan(10);
  });

  test('finds one fault among a hundred thousand messages and names it', () => {
    function* events(): Generator<LedgerEvent> {
      const messages = Array.from({ length: 100_000 }, (_, id) => ({ producer: 0, id, queue: 0 }));
      for (const { id } of messages) yield { kind: 'intent', producer: 0, id, digest: id, key: 0 };
      for (const message of messages) yield { kind: 'ack', ...message, offset: message.id };
      for (const message of messages) {
        const digest = message.id === 77_777 ? 0 : message.id;
        for (const reader of [SCAN, GROUP])
          yield { kind: 'received', reader, ...message, offset: message.id, digest };
      }
    }
    const report = judge(events());
    expect(faultsFound(report)).toEqual(['altered']);
    expect(report.faults.altered.first[0]).toBe('producer 0 message 77777 at queue 0 offset 77777');
  });

  test('keeps the first twenty examples of many faults, and what was done to the system', () => {
    const checker = new Checker({ producers: 1, readers: 1 });
    checker.ledger.note('kill -9');
    for (let id = 0; id < 50; id++) {
      checker.apply([
        { kind: 'intent', producer: 0, id, digest: 0, key: 0 },
        { kind: 'ack', producer: 0, id, queue: 0, offset: id },
      ]);
    }
    const report = checker.check();
    expect(report.faults.lost.count).toBe(50);
    expect(report.faults.lost.first).toHaveLength(20);
    expect(formatReport(report)).toMatch(/T[\d:.]+Z kill -9$/);
  });
});

describe('a ledger file', () => {
  test('gives back the events that were written, in order, also those appended later', async () => {
    await using folder = await TempDir.create('ledger');
    const path = join(folder.path, 'ledger');
    let files = 0;
    fc.assert(
      fc.property(fc.array(anyHistory, { maxLength: 3 }), (histories) => {
        const events = histories.flatMap(eventsOf);
        const file = `${path}-${files++}`;
        for (const half of [events.slice(0, 50), events.slice(50)]) {
          const writer = new LedgerWriter(file);
          for (const event of half) writer.write(event);
          writer.close();
        }
        expect([...readLedger(file)]).toEqual(events);
      }),
      { numRuns: 20 },
    );
  });

  test('is larger than one buffer and cut in the middle of an event: whole events are read', async () => {
    await using folder = await TempDir.create('ledger');
    const path = join(folder.path, 'ledger');
    const writer = new LedgerWriter(path);
    for (let id = 0; id < 10_000; id++) writer.write({ kind: 'unknown', producer: 1, id });
    writer.close();
    appendFileSync(path, 'torn');
    const ids = [...readLedger(path)].map((event) => (event.kind === 'unknown' ? event.id : -1));
    expect(ids).toEqual(Array.from({ length: 10_000 }, (_, id) => id));
  });
});
