import { create, type MessageInitShape } from '@bufbuild/protobuf';
import {
  type Broker,
  BrokerRole,
  BrokerState,
  RegisterBrokerRequest_HeartbeatSchema,
  RegisterBrokerRequest_RegistrationSchema,
} from '@ternmq/proto/gen/ternmq/nameserver/v1/nameserver_pb';
import type { TernError } from '@ternmq/runtime';
import { beforeEach, describe, expect, test } from 'vitest';
import { Cluster } from './cluster.ts';

type BrokerInit = Partial<Pick<Broker, 'name' | 'id' | 'address' | 'role' | 'epoch' | 'cluster'>>;
type HeartbeatInit = MessageInitShape<typeof RegisterBrokerRequest_HeartbeatSchema>;

let told: string[];
let leftOut: number;
let cluster: Cluster;

beforeEach(() => {
  told = [];
  leftOut = 0;
  cluster = new Cluster(
    { timeoutMs: 1000, tickMs: 20, topicsMax: 3, brokersMax: 2 },
    {
      routesChanged: () => {},
      brokerChanged: ({ name, id, address }, what) => told.push(`${name}/${id} ${address} ${what}`),
      topicsLeftOut: (_broker, count) => {
        leftOut += count;
      },
    },
  );
});

const { MASTER, SLAVE, UNSPECIFIED } = BrokerRole;
const BROKER = { name: 'a', id: 0, address: 'host:1', role: MASTER, epoch: 5n };

function register(
  init: BrokerInit = {},
  topics: readonly string[] = ['t'],
  revoked: (error: TernError) => void = () => {},
) {
  const registration = create(RegisterBrokerRequest_RegistrationSchema, {
    broker: { ...BROKER, ...init },
    topics: topics.map((topic) => ({ topic, queues: 1, readable: true, writable: true })),
  });
  return cluster.register(registration, 0, revoked);
}

function beat(membership: ReturnType<typeof register>, init: HeartbeatInit = {}, nowMs = 0) {
  return cluster.heartbeat(membership, create(RegisterBrokerRequest_HeartbeatSchema, init), nowMs);
}

function refused(reason: string) {
  return expect.objectContaining({ reason });
}

describe('of two registrations of the same name and id', () => {
  test('the higher epoch wins, and the loser is told', () => {
    const errors: string[] = [];
    register({}, ['t'], (error) => errors.push(error.reason));
    register({ epoch: 6n, address: 'other:1' });
    expect(errors).toEqual(['REGISTRATION_REPLACED']);
    expect(told.at(-1)).toBe('a/0 other:1 registered');
    expect(() => register({ epoch: 5n })).toThrow(refused('STALE_EPOCH'));
  });

  test('the newer one wins at equal epochs when it comes from the same address', () => {
    const errors: string[] = [];
    register({}, ['t'], (error) => errors.push(error.reason));
    register({}, ['u']);
    expect(errors).toEqual(['REGISTRATION_REPLACED']);
    expect(cluster.routes.route('t').groups).toEqual([]);
    expect(cluster.routes.route('u').groups).toHaveLength(1);
  });

  test('the newer one is refused at equal epochs when another address is live, with what to do', () => {
    register();
    expect(() => register({ address: 'other:1' })).toThrow(refused('BROKER_ID_IN_USE'));
    expect(() => register({ address: 'other:1' })).toThrow(
      /runs already at host:1.*--name or --id/,
    );
  });

  test('the newer one wins at equal epochs when the older one is suspect or gone', () => {
    cluster.disconnected(register());
    register({ address: 'other:1' });
    expect(told.at(-1)).toBe('a/0 other:1 registered');
  });
});

describe('a stream', () => {
  test('that ends makes its broker suspect, and silence then removes it', () => {
    const membership = register();
    cluster.disconnected(membership);
    expect(cluster.routes.route('t').groups[0]?.brokers[0]?.state).toBe(BrokerState.SUSPECT);
    for (let nowMs = 0; nowMs <= 1000; nowMs += 20) cluster.tick(nowMs);
    expect(cluster.routes.route('t').groups).toEqual([]);
    expect(told).toEqual(['a/0 host:1 registered', 'a/0 host:1 suspect', 'a/0 host:1 gone']);
  });

  test('that was replaced changes nothing any more', () => {
    const old = register();
    register();
    cluster.disconnected(old);
    expect(beat(old, { leaving: true })).toBe(false);
    expect(cluster.routes.route('t').groups[0]?.brokers[0]?.state).toBe(BrokerState.LIVE);
  });

  test('that is silent for the timeout is revoked', () => {
    const errors: string[] = [];
    register({}, ['t'], (error) => errors.push(error.reason));
    for (let nowMs = 0; nowMs <= 1000; nowMs += 20) cluster.tick(nowMs);
    expect(errors).toEqual(['HEARTBEAT_MISSED']);
  });
});

describe('a heartbeat', () => {
  test('keeps its broker, and makes a suspect one live again', () => {
    const membership = register();
    for (let nowMs = 0; nowMs <= 600; nowMs += 20) cluster.tick(nowMs);
    expect(told.at(-1)).toBe('a/0 host:1 suspect');
    expect(beat(membership, {}, 610)).toBe(true);
    expect(told.at(-1)).toBe('a/0 host:1 live');
  });

  test('changes topics and the role', () => {
    const membership = register();
    beat(membership, {
      changedTopics: [{ topic: 'u', queues: 2 }],
      removedTopics: ['t'],
      broker: { ...BROKER, role: SLAVE, epoch: 6n },
    });
    expect([...cluster.routes.topics()]).toEqual(['u']);
    expect(cluster.routes.find('a/0')?.broker).toMatchObject({
      role: SLAVE,
      epoch: 6n,
      state: BrokerState.LIVE,
    });
  });

  test('removes a broker that leaves at once', () => {
    expect(beat(register(), { leaving: true })).toBe(false);
    expect(cluster.routes.memberCount).toBe(0);
    expect(told.at(-1)).toBe('a/0 host:1 left');
  });

  test('that is malformed, or of an older epoch, changes nothing', () => {
    const membership = register();
    const changes: [HeartbeatInit, string][] = [
      [{ broker: { ...BROKER, epoch: 4n } }, 'STALE_EPOCH'],
      [{ broker: { ...BROKER, id: 1 } }, 'MALFORMED_REQUEST'],
      [{ removedTopics: ['t', '../x'] }, 'MALFORMED_REQUEST'],
      [{ removedTopics: ['t'], changedTopics: [{ topic: 'u', queues: 0 }] }, 'MALFORMED_REQUEST'],
    ];
    for (const [init, reason] of changes) {
      expect(() => beat(membership, init)).toThrow(refused(reason));
    }
    expect([...cluster.routes.topics()]).toEqual(['t']);
    expect(cluster.routes.find('a/0')?.broker.epoch).toBe(5n);
  });
});

describe('a registration', () => {
  test.each([
    [{ name: '' }, 'broker.name'],
    [{ name: 'a b' }, 'broker.name'],
    [{ name: 'x'.repeat(128) }, 'broker.name'],
    [{ address: 'host' }, 'broker.address'],
    [{ address: 'host:0' }, 'broker.address'],
    [{ role: UNSPECIFIED }, 'broker.role'],
    [{ cluster: 'x'.repeat(128) }, 'broker.cluster'],
  ] satisfies [BrokerInit, string][])(
    'with %j is refused, and the field named',
    (broker, field) => {
      expect(() => register(broker)).toThrow(
        expect.objectContaining({
          code: 'INVALID_ARGUMENT',
          fieldViolations: [expect.objectContaining({ field })],
        }),
      );
    },
  );

  test('with a topic that is malformed or named twice is refused', () => {
    for (const topics of [['../x'], ['a\0'], [''], ['x'.repeat(128)], ['t', 't']]) {
      expect(() => register({}, topics)).toThrow(refused('MALFORMED_REQUEST'));
    }
  });

  test('of topics beyond the bound is taken without them, and tells so', () => {
    register({}, ['t', 'u', 'v', 'w', 'x']);
    expect(cluster.routes.topicCount).toBe(3);
    expect(leftOut).toBe(2);
    register({ name: 'b' }, ['t', 'y']);
    expect([...cluster.routes.topics()]).toEqual(['t', 'u', 'v']);
  });

  test('of a broker beyond the bound is refused', () => {
    register();
    register({ name: 'b' });
    expect(() => register({ name: 'c' })).toThrow(refused('TOO_MANY_BROKERS'));
    register();
  });
});

test('describes brokers with their silence', () => {
  register({}, ['t', 'u']);
  expect(cluster.describe(300)).toMatchObject([
    { broker: { name: 'a', state: BrokerState.LIVE }, topics: 2, silenceMs: 300n },
  ]);
});
