import { beforeEach, describe, expect, test } from 'vitest';
import { isMqError, MqError } from './errors.ts';
import type { ClientEvent } from './events.ts';
import type { Receipt } from './message.ts';
import type { Producer, ProducerOptions } from './producer.ts';
import { FakeRoutes } from './testing/fake-routes.ts';
import { ManualClock, turn } from './testing/manual-clock.ts';
import { FakeBroker, producerOf } from './transport/testing/fake-broker.ts';

let clock: ManualClock;
let routes: FakeRoutes;
let events: ClientEvent[];
let a: FakeBroker;
let b: FakeBroker;
/** Where broker a is after it has moved. */
let moved: FakeBroker;

function newProducer(options: ProducerOptions = {}): Producer {
  const brokers = { 'a:1': a, 'b:1': b, 'a:2': moved };
  return producerOf(brokers, { routes: routes.routes, clock, events }, options);
}

/** The code of the error that a promise fails with. */
async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    return isMqError(error) ? (error as MqError).code : String(error);
  }
  return 'stored';
}

const passing = <Value>(promise: Promise<Value>, msMax?: number): Promise<Value> =>
  clock.until(promise, msMax);

beforeEach(() => {
  clock = new ManualClock();
  routes = new FakeRoutes();
  events = [];
  a = new FakeBroker();
  b = new FakeBroker();
  moved = new FakeBroker();
  routes.add('one', { a: 1 });
  routes.add('two', { a: 1, b: 1 });
  routes.add('four', { a: 2, b: 2 });
});

describe('batching', () => {
  test('a lone send leaves in the turn in which it was made', async () => {
    const producer = newProducer();
    await passing(producer.send('one', { body: 'first' }));
    const sent = producer.send('one', { body: 'second' });
    await Promise.resolve();
    await Promise.resolve();
    expect(a.frames).toHaveLength(2);
    expect(await sent).toMatchObject({ broker: 'a', queueId: 0, offset: 1 });
  });

  test('sends of one turn travel together, at most 256 in a frame', async () => {
    const producer = newProducer();
    await passing(
      producer.sendBatch(
        'one',
        Array.from({ length: 600 }, (_, i) => ({ body: `m${i}` })),
      ),
    );
    expect(a.frames.map(({ messages }) => messages.length)).toEqual([256, 256, 88]);
    expect(a.bodies).toEqual(Array.from({ length: 600 }, (_, i) => `m${i}`));
  });

  test('a frame has at most 256 KiB unless one message is larger', async () => {
    const producer = newProducer();
    const messages = [1, 100, 100, 300, 1].map((kib) => ({ body: new Uint8Array(kib << 10) }));
    await passing(producer.sendBatch('one', messages));
    expect(a.frames.map((frame) => frame.messages.length)).toEqual([3, 1, 1]);
  });

  test('sends made while a frame is in flight travel together behind it', async () => {
    const producer = newProducer();
    await passing(producer.send('one', { body: 'warm' }));
    const sent = [producer.send('one', { body: 'x' })];
    await Promise.resolve();
    for (let i = 0; i < 10; i++) {
      sent.push(producer.send('one', { body: `y${i}` }));
      await Promise.resolve();
    }
    await passing(Promise.all(sent));
    expect(a.frames.map(({ messages }) => messages.length)).toEqual([1, 1, 10]);
  });

  test('one query finds the route for all that are sent meanwhile', async () => {
    const producer = newProducer();
    await passing(
      Promise.all(Array.from({ length: 50 }, () => producer.send('one', { body: 'x' }))),
    );
    expect(routes.queries).toBe(1);
  });
});

describe('a broker that is away from the start', () => {
  test('costs nothing: messages that need not go there go to another one', async () => {
    a.up = false;
    const producer = newProducer();
    const sent = Array.from({ length: 20 }, async (_, i) => {
      for (let wait = 0; wait < i; wait++) await turn();
      return producer.send('two', { body: `m${i}` });
    });
    const receipts = await passing(Promise.all(sent), 2000);
    expect(new Set(receipts.map(({ broker }) => broker))).toEqual(new Set(['b']));
  });

  test('that swallows connections is given up after some seconds', async () => {
    a.blackHole = true;
    const producer = newProducer();
    const sent = ['a', 'b'].map((broker) =>
      producer.send('two', { body: broker, orderingKey: broker === 'a' ? 'k1' : 'k2' }),
    );
    const free = Array.from({ length: 4 }, async (_, i) => {
      for (let wait = 0; wait < i; wait++) await turn();
      return producer.send('two', { body: 'free' });
    });
    const receipts = await passing(Promise.all(free), 5000);
    expect(new Set(receipts.map(({ broker }) => broker))).toEqual(new Set(['b']));
    await passing(Promise.allSettled(sent));
  });

  test('keeps a message that must go there until the deadline, and says how to mend it', async () => {
    a.up = false;
    const producer = newProducer();
    const sent = producer.send('two', { body: 'x', queue: { broker: 'a', queueId: 0 } });
    const failure = await passing(sent.catch((error: unknown) => error));
    expect(failure).toMatchObject({ code: 'BROKER_UNREACHABLE', retryable: true });
    expect((failure as Error).message).toContain('--advertise');
    expect(clock.monotonicMs()).toBeGreaterThanOrEqual(9900);
  });

  test('gets a message that must go there when it comes', async () => {
    a.up = false;
    const producer = newProducer();
    const sent = producer.send('two', { body: 'x', queue: { broker: 'a', queueId: 0 } });
    await clock.advance(3000);
    a.up = true;
    expect(await passing(sent)).toMatchObject({ broker: 'a', offset: 0 });
  });

  test('is not piled up with frames that nobody waits for', async () => {
    a.up = false;
    const producer = newProducer({ deadlineMs: 500 });
    for (let i = 0; i < 20; i++) {
      await passing(codeOf(producer.send('one', { body: `old${i}` })));
    }
    a.up = true;
    await passing(producer.send('one', { body: 'new' }, { deadlineMs: 5000 }));
    expect(a.bodies).toEqual(['new']);
  });
});

describe('a connection that breaks', () => {
  test('has unanswered frames sent again, in order, with the same sequences, and stored once', async () => {
    const producer = newProducer();
    await passing(producer.send('one', { body: 'warm' }));
    let silent = 3;
    a.answer = (frame) => {
      if (silent-- > 0) {
        // Stored, and the answer is lost.
        if (silent === 2) a.answer(frame);
        return 'silence';
      }
      return 'stored';
    };
    const messages = Array.from({ length: 700 }, (_, i) => ({ body: `m${i}` }));
    const sent = producer.sendBatch('one', messages);
    await turn();
    const before = a.frames.slice(1).map(({ sequence, producerId }) => `${producerId} ${sequence}`);
    a.breakOff();
    const outcomes = await passing(sent);
    expect(outcomes.every(({ status }) => status === 'stored')).toBe(true);
    expect(a.bodies).toEqual(['warm', ...messages.map(({ body }) => body)]);
    const again = a.frames
      .slice(1 + before.length)
      .map(({ sequence, producerId }) => `${producerId} ${sequence}`);
    expect(again.slice(0, before.length)).toEqual(before);
  });

  test('while nothing is under way does not keep messages away from the broker for long', async () => {
    const producer = newProducer();
    for (let i = 0; i < 4; i++) await passing(producer.send('two', { body: `m${i}` }));
    a.breakOff();
    await clock.advance(10_000);
    const receipts: Receipt[] = [];
    for (let i = 0; i < 4; i++) receipts.push(await passing(producer.send('two', { body: 'x' })));
    expect(new Set(receipts.map(({ broker }) => broker))).toEqual(new Set(['a', 'b']));
  });

  test('leads to where the broker has moved meanwhile, with everything that has no answer', async () => {
    const producer = newProducer();
    await passing(producer.send('one', { body: 'x' }));
    a.answer = () => 'silence';
    const sent = producer.send('one', { body: 'y' });
    await clock.advance(10);
    routes.add('one', { a: 1 }, 2);
    a.up = false;
    a.breakOff();
    await passing(sent);
    expect(moved.bodies).toEqual(['y']);
  });

  test('is told as an event, and so is the next one', async () => {
    const producer = newProducer();
    await passing(producer.send('one', { body: 'x' }));
    a.breakOff();
    await passing(producer.send('one', { body: 'y' }));
    expect(events.map(({ type }) => type)).toEqual(['connected', 'disconnected', 'connected']);
  });
});

describe('a frame whose fate stays unknown', () => {
  test('fails with OUTCOME_UNKNOWN, and the queue goes on under a new producer id', async () => {
    const producer = newProducer({ deadlineMs: 1000 });
    a.answer = () => 'silence';
    expect(await passing(codeOf(producer.send('one', { body: 'lost' })))).toBe('OUTCOME_UNKNOWN');
    a.answer = () => 'stored';
    expect(await passing(producer.send('one', { body: 'next' }))).toMatchObject({ offset: 0 });
    const [first, second] = a.frames;
    expect(second?.producerId).not.toBe(first?.producerId);
    expect(second?.sequence).toBe(0n);
  });

  test('does not stop the queue when the connection breaks, either', async () => {
    const producer = newProducer({ deadlineMs: 1000 });
    a.answer = () => 'silence';
    const lost = codeOf(producer.send('one', { body: 'lost' }));
    await clock.advance(500);
    a.up = false;
    a.breakOff();
    expect(await passing(lost)).toBe('OUTCOME_UNKNOWN');
    a.up = true;
    a.answer = () => 'stored';
    expect(await passing(codeOf(producer.send('one', { body: 'next' })))).toBe('stored');
    expect(a.bodies).toEqual(['next']);
  });

  test('leaves what was sent behind it in order', async () => {
    const producer = newProducer({ deadlineMs: 1000 });
    let silent = true;
    a.answer = () => (silent ? 'silence' : 'stored');
    const lost = codeOf(producer.send('one', { body: 'lost' }));
    await clock.advance(600);
    const kept = Array.from({ length: 300 }, (_, i) => producer.send('one', { body: `k${i}` }));
    await clock.advance(500);
    expect(await lost).toBe('OUTCOME_UNKNOWN');
    silent = false;
    a.breakOff();
    const last = producer.send('one', { body: 'last' });
    await passing(Promise.all([...kept, last]));
    expect(a.bodies).toEqual([...Array.from({ length: 300 }, (_, i) => `k${i}`), 'last']);
  });
});

describe('a refusal', () => {
  test('of one message fails it alone, and the others are stored in order', async () => {
    const producer = newProducer();
    a.answer = ({ messages }) =>
      messages.some(({ tag }) => tag === 'a|b') ? { reason: 'INVALID_TAG' } : 'stored';
    const outcomes = await passing(
      producer.sendBatch('one', [
        { body: 'x' },
        { body: 'bad', tag: 'a|b' },
        { body: 'y' },
        { body: 'z' },
      ]),
    );
    expect(outcomes.map(({ status }) => status)).toEqual(['stored', 'failed', 'stored', 'stored']);
    expect(outcomes[1]).toMatchObject({ error: { code: 'INVALID_TAG' } });
    expect(a.bodies).toEqual(['x', 'y', 'z']);
  });

  test('for now sends messages to another broker', async () => {
    const producer = newProducer();
    a.answer = () => ({ reason: 'DISK_FULL' });
    const receipts: Receipt[] = [];
    for (let i = 0; i < 6; i++)
      receipts.push(await passing(producer.send('two', { body: 'x' }), 999));
    expect(new Set(receipts.map(({ broker }) => broker))).toEqual(new Set(['b']));
    expect(a.frames.length).toBeLessThan(3);
  });

  test('for now is tried again until the deadline, and its reason is told', async () => {
    const producer = newProducer();
    a.answer = () => ({ reason: 'DISK_FULL' });
    const failure = await passing(producer.send('one', { body: 'x' }).catch((e: unknown) => e));
    expect(failure).toMatchObject({ code: 'DISK_FULL', retryable: true });
    expect(a.frames.length).toBeGreaterThan(10);
    expect(a.frames.length).toBeLessThan(60);
    a.answer = () => 'stored';
    expect(await passing(producer.send('one', { body: 'y' }))).toMatchObject({ offset: 0 });
  });

  test('that means that it was stored before says so, and not to send it again', async () => {
    const producer = newProducer();
    await passing(producer.send('one', { body: 'x' }));
    a.answer = () => ({ reason: 'SEQUENCE_TOO_OLD' });
    const failure = await passing(producer.send('one', { body: 'y' }).catch((e: unknown) => e));
    expect(failure).toMatchObject({ code: 'ALREADY_STORED', retryable: false });
    expect((failure as Error).message).toMatch(/is stored.*do not send it again/);
    producer.sendOneWay('one', { body: 'z' });
    await clock.advance(10);
    expect(producer.oneWayFailures).toBe(0);
    expect(new Set(a.frames.map(({ producerId }) => producerId)).size).toBe(1);
  });

  test('for good is told at once', async () => {
    const producer = newProducer();
    a.answer = () => ({ reason: 'TOPIC_NOT_FOUND' });
    expect(await passing(codeOf(producer.send('one', { body: 'x' })), 100)).toBe('TOPIC_NOT_FOUND');
  });
});

describe('what is under way', () => {
  test('is bounded in bytes: more waits, and nothing is dropped', async () => {
    const producer = newProducer({ inFlightBytesMax: 10_000 });
    a.answer = () => 'silence';
    const sent = Array.from({ length: 100 }, () =>
      producer.send('one', { body: new Uint8Array(1000) }),
    );
    await clock.advance(100);
    const arrived = a.frames.reduce((sum, { messages }) => sum + messages.length, 0);
    expect(arrived).toBeGreaterThan(5);
    expect(arrived).toBeLessThan(12);
    a.answer = () => 'stored';
    a.breakOff();
    await passing(Promise.all(sent));
    expect(a.bodies).toHaveLength(100);
  });

  test('lets in as many as fit when something large has ended', async () => {
    const producer = newProducer({ inFlightBytesMax: 100_000 });
    await passing(producer.send('one', { body: 'warm' }));
    const sent = [producer.send('one', { body: new Uint8Array(200_000) })];
    for (let i = 0; i < 100; i++) sent.push(producer.send('one', { body: `small${i}` }));
    await passing(Promise.all(sent));
    expect(a.frames.length).toBe(3);
  });

  test('waits for room no longer than its deadline', async () => {
    const producer = newProducer({ inFlightBytesMax: 1000 });
    a.answer = () => 'silence';
    const first = codeOf(producer.send('one', { body: new Uint8Array(2000) }));
    const second = codeOf(producer.send('one', { body: 'x' }, { deadlineMs: 300 }));
    expect(await passing(second, 500)).toBe('DEADLINE_EXCEEDED');
    await passing(first);
  });

  test('is given up by its signal, and its room is free', async () => {
    const producer = newProducer({ inFlightBytesMax: 1000 });
    a.answer = () => 'silence';
    const abort = new AbortController();
    const first = codeOf(producer.send('one', { body: new Uint8Array(2000) }, abort));
    await clock.advance(10);
    const second = producer.send('one', { body: 'x' });
    a.answer = () => 'stored';
    abort.abort();
    expect(await first).toBe('ABORTED');
    a.breakOff();
    await passing(second);
  });
});

describe('a topic whose route is not known', () => {
  test('is looked for until the deadline, and the cause is told', async () => {
    routes.failure = new MqError('NO_BROKER', 'none', { retryable: true });
    const producer = newProducer();
    const failed = codeOf(producer.send('one', { body: 'x' }));
    expect(await passing(failed)).toBe('NO_BROKER');
    expect(routes.queries).toBeGreaterThan(5);
  });

  test('that is found later gets what waits, in order', async () => {
    routes.failure = new MqError('WARMING_UP', 'soon', { retryable: true });
    const producer = newProducer();
    const sent = [1, 2, 3].map((i) => producer.send('one', { body: `m${i}` }));
    await clock.advance(2000);
    routes.failure = undefined;
    await passing(Promise.all(sent));
    expect(a.bodies).toEqual(['m1', 'm2', 'm3']);
  });

  test('fails at once when there is no help', async () => {
    routes.failure = new MqError('INVALID_TOPIC', 'bad name');
    const producer = newProducer();
    expect(await passing(codeOf(producer.send('a/b', { body: 'x' })), 50)).toBe('INVALID_TOPIC');
  });
});

describe('a message that cannot be encoded', () => {
  test('rejects and harms no other', async () => {
    const producer = newProducer();
    const good = producer.send('one', { body: 'good' });
    expect(await codeOf(producer.send('one', { body: 5 } as never))).toBe('INVALID_OPTION');
    await passing(good);
  });

  test('because its selector throws rejects', async () => {
    const producer = newProducer();
    const queue = () => {
      throw new Error('no');
    };
    expect(await passing(codeOf(producer.send('one', { body: 'x', queue })))).toBe(
      'INVALID_OPTION',
    );
  });
});

describe('close', () => {
  test('waits for what is under way, refuses what is new, and may be called again', async () => {
    const producer = newProducer();
    const sent = producer.send('one', { body: 'x' });
    const closed = producer.close();
    expect(await codeOf(producer.send('one', { body: 'y' }))).toBe('CLOSED');
    await passing(closed);
    expect(await codeOf(sent)).toBe('stored');
    await producer.close();
    expect(clock.pending).toBe(0);
  });

  test('gives up after its time, and says what is not known', async () => {
    const producer = newProducer();
    a.answer = () => 'silence';
    const sent = codeOf(producer.send('one', { body: 'x' }));
    await clock.advance(100);
    await passing(producer.close({ drainMs: 200 }), 500);
    expect(await sent).toBe('OUTCOME_UNKNOWN');
    expect(clock.pending).toBe(0);
  });
});

describe('one-way', () => {
  test('counts and tells failures, and throws nothing', async () => {
    const producer = newProducer();
    a.answer = () => ({ reason: 'TOPIC_NOT_FOUND' });
    producer.sendOneWay('one', { body: 'x' });
    producer.sendOneWay('one', { body: '' });
    for (let i = 0; i < 10; i++) await clock.advance(10);
    expect(producer.oneWayFailures).toBe(2);
    expect(events.filter(({ type }) => type === 'sendFailed')).toHaveLength(2);
  });
});
