import { fromBinary } from '@bufbuild/protobuf';
import { SubscribeRequestSchema } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { beforeEach, describe, expect, test } from 'vitest';
import { MqError } from './errors.ts';
import { type ClientEvent, Events } from './events.ts';
import { SubscriptionSet } from './subscription-set.ts';
import { FakeChannel } from './testing/fake-channel.ts';
import { FakeRoutes } from './testing/fake-routes.ts';
import { ManualClock, turn } from './testing/manual-clock.ts';
import type { Channels } from './transport/channels.ts';

let clock: ManualClock;
let routes: FakeRoutes;
let events: ClientEvent[];
let refusals: MqError[];
let channels: Map<string, FakeChannel>;

/** Subscribes to topics with these tags, and lets their routes be found. */
async function subscribe(topics: Record<string, string>): Promise<SubscriptionSet> {
  const told = new Events();
  told.listen((event) => events.push(event));
  const set = new SubscriptionSet(
    {
      group: 'g',
      consumerId: 'c',
      broadcasting: false,
      ordered: undefined,
      leaseMs: 0,
      from: 'first',
      prefetch: { messages: 10, bytes: 1000 },
    },
    new Map(Object.entries(topics).map(([topic, tags]) => [topic, { tags, sql: '' }])),
    {
      routes: routes.routes,
      channels: { get: channelAt } as unknown as Channels,
      clock,
      events: told,
    },
    { delivered: () => {}, refused: (error) => refusals.push(error) },
  );
  await clock.advance(10);
  return set;
}

function channelAt(address: string): FakeChannel {
  const channel = channels.get(address) ?? new FakeChannel(address);
  channels.set(address, channel);
  return channel;
}

/** What the newest stream to each address has subscribed to; `-` when it was ended or left. */
function open(): Record<string, string> {
  return Object.fromEntries(
    [...channels].map(([address, { stream }]) => {
      const [opening] = stream.written;
      const { open: opened } = fromBinary(SubscribeRequestSchema, opening as Buffer);
      const wanted = opened?.subscriptions.map(({ topic, tags }) => `${topic} ${tags}`) ?? [];
      return [address, stream.ended || stream.cancelled ? '-' : wanted.join(', ')];
    }),
  );
}

beforeEach(() => {
  clock = new ManualClock();
  routes = new FakeRoutes();
  events = [];
  refusals = [];
  channels = new Map();
  routes.add('orders', { a: 4, b: 4 });
  routes.add('bills', { b: 1 });
});

describe('the streams of a consumer', () => {
  test('are one to each broker group, with the topics that it has', async () => {
    await subscribe({ orders: '*', bills: 'paid' });
    expect(open()).toEqual({ 'a:1': 'orders *', 'b:1': 'orders *, bills paid' });
    expect(channelAt('a:1').streams).toHaveLength(1);
  });

  test('stay as they are when a route tells nothing new', async () => {
    await subscribe({ orders: '*' });
    routes.add('orders', { a: 8, b: 8 });
    expect(channelAt('a:1').streams).toHaveLength(1);
  });

  test('come with broker groups that come, and end with those that go', async () => {
    await subscribe({ orders: '*' });
    routes.add('orders', { a: 4, c: 4 });
    expect(open()).toEqual({ 'a:1': 'orders *', 'b:1': '-', 'c:1': 'orders *' });
    expect(channelAt('b:1').stream.ended).toBe(true);
  });

  test('follow a broker group that moves, and leave the old one without giving leases back', async () => {
    await subscribe({ bills: '*' });
    routes.add('bills', { b: 1 }, 2);
    expect(open()).toEqual({ 'b:1': '-', 'b:2': 'bills *' });
    expect(channelAt('b:1').stream).toMatchObject({ ended: false, cancelled: true });
  });

  test('end when it is closed, and come back for no route', async () => {
    const set = await subscribe({ orders: '*' });
    const closed = set.close();
    for (const { stream } of channels.values()) stream.close();
    await closed;
    routes.add('orders', { a: 4, b: 4, c: 4 });
    await turn();
    expect(open()).toEqual({ 'a:1': '-', 'b:1': '-' });
    expect(clock.pending).toBe(0);
  });
});

describe('a topic whose route is not found', () => {
  test('is waited for, and that is told', async () => {
    routes.failure = new MqError('TOPIC_NOT_FOUND', 'no such topic');
    const set = await subscribe({ orders: '*' });
    expect(events).toContainEqual({ type: 'waiting', topic: 'orders', reason: 'no such topic' });
    routes.failure = undefined;
    await clock.advance(600);
    expect(Object.keys(open())).toEqual(['a:1', 'b:1']);
    expect(refusals).toEqual([]);
    void set.close();
  });

  test('for a reason that stays is a refusal', async () => {
    routes.failure = new MqError('INVALID_TOPIC', 'bad name');
    await subscribe({ orders: '*' });
    expect(refusals).toMatchObject([{ code: 'INVALID_TOPIC' }]);
    expect(clock.pending).toBe(0);
  });

  test('is not looked for any more once the consumer is closed', async () => {
    routes.failure = new MqError('TOPIC_NOT_FOUND', 'no such topic');
    const set = await subscribe({ orders: '*' });
    await set.close();
    expect(clock.pending).toBe(0);
  });
});
