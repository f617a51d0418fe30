import { create, type MessageInitShape } from '@bufbuild/protobuf';
import {
  BrokerRole,
  BrokerState,
  DescribeClusterResponseSchema,
  QueryRouteResponseSchema,
  WatchRoutesResponseSchema,
} from '@ternmq/proto/gen/ternmq/nameserver/v1/nameserver_pb';
import { beforeEach, describe, expect, test } from 'vitest';
import { MqError } from './errors.ts';
import { type ClientEvent, Events } from './events.ts';
import { Routes } from './routes.ts';
import { FakeChannel } from './testing/fake-channel.ts';
import { ManualClock } from './testing/manual-clock.ts';
import type { Channels } from './transport/channels.ts';
import type { Route } from './transport/route.ts';

let clock: ManualClock;
let events: ClientEvent[];
/** Two name servers; each throws what it holds, or knows the topics. */
let servers: { channel: FakeChannel; failure: MqError | undefined; asked: number }[];
let known: Record<string, Record<string, number>>;
let routes: Routes;

const away = new MqError('UNAVAILABLE', 'connection refused', { retryable: true });
const warmingUp = new MqError('WARMING_UP', 'soon', { retryable: true });

function routeOf(topic: string, queues: Record<string, number>) {
  return {
    topic,
    groups: Object.entries(queues).map(([brokerName, count]) => ({
      brokerName,
      queues: { topic, queues: count, readable: true, writable: true },
      brokers: [
        {
          name: brokerName,
          address: `${brokerName}:1`,
          role: BrokerRole.MASTER,
          state: BrokerState.LIVE,
        },
      ],
    })),
  } satisfies MessageInitShape<typeof QueryRouteResponseSchema>['route'];
}

function tell(index: number, ...list: ReturnType<typeof routeOf>[]): void {
  const watch = servers[index]?.channel.watches.at(-1);
  watch?.listener.message(create(WatchRoutesResponseSchema, { routes: list }));
}

const shape = ({ queues }: Route): string[] => queues.map((one) => `${one.broker} ${one.queueId}`);

beforeEach(() => {
  clock = new ManualClock();
  events = [];
  known = { orders: { b: 1, a: 2 } };
  servers = ['n1:1', 'n2:1'].map((address) => {
    const server = { channel: new FakeChannel(address), failure: undefined, asked: 0 };
    server.channel.answer = async (method, request) => {
      server.asked++;
      if (server.failure !== undefined) throw server.failure;
      if (method === 'DescribeCluster') {
        const brokers = [{ broker: routeOf('', { a: 1 }).groups[0]?.brokers[0] as never }];
        return create(DescribeClusterResponseSchema, { brokers });
      }
      const { topic } = request as { topic: string };
      const queues = known[topic];
      if (queues === undefined) throw new MqError('TOPIC_NOT_FOUND', 'no such topic');
      return create(QueryRouteResponseSchema, { route: routeOf(topic, queues) });
    };
    return server;
  });
  const told = new Events();
  told.listen((event) => events.push(event));
  const channels = {
    get: (address: string) => servers.find(({ channel }) => channel.address === address)?.channel,
  };
  routes = new Routes(['n1:1', 'n2:1'], {
    channels: channels as unknown as Channels,
    clock,
    events: told,
  });
});

const find = (topic: string, deadlineMs = 5000, orAny = false): Promise<Route> =>
  clock.until(routes.find(topic, { deadlineMs }, orAny));
const asked = (): number => servers.reduce((sum, one) => sum + one.asked, 0);
const watched = (): number => servers.findIndex(({ channel }) => channel.watches.length > 0);

describe('finding a route', () => {
  test('brings its queues by broker and number, and asks once', async () => {
    expect(shape(await find('orders'))).toEqual(['a 0', 'a 1', 'b 0']);
    await find('orders');
    expect(asked()).toBe(1);
    expect(events).toEqual([{ type: 'routeChanged', topic: 'orders', queues: 3 }]);
  });

  test('moves to another name server when one is away', async () => {
    for (const broken of servers) {
      broken.failure = away;
      known[`topic-${broken.channel.address}`] = { a: 1 };
      expect(shape(await find(`topic-${broken.channel.address}`))).toEqual(['a 0']);
      broken.failure = undefined;
    }
  });

  test('waits while name servers warm up', async () => {
    for (const server of servers) server.failure = warmingUp;
    const found = routes.find('orders', { deadlineMs: 10_000 });
    await clock.advance(3000);
    for (const server of servers) server.failure = undefined;
    expect(shape(await clock.until(found))).toHaveLength(3);
  });

  test('says which option, flag and variable to look at when none answers', async () => {
    for (const server of servers) server.failure = away;
    const failure = await find('orders', 1000).catch((error: MqError) => error);
    expect(failure).toMatchObject({ code: 'NAMESERVER_UNREACHABLE', retryable: true });
    for (const word of ['nameservers', '--nameserver', 'TERN_NAMESERVER', 'n1:1, n2:1']) {
      expect((failure as MqError).message).toContain(word);
    }
    expect(clock.monotonicMs()).toBeLessThan(1100);
  });

  test('of a topic that does not exist is an error, or any broker for who may create it', async () => {
    await expect(find('new')).rejects.toMatchObject({ code: 'TOPIC_NOT_FOUND' });
    const route = await find('new', 5000, true);
    expect(route).toMatchObject({ provisional: true, queues: [{ broker: 'a', queueId: 0 }] });
    await expect(find('new')).rejects.toMatchObject({ code: 'TOPIC_NOT_FOUND' });
  });

  test('is given up by its signal', async () => {
    for (const server of servers) server.failure = away;
    const abort = new AbortController();
    const found = routes.find('orders', { deadlineMs: 5000, signal: abort.signal });
    abort.abort();
    await expect(found).rejects.toMatchObject({ code: 'ABORTED' });
  });
});

describe('watching routes', () => {
  test('tells who listens of every change', async () => {
    const changes: string[][] = [];
    routes.listen('orders', (route) => changes.push(shape(route)));
    await find('orders');
    await clock.advance(10);
    tell(watched(), routeOf('orders', { a: 1 }));
    expect(changes.at(-1)).toEqual(['a 0']);
    expect(routes.known('orders')?.queues).toHaveLength(1);
  });

  test('keeps the last route when a name server does not know the topic', async () => {
    await find('orders');
    await clock.advance(10);
    tell(watched(), routeOf('orders', {}));
    expect(routes.known('orders')?.queues).toHaveLength(3);
  });

  test('goes on at the other name server when one fails, and keeps routes meanwhile', async () => {
    await find('orders');
    await clock.advance(10);
    const first = watched();
    for (let i = 0; i < 4; i++) {
      const current = i % 2 === 0 ? first : 1 - first;
      servers[current]?.channel.watches.at(-1)?.listener.ended(away);
      await clock.advance(6000);
    }
    expect(servers.map(({ channel }) => channel.watches.length).sort()).toEqual([2, 3]);
    expect(routes.known('orders')?.queues).toHaveLength(3);
  });

  test('is one stream for topics that are found in one turn', async () => {
    known.bills = { a: 1 };
    await clock.until(Promise.all([find('orders'), find('bills')]));
    await clock.advance(10);
    const watches = servers.flatMap(({ channel }) => channel.watches);
    expect(watches.filter(({ cancelled }) => !cancelled)).toHaveLength(1);
    expect(watches.at(-1)?.request).toEqual({ topics: ['orders', 'bills'] });
  });

  test('ends when routes are closed', async () => {
    await find('orders');
    await clock.advance(10);
    routes.close();
    const watches = servers.flatMap(({ channel }) => channel.watches);
    expect(watches.every(({ cancelled }) => cancelled)).toBe(true);
    expect(clock.pending).toBe(0);
  });
});
