import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  AssignQueuesRequestSchema,
  AssignQueuesResponseSchema,
  PullResponseSchema,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { beforeEach, expect, test } from 'vitest';
import { MqError } from './errors.ts';
import { Events } from './events.ts';
import { GroupPullConsumer, type GroupPullOptions } from './group-pull-consumer.ts';
import { FakeChannel } from './testing/fake-channel.ts';
import { FakeRoutes } from './testing/fake-routes.ts';
import { ManualClock } from './testing/manual-clock.ts';
import type { Channels } from './transport/channels.ts';

let clock: ManualClock;
let channel: FakeChannel;
let routes: FakeRoutes;
/** What was committed: `queue:offset`. */
let commits: string[];

beforeEach(() => {
  clock = new ManualClock();
  channel = new FakeChannel('a:1');
  routes = new FakeRoutes();
  routes.add('one', { a: 1 });
  commits = [];
  channel.answer = async (method, request) => {
    if (method === 'Pull') {
      const { offset } = request as { offset: bigint };
      const messages = [{ queueId: 0, offset, message: { body: Buffer.from('x') } }];
      const response = create(PullResponseSchema, { messages, nextOffset: offset + 1n });
      return Buffer.from(toBinary(PullResponseSchema, response));
    }
    const { offsets } = request as { offsets: { queueId: number; offset: bigint }[] };
    for (const { queueId, offset } of offsets) commits.push(`${queueId}:${offset}`);
    return { refused: [] };
  };
});

function consumer(options: GroupPullOptions = {}): GroupPullConsumer {
  const channels = { get: () => channel } as unknown as Channels;
  return new GroupPullConsumer('g', options, {
    routes: routes.routes,
    channels,
    clock,
    events: new Events(),
    clientId: 'test',
  });
}

/** The broker assigns the only queue. */
async function assign(generation: bigint, offset: bigint, set = 1n): Promise<void> {
  const queues = [{ queueId: 0, offset, generation: set }];
  const response = { generation, queues, session: 7n };
  const bytes = toBinary(AssignQueuesResponseSchema, create(AssignQueuesResponseSchema, response));
  channel.stream.listener.message(Buffer.from(bytes));
  await clock.advance(0);
}

test('commits every 5 s what was worked on, and not what was given last', async () => {
  const member = consumer().subscribe('one');
  await clock.advance(0);
  await assign(1n, 7n);
  await clock.until(member.poll({ max: 1 }));
  await clock.advance(5000);
  expect(commits).toEqual([]);
  await clock.until(member.poll({ max: 1 }));
  await clock.advance(5000);
  expect(commits).toEqual(['0:8']);
  const closed = member.close();
  channel.stream.close();
  await clock.until(closed);
  expect(commits).toEqual(['0:8']);
});

test('commits only when it is told to, if it is to be by hand', async () => {
  const member = consumer({ autoCommitMs: 0 }).subscribe('one');
  await clock.advance(0);
  await assign(1n, 7n);
  await clock.until(member.poll({ max: 1 }));
  await clock.until(member.poll({ max: 1 }));
  await clock.advance(20_000);
  expect(commits).toEqual([]);
  await clock.until(member.commit());
  expect(commits).toEqual(['0:9']);
});

test('a poll that waits behind the newest message gives what a reset brings back, at once', async () => {
  const { answer } = channel;
  channel.answer = async (method, request, limits) => {
    const { offset, waitMs } = request as { offset: bigint; waitMs: number };
    if (method !== 'Pull' || offset < 7n) return answer(method, request, limits);
    if (waitMs === 0) {
      const response = create(PullResponseSchema, { nextOffset: offset });
      return Buffer.from(toBinary(PullResponseSchema, response));
    }
    return new Promise((_, reject) => {
      limits.signal?.addEventListener('abort', () => reject(new MqError('ABORTED', 'aborted')));
    });
  };
  const member = consumer().subscribe('one');
  await clock.advance(0);
  await assign(1n, 7n);
  const polled = member.poll({ max: 1 });
  await clock.advance(100);
  await assign(1n, 3n, 2n);
  const [message] = await clock.until(polled);
  expect(message?.offset).toBe(3);
  expect(clock.monotonicMs()).toBeLessThan(1000);
});

test('hears of a reset while the application is told of queues that come', async () => {
  const told = Promise.withResolvers<void>();
  const member = consumer({ onAssigned: () => told.promise }).subscribe('one');
  await clock.advance(0);
  await assign(1n, 7n);
  await assign(1n, 3n, 2n);
  await assign(1n, 4n, 3n);
  told.resolve();
  await clock.advance(0);
  const [queue] = member.assigned;
  expect(queue && member.position(queue)).toBe(4);
});

test('says that it let go of queues only on the stream that took them', async () => {
  const member = consumer().subscribe('one');
  await clock.advance(0);
  await assign(1n, 7n);
  const first = channel.stream;
  const released = (): bigint[] =>
    channel.streams.flatMap(({ written }) =>
      written.map((bytes) => fromBinary(AssignQueuesRequestSchema, bytes).releasedGeneration),
    );
  expect(released()).toEqual([0n, 1n]);
  await clock.until(member.poll({ max: 1 }));
  const nothing = create(AssignQueuesResponseSchema, { generation: 2n });
  first.listener.message(Buffer.from(toBinary(AssignQueuesResponseSchema, nothing)));
  await clock.advance(10);
  first.close();
  await clock.advance(6000);
  expect(channel.streams).toHaveLength(2);
  expect(released()).toEqual([0n, 1n, 0n]);
  expect(member.assigned).toEqual([]);
});

test.each([
  ['autoCommitMs below a second', () => consumer({ autoCommitMs: 999 })],
  ['a strategy that there is not', () => consumer().subscribe('one', { strategy: 'x' as never })],
  ['machineRoom without a room', () => consumer().subscribe('one', { strategy: 'machineRoom' })],
  ['a room without machineRoom', () => consumer().subscribe('one', { room: 'eu' })],
  ['the same topic twice', () => consumer().subscribe('one').subscribe('one')],
])('refuses %s', (_, make) => {
  expect(make).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
});

test('refuses to poll twice at the same time', async () => {
  const member = consumer().subscribe('one');
  const polled = member.poll({ waitMs: 50 });
  await expect(member.poll()).rejects.toMatchObject({ code: 'ALREADY_RUNNING' });
  expect(await clock.until(polled)).toEqual([]);
});
