import { EventEmitter, once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { create } from '@bufbuild/protobuf';
import { Client, type ClientReadableStream, credentials } from '@grpc/grpc-js';
import { NameServer } from '@ternmq/nameserver';
import {
  BrokerRole,
  BrokerState,
  NameServerService,
  type Route,
  type TopicQueues,
  TopicQueuesSchema,
  type WatchRoutesResponse,
} from '@ternmq/proto/gen/ternmq/nameserver/v1/nameserver_pb';
import {
  callUnary,
  createLogger,
  ManualClock,
  openServerStream,
  seededRandom,
} from '@ternmq/runtime';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Registration, type RegistrationOptions } from '../../services/broker/src/registration.ts';

const TIMEOUT_MS = 1000;
/** Longer than any back-off. */
const RETRY_MS = 4000;

let clock: ManualClock;
let nameServer: NameServer;
let topics: TopicQueues[];
let logged: string[];
const closers: (() => Promise<void> | void)[] = [];

async function startNameServer(port = 0, warmUpMs = 0): Promise<NameServer> {
  const made = await NameServer.create(
    { host: '127.0.0.1', port, brokerTimeoutMs: TIMEOUT_MS, warmUpMs },
    { clock, logger: createLogger({ level: 'silent' }) },
  );
  await made.start();
  closers.push(() => made.close());
  return made;
}

/** A registration, and a way to wait for what it logs. */
class Registered {
  readonly registration: Registration;
  readonly #log = new EventEmitter();

  constructor(options: Partial<RegistrationOptions> = {}) {
    const write = (line: string): void => {
      logged.push(line);
      this.#log.emit('line', line);
    };
    this.registration = new Registration(
      {
        addresses: [`127.0.0.1:${nameServer.port}`],
        broker: { name: 'a', id: 0, role: BrokerRole.MASTER, address: 'host:1', epoch: 1n },
        topics: () => topics,
        ...options,
      },
      {
        clock,
        random: seededRandom(1),
        logger: createLogger({ format: 'json', destination: { write } }),
      },
    );
    closers.push(() => this.registration.leave());
  }

  /** Waits for a line that is logged from now on. */
  async says(text: string): Promise<void> {
    for (;;) {
      const [line] = await once(this.#log, 'line');
      if (line.includes(text)) return;
    }
  }
}

/** The routes of a topic as a client sees them change. */
class Watched {
  readonly #stream: ClientReadableStream<WatchRoutesResponse>;
  #route: Route | undefined;

  constructor(port: number, topic: string) {
    const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
    closers.push(() => client.close());
    this.#stream = openServerStream(client, NameServerService.method.watchRoutes, {
      topics: [topic],
    });
    this.#stream.on('error', () => {});
    this.#stream.on('data', ({ routes }: WatchRoutesResponse) => {
      this.#route = routes[0] ?? this.#route;
    });
  }

  async until(state: BrokerState | 'unknown'): Promise<void> {
    for (;;) {
      const now = this.#route?.groups[0]?.brokers[0]?.state;
      if (this.#route !== undefined && (now ?? 'unknown') === state) return;
      await once(this.#stream, 'data');
    }
  }
}

/** A connection between broker and name server that can break. */
class Wire {
  readonly port: number;
  readonly #server: Server;
  readonly #sockets: Set<Socket>;

  private constructor(server: Server, sockets: Set<Socket>) {
    this.#server = server;
    this.#sockets = sockets;
    this.port = (server.address() as AddressInfo).port;
    closers.push(() => this.cut());
  }

  static async to(port: number): Promise<Wire> {
    const sockets = new Set<Socket>();
    const server = createServer((near) => {
      const far = connect(port, '127.0.0.1');
      for (const [from, into] of [
        [near, far],
        [far, near],
      ] as const) {
        sockets.add(from);
        from.on('error', () => {}).pipe(into);
      }
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    return new Wire(server, sockets);
  }

  /** Nothing passes any more, and nobody is told. */
  freeze(): void {
    for (const socket of this.#sockets) socket.unpipe();
  }

  /** All connections end, and no new ones are made. */
  cut(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}

function serving(topic: string, queues = 4): TopicQueues {
  return create(TopicQueuesSchema, { topic, queues, readable: true, writable: true });
}

async function query(port: number, topic: string) {
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  try {
    return (await callUnary(client, NameServerService.method.queryRoute, { topic }, {})).route;
  } finally {
    client.close();
  }
}

beforeEach(async () => {
  clock = new ManualClock();
  topics = [serving('t')];
  logged = [];
  nameServer = await startNameServer();
});

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
  expect(clock.pending).toBe(0);
});

describe('a registration', () => {
  test('makes the broker known to every name server, and leaving makes it unknown', async () => {
    const other = await startNameServer();
    const ports = [nameServer.port, other.port];
    const { registration } = new Registered({
      addresses: ports.map((port) => `127.0.0.1:${port}`),
    });
    const watched = ports.map((port) => new Watched(port, 't'));
    await registration.registeredOnce(5000);
    await Promise.all(watched.map((each) => each.until(BrokerState.LIVE)));
    expect(registration.registered).toBe(true);

    await registration.leave();
    await registration.leave();
    await Promise.all(watched.map((each) => each.until('unknown')));
    expect(registration.states().map(({ state }) => state)).toEqual(['left', 'left']);
  });

  test('is kept by heartbeats for longer than the timeout', async () => {
    const { registration } = new Registered();
    await registration.registeredOnce(5000);
    for (let beat = 0; beat < 10; beat++) {
      clock.advance(200);
      // An answer on another connection leaves the heartbeat time to arrive.
      const route = await query(nameServer.port, 't');
      expect(route?.groups[0]?.brokers[0]?.state).toBe(BrokerState.LIVE);
    }
    expect(registration.registered).toBe(true);
  });

  test('tells topic changes at once', async () => {
    const { registration } = new Registered();
    const created = new Watched(nameServer.port, 'new');
    const deleted = new Watched(nameServer.port, 't');
    await deleted.until(BrokerState.LIVE);
    registration.topicsChanged([serving('new', 8)], ['t']);
    await Promise.all([created.until(BrokerState.LIVE), deleted.until('unknown')]);
  });

  test('carries very many changes, also made before the first answer', async () => {
    const { registration } = new Registered();
    for (let at = 0; at < 5000; at++) registration.topicsChanged([serving(`topic-${at}`)], []);
    registration.topicsChanged([], ['topic-0']);
    await new Watched(nameServer.port, 'topic-4999').until(BrokerState.LIVE);
    await new Watched(nameServer.port, 'topic-0').until('unknown');
  });

  test('says when it did not come about, and with whom', async () => {
    const { registration } = new Registered({ addresses: ['127.0.0.1:1'] });
    const registered = registration.registeredOnce(1000);
    clock.advance(1000);
    await expect(registered).rejects.toMatchObject({
      reason: 'NOT_REGISTERED',
      message: expect.stringMatching(/127\.0\.0\.1:1 .*--nameserver or TERN_NAMESERVER/),
    });
  });

  test('without a name server is refused with what to set', () => {
    expect(() => new Registered({ addresses: [] })).toThrow('TERN_NAMESERVER');
  });
});

describe('when a name server restarts', () => {
  test('the broker comes back by itself with all its topics, and new ones', async () => {
    const broker = new Registered();
    const { registration } = broker;
    await registration.registeredOnce(5000);
    const { port } = nameServer;
    const lost = broker.says('lost a name server');
    await nameServer.close();
    await lost;
    expect(registration.states()).toMatchObject([{ state: 'lost' }]);

    topics.push(serving('made while no name server was there'.replaceAll(' ', '-')));
    nameServer = await startNameServer(port, 500);
    await expect(query(port, 'unknown')).rejects.toThrow('has just started');
    const back = broker.says('registered with a name server');
    clock.advance(RETRY_MS);
    await back;
    for (const { topic } of topics) await new Watched(port, topic).until(BrokerState.LIVE);
  });
});

describe('when the connection breaks', () => {
  test('the broker is suspect at once, and removed after the timeout', async () => {
    const wire = await Wire.to(nameServer.port);
    const broker = new Registered({ addresses: [`127.0.0.1:${wire.port}`] });
    const watched = new Watched(nameServer.port, 't');
    await watched.until(BrokerState.LIVE);
    const lost = broker.says('lost a name server');
    wire.cut();
    await watched.until(BrokerState.SUSPECT);
    clock.advance(TIMEOUT_MS + 20);
    await watched.until('unknown');
    await lost;
  });

  test('without a word, both ends notice by the silence', async () => {
    const wire = await Wire.to(nameServer.port);
    const broker = new Registered({ addresses: [`127.0.0.1:${wire.port}`] });
    const watched = new Watched(nameServer.port, 't');
    await watched.until(BrokerState.LIVE);
    const lost = broker.says('lost a name server');
    wire.freeze();
    clock.advance(TIMEOUT_MS + 20);
    await Promise.all([lost, watched.until('unknown')]);
  });
});

describe('a registration that is refused', () => {
  test('is logged once with the sentence of the name server, and tried again', async () => {
    const first = new Registered();
    await first.registration.registeredOnce(5000);
    const second = new Registered({
      broker: { name: 'a', id: 0, role: BrokerRole.MASTER, address: 'elsewhere:1', epoch: 1n },
    });
    await second.says('runs already at host:1');
    expect(second.registration.states()).toMatchObject([{ state: 'refused' }]);
    const registered = second.says('registered with a name server');
    await first.registration.leave();
    clock.advance(RETRY_MS);
    await registered;
    expect(logged.filter((line) => line.includes('refuses this broker'))).toHaveLength(1);
  });

  test('of a stale epoch says so', async () => {
    await new Registered({
      broker: { name: 'a', id: 0, role: BrokerRole.MASTER, address: 'host:1', epoch: 2n },
    }).registration.registeredOnce(5000);
    await new Registered().says('comes too late');
  });
});

test('a name server that stays out of reach is doubted once, with the setting to check', async () => {
  new Registered({ addresses: ['127.0.0.1:1', 'no-such-host.invalid:9876'] });
  clock.advance(5000);
  clock.advance(60_000);
  const warnings = logged.filter((line) => line.includes('--nameserver or TERN_NAMESERVER'));
  expect(warnings).toHaveLength(2);
});
