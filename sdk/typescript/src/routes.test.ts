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
/** The masters that name servers know. */
let brokers: Record<string, BrokerState>;
/** What brokers were sent, and what they say to it. */
let sent: { address: string; topic: string; queueId: number }[];
let send: () => Promise<never>;

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

function brokerAt(address: string): FakeChannel {
  const channel = new FakeChannel(address);
  channel.answer = (_method, request) => {
    const { topic, queueId } = request as (typeof sent)[number];
    sent.push({ address, topic, queueId });
    return send();
  };
  return channel;
}

const shape = ({ queues }: Route): string[] => queues.map((one) => `${one.broker} ${one.queueId}`);

beforeEach(() => {
  clock = new ManualClock();
  events = [];
  known = { orders: { b: 1, a: 2 } };
  brokers = { b: BrokerState.LIVE, a: BrokerState.LIVE };
  sent = [];
  send = () => Promise.reject(new Error('nothing is sent here'));
  servers = ['n1:1', 'n2:1'].map((address) => {
    const server = { channel: new FakeChannel(address), failure: undefined, asked: 0 };
    server.channel.answer = async (method, request) => {
      server.asked++;
      if (server.failure !== undefined) throw server.failure;
      if (method === 'DescribeCluster') {
        const list = Object.entries(brokers).map(([name, state]) => ({
          broker: { ...routeOf('', { [name]: 1 }).groups[0]?.brokers[0], state },
        }));
        return create(DescribeClusterResponseSchema, { brokers: list });
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
    get: (address: string) =>
      servers.find(({ channel }) => channel.address === address)?.channel ?? brokerAt(address),
  };
  routes = new Routes(['n1:1', 'n2:1'], {
    channels: channels as unknown as Channels,
    clock,
    events: told,
  });
});

const find = (topic: string, deadlineMs = 5000, create = false): Promise<Route> =>
  clock.until(routes.find(topic, { deadlineMs }, create));
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

  test('of a topic that does not exist is an error', async () => {
    await expect(find('new')).rejects.toMatchObject({ code: 'TOPIC_NOT_FOUND' });
    expect(sent).toEqual([]);
  });

  test('is given up by its signal', async () => {
    for (const server of servers) server.failure = away;
    const abort = new AbortController();
    const found = routes.find('orders', { deadlineMs: 5000, signal: abort.signal });
    abort.abort();
    await expect(found).rejects.toMatchObject({ code: 'ABORTED' });
  });
});

describe('finding the route of a topic that does not exist, to send to it', () => {
  const found = (deadlineMs = 5000): Promise<Route> => find('new', deadlineMs, true);

  test('has the first broker create it without storing anything, and brings its real queues', async () => {
    send = async () => {
      clock.setTimer(40, () => {
        known.new = { a: 4 };
      });
      throw new MqError('QUEUE_NOT_FOUND', 'no such queue');
    };
    expect(shape(await found())).toEqual(['a 0', 'a 1', 'a 2', 'a 3']);
    expect(sent).toEqual([{ address: 'a:1', topic: 'new', queueId: 0xffffffff }]);
  });

  test('passes over a broker that the name server has lost touch with', async () => {
    brokers = { a: BrokerState.SUSPECT, b: BrokerState.LIVE };
    send = async () => {
      known.new = { b: 1 };
      throw new MqError('QUEUE_NOT_FOUND', 'no such queue');
    };
    expect(shape(await found())).toEqual(['b 0']);
  });

  test('is an error where topics are not created automatically', async () => {
    send = async () => {
      throw new MqError('TOPIC_NOT_FOUND', "create it with 'tern topic create new'");
    };
    await expect(found()).rejects.toMatchObject({ code: 'TOPIC_NOT_FOUND' });
    expect(sent).toHaveLength(1);
  });

  test('is an error that may pass when there is no broker, or it does not answer', async () => {
    send = async () => {
      throw away;
    };
    await expect(found()).rejects.toMatchObject({ code: 'BROKER_UNREACHABLE', retryable: true });
    brokers = {};
    await expect(found()).rejects.toMatchObject({ code: 'NO_BROKER', retryable: true });
  });

  test('waits for the route no longer than it was told', async () => {
    send = async () => {
      throw new MqError('QUEUE_NOT_FOUND', 'no such queue');
    };
    const failure = await found(1000).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 'DEADLINE_EXCEEDED', retryable: true });
    expect(clock.monotonicMs()).toBeLessThanOrEqual(1010);
    expect(sent).toHaveLength(1);
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

  test('keeps the places of a broker group that has left', async () => {
    await find('orders');
    await clock.advance(10);
    tell(watched(), routeOf('orders', { a: 2 }));
    const route = routes.known('orders') as Route;
    expect(shape(route)).toEqual(['a 0', 'a 1']);
    expect(shape({ ...route, queues: route.places })).toEqual(['a 0', 'a 1', 'b 0']);
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
