import { once } from 'node:events';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { create } from '@bufbuild/protobuf';
import {
  Client,
  type ClientDuplexStream,
  type ClientReadableStream,
  credentials,
  type StatusObject,
  status,
} from '@grpc/grpc-js';
import {
  type Broker,
  BrokerRole,
  BrokerState,
  NameServerService,
  type RegisterBrokerRequest,
  RegisterBrokerRequestSchema,
  type RegisterBrokerResponse,
  type Route,
  type WatchRoutesResponse,
} from '@ternmq/proto/gen/ternmq/nameserver/v1/nameserver_pb';
import {
  callUnary,
  createLogger,
  ManualClock,
  openBidiStream,
  openServerStream,
  Registry,
} from '@ternmq/runtime';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { NameServer, type NameServerOptions } from './nameserver.ts';

const TIMEOUT_MS = 1000;
const { queryRoute, watchRoutes, registerBroker, describeCluster } = NameServerService.method;

let clock: ManualClock;
let registry: Registry;
let nameServer: NameServer;
let client: Client;

async function start(options: Partial<NameServerOptions> = {}): Promise<void> {
  clock = new ManualClock();
  registry = new Registry();
  nameServer = await NameServer.create(
    { host: '127.0.0.1', port: 0, brokerTimeoutMs: TIMEOUT_MS, warmUpMs: 0, ...options },
    { clock, logger: createLogger({ level: 'silent' }), registry },
  );
  await nameServer.start();
  client = new Client(`127.0.0.1:${nameServer.port}`, credentials.createInsecure());
}

beforeEach(() => start());

afterEach(async () => {
  client.close();
  await nameServer.close();
  await nameServer.close();
  expect(clock.pending).toBe(0);
});

type Stream = ClientDuplexStream<RegisterBrokerRequest, RegisterBrokerResponse>;
type Event = MessageInitShape<typeof RegisterBrokerRequestSchema>['event'];

function send(stream: Stream, event: Event): void {
  stream.write(create(RegisterBrokerRequestSchema, event === undefined ? {} : { event }));
}

async function register(
  topics: readonly string[],
  broker: Partial<Pick<Broker, 'name' | 'id' | 'address' | 'epoch'>> = {},
): Promise<{ stream: Stream; answer: RegisterBrokerResponse }> {
  const stream = openBidiStream(client, registerBroker);
  stream.on('error', () => {});
  const role = BrokerRole.MASTER;
  send(stream, {
    case: 'registration',
    value: {
      broker: { name: 'a', id: 0, address: 'host:1', role, ...broker },
      topics: topics.map((topic) => ({ topic, queues: 4, readable: true, writable: true })),
    },
  });
  const [answer] = await once(stream, 'data');
  return { stream, answer };
}

/** The status with which a stream ends. */
function ended(stream: Pick<NodeJS.EventEmitter, 'once'>): Promise<StatusObject> {
  return new Promise((resolve) => stream.once('status', resolve));
}

/** Opens a stream that is expected to fail, and returns its error. */
async function refusal(event: Event) {
  const stream = openBidiStream(client, registerBroker);
  send(stream, event);
  const [error] = await once(stream, 'error');
  return error;
}

const query = (topic: string) => callUnary(client, queryRoute, { topic }, {});

/** Collects what a watcher is sent. */
class Watched {
  readonly stream: ClientReadableStream<WatchRoutesResponse>;
  readonly routes = new Map<string, Route>();
  responses = 0;
  warmingUp: boolean | undefined;

  constructor(topics: readonly string[]) {
    this.stream = openServerStream(client, watchRoutes, { topics: [...topics] });
    this.stream.on('error', () => {});
    this.stream.on('data', (response: WatchRoutesResponse) => {
      this.responses++;
      this.warmingUp = response.warmingUp;
      for (const route of response.routes) this.routes.set(route.topic, route);
    });
  }

  /** Waits for a response after which the condition holds. */
  async until(condition: (watched: this) => boolean): Promise<void> {
    while (!condition(this)) await once(this.stream, 'data');
  }

  state(topic: string): BrokerState | undefined {
    return this.routes.get(topic)?.groups[0]?.brokers[0]?.state;
  }
}

describe('a route', () => {
  test('is answered and described once a broker serves its topic', async () => {
    const { answer } = await register(['t']);
    expect(answer).toMatchObject({ heartbeatIntervalMs: 200, timeoutMs: TIMEOUT_MS });
    const { route } = await query('t');
    expect(route?.groups).toMatchObject([
      { brokerName: 'a', queues: { queues: 4 }, brokers: [{ address: 'host:1', state: 1 }] },
    ]);
    clock.advance(100);
    expect(await callUnary(client, describeCluster, {}, {})).toMatchObject({
      brokers: [{ broker: { name: 'a' }, topics: 1, silenceMs: 100n }],
      uptimeMs: 100n,
      warmingUp: false,
    });
  });

  test('of an unknown topic is NOT_FOUND with what to do, of a malformed one INVALID_ARGUMENT', async () => {
    await expect(query('t')).rejects.toMatchObject({
      code: status.NOT_FOUND,
      details: expect.stringContaining('tern topic create t'),
    });
    await expect(query('../t')).rejects.toMatchObject({ code: status.INVALID_ARGUMENT });
  });

  test('of an unknown topic is UNAVAILABLE while the name server warms up', async () => {
    client.close();
    await nameServer.close();
    await start({ warmUpMs: 500 });
    clock.advance(499);
    await expect(query('t')).rejects.toMatchObject({ code: status.UNAVAILABLE });
    await register(['known']);
    expect((await query('known')).route?.groups).toHaveLength(1);
    clock.advance(1);
    await expect(query('t')).rejects.toMatchObject({ code: status.NOT_FOUND });
  });
});

describe('a watcher', () => {
  test('is told how it is, and then every change, without the clock moving', async () => {
    const one = new Watched(['t', 'unknown']);
    const all = new Watched([]);
    await Promise.all([one.until((w) => w.routes.size === 2), all.until((w) => w.responses === 1)]);
    expect(one.routes.get('t')?.groups).toEqual([]);

    const { stream } = await register(['t', 'u']);
    await Promise.all([
      one.until((w) => w.state('t') === BrokerState.LIVE),
      all.until((w) => w.routes.size === 2),
    ]);

    send(stream, {
      case: 'heartbeat',
      value: { changedTopics: [{ topic: 'v', queues: 1 }], removedTopics: ['t'] },
    });
    await one.until((w) => w.routes.get('t')?.groups.length === 0);
    await all.until((w) => w.state('v') === BrokerState.LIVE);
    expect(one.routes.has('v')).toBe(false);
  });

  test('sees a broken stream as suspect at once, and silence as gone', async () => {
    const { stream } = await register(['t']);
    const watched = new Watched(['t']);
    await watched.until((w) => w.state('t') === BrokerState.LIVE);
    stream.cancel();
    await watched.until((w) => w.state('t') === BrokerState.SUSPECT);
    clock.advance(TIMEOUT_MS + 20);
    await watched.until((w) => w.routes.get('t')?.groups.length === 0);
  });

  test('sees a broker that leaves as gone at once', async () => {
    const { stream } = await register(['t']);
    const watched = new Watched(['t']);
    await watched.until((w) => w.state('t') === BrokerState.LIVE);
    const end = ended(stream);
    send(stream, { case: 'heartbeat', value: { leaving: true } });
    await watched.until((w) => w.routes.get('t')?.groups.length === 0);
    expect((await end).code).toBe(status.OK);
  });

  test('is told when the warm-up is over, and again what is still unknown', async () => {
    client.close();
    await nameServer.close();
    await start({ warmUpMs: 500 });
    const named = new Watched(['t']);
    const all = new Watched([]);
    await Promise.all([named.until((w) => w.responses === 1), all.until((w) => w.responses === 1)]);
    expect([named.warmingUp, all.warmingUp]).toEqual([true, true]);
    named.routes.clear();
    clock.advance(500);
    await Promise.all([
      named.until((w) => w.warmingUp === false && w.routes.has('t')),
      all.until((w) => w.warmingUp === false),
    ]);
  });

  test('of very many topics gets them all in several responses', async () => {
    const topics = Array.from({ length: 5000 }, (_, at) => `topic-${at}`);
    await register(topics);
    const watched = new Watched([]);
    await watched.until((w) => w.routes.size === topics.length);
    expect(watched.responses).toBe(Math.ceil(5000 / 256));
  });

  test('that does not read gets the newest routes when it does, not every change between', async () => {
    const topics = Array.from({ length: 256 }, (_, at) => `topic-${at}`);
    const { stream } = await register(topics);
    const watched = new Watched([]);
    await watched.until((w) => w.routes.size === topics.length);
    watched.stream.pause();
    const rounds = 200;
    for (let queues = 1; queues <= rounds; queues++) {
      const changedTopics = topics.map((topic) => ({ topic, queues }));
      send(stream, { case: 'heartbeat', value: { changedTopics } });
      await once(stream, 'data');
    }
    const before = watched.responses;
    watched.stream.resume();
    await watched.until((w) =>
      topics.every((topic) => w.routes.get(topic)?.groups[0]?.queues?.queues === rounds),
    );
    // Some of the 200 responses that there might have been fit into windows on the way.
    expect(watched.responses - before).toBeLessThan(50);
  });

  test('beyond the bound is refused with what to do', async () => {
    client.close();
    await nameServer.close();
    await start({ watchersMax: 1 });
    await new Watched([]).until((w) => w.responses === 1);
    const stream = openServerStream(client, watchRoutes, {});
    const [error] = await once(stream.resume(), 'error');
    expect(error).toMatchObject({
      code: status.RESOURCE_EXHAUSTED,
      details: expect.stringContaining('--watchers-max'),
    });
    expect(registry.render()).toContain('\nternmq_nameserver_watchers 1\n');
  });

  test('of a malformed topic is refused', async () => {
    const stream = openServerStream(client, watchRoutes, { topics: ['ok', 'a\0b'] });
    const [error] = await once(stream.resume(), 'error');
    expect(error).toMatchObject({ code: status.INVALID_ARGUMENT });
    expect(error.details).toContain('topics[1]');
  });
});

describe('a registration stream', () => {
  test('stays live by heartbeats, and is ended when it is silent', async () => {
    const { stream } = await register(['t']);
    const end = ended(stream);
    for (let beat = 0; beat < 10; beat++) {
      clock.advance(200);
      send(stream, { case: 'heartbeat', value: {} });
      await once(stream, 'data');
    }
    expect((await query('t')).route?.groups[0]?.brokers[0]?.state).toBe(BrokerState.LIVE);
    clock.advance(TIMEOUT_MS + 20);
    const { code } = await end;
    expect(code).toBe(status.ABORTED);
    await expect(query('t')).rejects.toMatchObject({ code: status.NOT_FOUND });
  });

  test('with a stale epoch is refused', async () => {
    await register(['t'], { epoch: 2n });
    const error = await refusal({
      case: 'registration',
      value: {
        broker: { name: 'a', address: 'host:1', role: BrokerRole.MASTER, epoch: 1n },
      },
    });
    expect(error).toMatchObject({ code: status.FAILED_PRECONDITION });
    expect(error.metadata.get('grpc-status-details-bin').toString()).toContain('STALE_EPOCH');
  });

  test.each<[string, Event]>([
    ['a heartbeat', { case: 'heartbeat', value: {} }],
    ['nothing', undefined],
    ['a registration of nobody', { case: 'registration', value: {} }],
  ])('that begins with %s is refused', async (_what, event) => {
    expect(await refusal(event)).toMatchObject({ code: status.INVALID_ARGUMENT });
  });

  test('that registers twice is refused, and its broker suspect', async () => {
    const { stream } = await register(['t']);
    send(stream, { case: 'registration', value: {} });
    const { code } = await ended(stream);
    expect(code).toBe(status.INVALID_ARGUMENT);
    expect((await query('t')).route?.groups[0]?.brokers[0]?.state).toBe(BrokerState.SUSPECT);
  });

  test('that says nothing for the timeout is ended', async () => {
    const stream = openBidiStream(client, registerBroker);
    stream.on('error', () => {});
    const end = ended(stream);
    // An answer to another call on the connection tells that the stream has arrived.
    await callUnary(client, describeCluster, {}, {});
    clock.advance(TIMEOUT_MS);
    const { code } = await end;
    expect(code).toBe(status.INVALID_ARGUMENT);
  });
});

test('closing ends all streams with UNAVAILABLE, so that clients go elsewhere', async () => {
  const { stream } = await register(['t']);
  const watched = new Watched([]);
  await watched.until((w) => w.responses === 1);
  const ends = Promise.all([ended(stream), ended(watched.stream)]);
  await nameServer.close();
  expect((await ends).map(({ code }) => code)).toEqual([status.UNAVAILABLE, status.UNAVAILABLE]);
});
