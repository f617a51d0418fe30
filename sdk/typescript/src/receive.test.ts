import { create, toBinary } from '@bufbuild/protobuf';
import { ReceiveResponseSchema } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import type { Settlement } from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import { beforeEach, describe, expect, test } from 'vitest';
import { Consumer } from './consumer.ts';
import { MqError } from './errors.ts';
import { type ClientEvent, Events } from './events.ts';
import { FakeChannel } from './testing/fake-channel.ts';
import { FakeRoutes } from './testing/fake-routes.ts';
import { ManualClock } from './testing/manual-clock.ts';
import type { Channels } from './transport/channels.ts';

interface ReceiveCall {
  readonly waitMs: number;
  readonly messagesMax: number;
}

/** A broker that hands out what is put into it. */
class FakeBroker {
  readonly channel: FakeChannel;
  bodies: string[] = [];
  failure: MqError | undefined;
  settleFailures: MqError[] = [];
  readonly receives: ReceiveCall[] = [];
  readonly settles: Settlement[][] = [];
  #next = 0;

  constructor(address: string) {
    this.channel = new FakeChannel(address);
    this.channel.answer = (method, request) =>
      method === 'Receive'
        ? this.#receive(request as ReceiveCall)
        : this.#settle(request as { settlements: Settlement[] });
  }

  async #receive(call: ReceiveCall): Promise<Buffer> {
    this.receives.push(call);
    if (this.failure !== undefined) throw this.failure;
    if (this.bodies.length === 0) await until(call.waitMs);
    const bodies = this.bodies.splice(0, call.messagesMax);
    const first = this.#next;
    this.#next += bodies.length;
    const messages = bodies.map((body, i) => ({
      topicId: 1,
      offset: BigInt(first + i),
      message: { body: Buffer.from(body) },
    }));
    const lease = { topicId: 1, firstOffset: BigInt(first), endOffset: BigInt(this.#next) };
    const leases = bodies.length === 0 ? [] : [{ ...lease, leaseId: 5n, attempt: 1 }];
    const response = create(ReceiveResponseSchema, { messages, leases });
    return Buffer.from(toBinary(ReceiveResponseSchema, response));
  }

  async #settle({ settlements }: { settlements: Settlement[] }): Promise<unknown> {
    this.settles.push(settlements);
    const failure = this.settleFailures.shift();
    if (failure !== undefined) throw failure;
    return { failures: [] };
  }
}

let clock: ManualClock;
let a: FakeBroker;
let b: FakeBroker;
let events: ClientEvent[];
let consumer: Consumer;
const until = (ms: number): Promise<void> =>
  new Promise((resolve) => {
    clock.setTimer(ms, resolve);
  });
const away = new MqError('UNAVAILABLE', 'away', { retryable: true });

beforeEach(() => {
  clock = new ManualClock();
  a = new FakeBroker('a:1');
  b = new FakeBroker('b:1');
  events = [];
  const routes = new FakeRoutes();
  routes.add('one', { a: 1 });
  routes.add('two', { a: 1, b: 1 });
  const told = new Events();
  told.listen((event) => events.push(event));
  const channels = { get: (address: string) => (address === 'a:1' ? a : b).channel };
  consumer = new Consumer(
    'g',
    {},
    {
      routes: routes.routes,
      channels: channels as unknown as Channels,
      clock,
      events: told,
      clientId: 'test',
    },
  );
});

describe('receiving', () => {
  test('brings what there is, and settles one turn with one call', async () => {
    a.bodies = ['x', 'y', 'z'];
    const messages = await clock.until(consumer.subscribe('one').receive());
    expect(messages.map((message) => message.text())).toEqual(['x', 'y', 'z']);
    messages[0]?.ack();
    messages[1]?.ack();
    messages[2]?.retry(500);
    await clock.advance(10);
    expect(a.settles).toHaveLength(1);
    expect(a.settles[0]).toMatchObject([
      { firstOffset: 0n, endOffset: 2n, leaseId: 5n },
      { firstOffset: 2n, endOffset: 3n, delayMs: 500 },
    ]);
  });

  test('waits as long as it was told, and no longer', async () => {
    expect(await clock.until(consumer.subscribe('two').receive({ waitMs: 2000 }))).toEqual([]);
    expect(clock.monotonicMs()).toBeGreaterThanOrEqual(2000);
    expect(clock.monotonicMs()).toBeLessThan(2500);
  });

  test('asks every broker before it waits for one', async () => {
    b.bodies = ['x'];
    for (let i = 0; i < 2; i++) {
      const startMs = clock.monotonicMs();
      b.bodies = ['x'];
      const messages = await clock.until(consumer.subscribe('two').receive());
      expect(messages).toHaveLength(1);
      expect(clock.monotonicMs() - startMs).toBeLessThan(100);
    }
  });

  test('leaves out no broker while another one has plenty', async () => {
    consumer.subscribe('two');
    a.bodies = Array.from({ length: 100 }, () => 'a');
    b.bodies = ['b'];
    const texts: string[] = [];
    for (let i = 0; i < 3; i++) {
      const messages = await clock.until(consumer.receive({ max: 1 }));
      texts.push(...messages.map((message) => message.text()));
    }
    expect(texts).toContain('b');
  });

  test('passes over a broker that is away', async () => {
    a.failure = away;
    b.bodies = ['x'];
    expect(await clock.until(consumer.subscribe('two').receive())).toHaveLength(1);
  });

  test('throws when all brokers are away for the whole time', async () => {
    a.failure = away;
    const received = consumer.subscribe('one').receive({ waitMs: 1000 });
    await expect(clock.until(received)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    expect(a.receives.length).toBeGreaterThan(3);
  });

  test('throws at once what trying again does not mend', async () => {
    a.failure = new MqError('GROUP_NOT_FOUND', 'none');
    const received = consumer.subscribe('one').receive();
    await expect(clock.until(received, 100)).rejects.toMatchObject({ code: 'GROUP_NOT_FOUND' });
  });
});

describe('settling by calls', () => {
  test('is tried again while the broker is away, and close waits for it', async () => {
    a.bodies = ['x'];
    const [message] = await clock.until(consumer.subscribe('one').receive());
    a.settleFailures = [away, away];
    message?.ack();
    await clock.until(consumer.close());
    expect(a.settles).toHaveLength(3);
    expect(events).toEqual([]);
  });

  test('that fails is told as an event', async () => {
    a.bodies = ['x'];
    const [message] = await clock.until(consumer.subscribe('one').receive());
    a.settleFailures = [new MqError('GROUP_NOT_FOUND', 'none')];
    message?.ack();
    await clock.until(consumer.close());
    expect(events).toMatchObject([{ type: 'settleFailed', error: { code: 'GROUP_NOT_FOUND' } }]);
  });
});
