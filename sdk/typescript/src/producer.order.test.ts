import { beforeEach, describe, expect, test } from 'vitest';
import type { Receipt } from './message.ts';
import type { Producer, ProducerOptions } from './producer.ts';
import { FakeRoutes } from './testing/fake-routes.ts';
import { ManualClock, turn } from './testing/manual-clock.ts';
import { FakeBroker, producerOf } from './transport/testing/fake-broker.ts';

let clock: ManualClock;
let routes: FakeRoutes;
let a: FakeBroker;
let b: FakeBroker;

function newProducer(options: ProducerOptions = {}): Producer {
  return producerOf({ 'a:1': a, 'b:1': b }, { routes: routes.routes, clock, events: [] }, options);
}

const passing = <Value>(promise: Promise<Value>, msMax?: number): Promise<Value> =>
  clock.until(promise, msMax);

/** Ordering keys whose queue is, while both are there, at broker a and at broker b. */
const KEY_OF_A = 'k0';
const KEY_OF_B = 'k1';

beforeEach(() => {
  clock = new ManualClock();
  routes = new FakeRoutes();
  a = new FakeBroker();
  b = new FakeBroker();
  routes.add('two', { a: 1, b: 1 });
  routes.add('four', { a: 2, b: 2 });
});

describe('the order', () => {
  test('of one key holds when there is no room, and when the route is still looked for', async () => {
    const producer = newProducer({ inFlightBytesMax: 2000 });
    const bodies = Array.from({ length: 500 }, (_, i) => `m${i}`);
    const sent: Promise<Receipt>[] = [];
    for (const [i, body] of bodies.entries()) {
      sent.push(producer.send('four', { body, orderingKey: 'k' }));
      if (i % 7 === 0) await turn();
    }
    const receipts = await passing(Promise.all(sent));
    expect(new Set(receipts.map(({ broker, queueId }) => `${broker} ${queueId}`)).size).toBe(1);
    expect([...a.bodies, ...b.bodies]).toEqual(bodies);
  });

  test('of answers may differ among topics, and every message gets its own', async () => {
    routes.add('slow', { a: 1 });
    routes.add('quick', { a: 1 });
    const producer = newProducer();
    a.answer = ({ topic }) => (topic === 'slow' ? 'unanswered' : 'stored');
    const answered: string[] = [];
    const send = (topic: string) =>
      producer.send(topic, { body: topic }).then(() => answered.push(topic));
    const slow = send('slow');
    await passing(send('quick'));
    const slower = send('slow');
    await passing(send('quick'));
    expect(answered).toEqual(['quick', 'quick']);

    // What has its answer is not sent again when the connection breaks, and what has none is.
    const frames = a.frames.length;
    a.answer = () => 'stored';
    a.breakOff();
    await passing(Promise.all([slow, slower]));
    expect(answered).toEqual(['quick', 'quick', 'slow', 'slow']);
    expect(a.frames.slice(frames).every(({ topic }) => topic === 'slow')).toBe(true);
    expect([...a.bodies].sort()).toEqual(['quick', 'quick', 'slow', 'slow']);
  });

  test('of one queue holds after refusals', async () => {
    const producer = newProducer();
    let refuse = 5;
    a.answer = () => (refuse-- > 0 ? { reason: 'OVERLOADED' } : 'stored');
    const bodies = Array.from({ length: 1000 }, (_, i) => `m${i}`);
    await passing(
      Promise.all(
        bodies.map((body) => producer.send('two', { body, queue: { broker: 'a', queueId: 0 } })),
      ),
    );
    expect(a.bodies).toEqual(bodies);
  });
});

describe('the queue of an ordering key', () => {
  const sendTo = (producer: Producer, key: string, body: string): Promise<Receipt> =>
    producer.send('two', { body, orderingKey: key });

  async function warm(): Promise<Producer> {
    const producer = newProducer({ deadlineMs: 5000 });
    expect(await passing(sendTo(producer, KEY_OF_A, 'a0'))).toMatchObject({ broker: 'a' });
    expect(await passing(sendTo(producer, KEY_OF_B, 'b0'))).toMatchObject({ broker: 'b' });
    return producer;
  }

  test('stays at a broker group that leaves the route: messages wait for it, in order', async () => {
    const producer = await warm();
    routes.add('two', { a: 1 });
    const waiting = [1, 2, 3].map((i) => sendTo(producer, KEY_OF_B, `b${i}`));
    await clock.advance(1000);
    expect(await passing(sendTo(producer, KEY_OF_A, 'a1'))).toMatchObject({ broker: 'a' });
    expect([a.bodies, b.bodies]).toEqual([['a0', 'a1'], ['b0']]);
    routes.add('two', { a: 1, b: 1 });
    await passing(Promise.all(waiting), 1000);
    expect([a.bodies, b.bodies]).toEqual([
      ['a0', 'a1'],
      ['b0', 'b1', 'b2', 'b3'],
    ]);
  });

  test('at a broker group that does not come back fails its messages at their deadline, and says what to do', async () => {
    const producer = await warm();
    routes.add('two', { a: 1 });
    const failure = await passing(sendTo(producer, KEY_OF_B, 'b1').catch((e: unknown) => e));
    expect(failure).toMatchObject({ code: 'BROKER_UNREACHABLE', retryable: true });
    expect((failure as Error).message).toContain('broker group b');
    expect(b.bodies).toEqual(['b0']);
    expect(a.bodies).toEqual(['a0']);
  });

  test('keeps messages that had not left for a broker group before it left the route', async () => {
    const producer = newProducer({ deadlineMs: 5000 });
    b.up = false;
    const kept = sendTo(producer, KEY_OF_B, 'kept');
    await clock.advance(500);
    routes.add('two', { a: 1 });
    b.up = true;
    await clock.advance(2000);
    expect(b.bodies).toEqual([]);
    routes.add('two', { a: 1, b: 1 });
    expect(await passing(kept)).toMatchObject({ broker: 'b' });
  });

  test('that a sender has chosen is waited for as well', async () => {
    const producer = await warm();
    routes.add('two', { a: 1 });
    const last = producer.send('two', { body: 'b1', queue: (queues) => queues.at(-1) as never });
    await clock.advance(1000);
    routes.add('two', { a: 1, b: 1 });
    expect(await passing(last)).toMatchObject({ broker: 'b', offset: 1 });
  });

  test('is chosen among all again when a broker group is added', async () => {
    const producer = newProducer();
    const send = (): Promise<Receipt> =>
      producer.send('grows', { body: 'x', orderingKey: KEY_OF_B });
    routes.add('grows', { a: 1 });
    expect(await passing(send())).toMatchObject({ broker: 'a' });
    routes.add('grows', { a: 1, b: 1 });
    expect(await passing(send())).toMatchObject({ broker: 'b' });
  });
});

describe('messages without an ordering key', () => {
  test('go to the broker groups that are there at once, also those that were on their way', async () => {
    const producer = newProducer({ deadlineMs: 5000 });
    await passing(producer.send('two', { body: 'warm' }));
    a.answer = () => 'silence';
    b.answer = () => 'silence';
    for (let i = 0; i < 2; i++) {
      producer.sendOneWay('two', { body: 'unanswered' });
      await turn();
    }
    const waiting: Promise<Receipt>[] = [];
    for (let i = 0; i < 2; i++) {
      waiting.push(producer.send('two', { body: `waiting${i}` }));
      await turn();
    }
    routes.add('two', { a: 1 });
    a.answer = () => 'stored';
    a.breakOff();
    const receipts = await passing(Promise.all(waiting), 1000);
    expect(new Set(receipts.map(({ broker }) => broker))).toEqual(new Set(['a']));
  });

  test('wait when there is none, and go to the first one that comes', async () => {
    const producer = newProducer({ deadlineMs: 5000 });
    await passing(producer.send('two', { body: 'warm' }));
    routes.add('two', {});
    const waiting = [1, 2].map(async (i) => {
      for (let wait = 0; wait < i; wait++) await turn();
      return producer.send('two', { body: `m${i}` });
    });
    await clock.advance(1000);
    routes.add('two', { b: 1 });
    const receipts = await passing(Promise.all(waiting), 1000);
    expect(new Set(receipts.map(({ broker }) => broker))).toEqual(new Set(['b']));
  });
});
