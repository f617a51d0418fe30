import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  AssignQueuesRequestSchema,
  AssignQueuesResponseSchema,
  PullResponseSchema,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { beforeEach, expect, test } from 'vitest';
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
    return {};
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
async function assign(generation: bigint, offset: bigint): Promise<void> {
  const response = { generation, queues: [{ queueId: 0, offset }] };
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
