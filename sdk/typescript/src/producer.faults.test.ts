import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { ClientEvent } from './events.ts';
import type { Receipt } from './message.ts';
import { FakeRoutes } from './testing/fake-routes.ts';
import { ManualClock } from './testing/manual-clock.ts';
import { FakeBroker, producerOf } from './transport/testing/fake-broker.ts';

const event = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('send' as const),
      topic: fc.constantFrom('both', 'four of a'),
      count: fc.integer({ min: 1, max: 5 }),
      keyed: fc.boolean(),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('pass' as const),
      ms: fc.constantFrom(1, 20, 60, 110, 400),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('answer' as const),
      broker: fc.nat(1),
      reason: fc.constantFrom('', '', 'NOT_MASTER', 'DISK_FULL'),
    }),
  },
  fc.record({ kind: fc.constant('break' as const), broker: fc.nat(1) }),
  fc.record({ kind: fc.constant('up' as const), broker: fc.nat(1), up: fc.boolean() }),
  // A machine that neither answers nor refuses.
  fc.record({ kind: fc.constant('hole' as const), broker: fc.nat(1), hole: fc.boolean() }),
  // Another member leads the group, and has what this one had.
  fc.record({ kind: fc.constant('move' as const), port: fc.constantFrom(1, 2) }),
  // Nobody leads the group for a moment.
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('leave' as const) }) },
);

test('whatever is refused and whenever connections break, every message is stored once, and where its receipt says', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(event, { minLength: 5, maxLength: 60 }), async (events) => {
      const clock = new ManualClock();
      const routes = new FakeRoutes();
      const brokers = [new FakeBroker(), new FakeBroker()] as const;
      const topics = (port: number): void => {
        routes.add('both', { a: 2, b: 2 }, port);
        routes.add('four of a', { a: 4 }, port);
      };
      topics(1);
      const told: ClientEvent[] = [];
      const producer = producerOf(
        { 'a:1': brokers[0], 'a:2': brokers[0], 'b:1': brokers[1], 'b:2': brokers[1] },
        { routes: routes.routes, clock, events: told },
        { deadlineMs: 600_000 },
      );
      const sends: Promise<Receipt>[] = [];
      const at = (index: number): FakeBroker => brokers[index] as FakeBroker;
      for (const one of events) {
        if (one.kind === 'send') {
          for (let i = 0; i < one.count; i++) {
            sends.push(
              producer.send(one.topic, {
                body: `message ${sends.length}`,
                ...(one.keyed ? { orderingKey: `key ${i}` } : {}),
              }),
            );
          }
        } else if (one.kind === 'move') topics(one.port);
        else if (one.kind === 'leave') {
          routes.add('both', { b: 2 });
          routes.add('four of a', {});
        } else if (one.kind === 'hole') at(one.broker).blackHole = one.hole;
        else if (one.kind === 'pass') await clock.advance(one.ms);
        else if (one.kind === 'break') at(one.broker).breakOff();
        else if (one.kind === 'up') {
          at(one.broker).up = one.up;
          if (!one.up) at(one.broker).breakOff();
        } else {
          const { reason } = one;
          at(one.broker).answer = () => (reason === '' ? 'stored' : { reason });
        }
      }
      topics(1);
      for (const broker of brokers) {
        broker.up = true;
        broker.blackHole = false;
        broker.answer = () => 'stored';
      }
      const receipts = await clock.until(Promise.all(sends), 60_000);
      for (const [i, { broker, queueId, offset }] of receipts.entries()) {
        expect(at(broker === 'a' ? 0 : 1).queues.get(queueId)?.[offset]).toBe(`message ${i}`);
      }
      expect(brokers.flatMap(({ bodies }) => bodies).sort()).toEqual(
        sends.map((_, i) => `message ${i}`).sort(),
      );
    }),
    { numRuns: 300 },
  );
}, 60_000);
