// A reset while members pull: it reaches them, and nothing that they commit undoes it.

import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  AssignQueuesRequestSchema,
  type AssignQueuesResponse,
  AssignQueuesResponseSchema,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import type { GroupPullConsumer, GroupPullOptions, ResetTarget, TopicQueue } from '@ternmq/sdk';
import { afterEach, describe, expect, test } from 'vitest';
import { Channel } from '../../sdk/typescript/src/transport/channel.ts';
import { broker as methods } from '../../sdk/typescript/src/transport/methods.ts';
import { Cluster } from '../support/cluster.ts';
import { eventually } from '../support/eventually.ts';
import { Relay } from '../support/relay.ts';

const within = { withinMs: 5000, everyMs: 5 };
/** Where clients find the broker when a link lies between. */
const LINK_HOST = '127.0.0.2';

let cluster: Cluster;
const members: GroupPullConsumer[] = [];
const channels: Channel[] = [];
afterEach(async () => {
  await Promise.all(members.splice(0).map((member) => member.close()));
  for (const channel of channels.splice(0)) channel.close();
  await cluster[Symbol.asyncDispose]();
});

/** A cluster with a topic of one queue that holds so many messages: their offsets. */
async function start(messages: number): Promise<void> {
  cluster = await Cluster.start();
  await cluster.client().admin.createTopic('t', { queues: 1 });
  await send(0, messages);
}

async function send(from: number, count: number): Promise<void> {
  const producer = cluster.client().producer();
  for (let i = from; i < from + count; i++) await producer.send('t', { body: `${i}` });
}

/** A member that commits by hand, or when a test lets it, with a connection of its own. */
async function join(options: GroupPullOptions = {}): Promise<GroupPullConsumer> {
  const member = cluster.client().pullConsumer('g', { autoCommitMs: 0, ...options });
  members.push(member);
  member.subscribe('t', { from: 'first' });
  await assigned(member);
  return member;
}

async function assigned(member: GroupPullConsumer): Promise<TopicQueue> {
  return eventually('it has the queue', () => member.assigned[0], within);
}

async function texts(member: GroupPullConsumer, max: number): Promise<string> {
  return (await member.poll({ max })).map((message) => message.text()).join();
}

async function reset(to: ResetTarget): Promise<void> {
  await cluster.client().admin.resetGroup({ group: 'g', topic: 't', to });
}

async function floor(): Promise<number | undefined> {
  return (await cluster.client().admin.getOffset('g', 't'))[0]?.floorOffset;
}

/** Waits until a member is at an offset. */
async function at(member: GroupPullConsumer, offset: number): Promise<void> {
  const is = (): true | undefined =>
    member.assigned[0] && member.position(member.assigned[0]) === offset ? true : undefined;
  await eventually(`it is at ${offset}`, is, within);
}

/** A connection to the broker itself. */
function direct(): Channel {
  const channel = new Channel(`127.0.0.1:${cluster.broker.port}`);
  channels.push(channel);
  return channel;
}

/** A member that knows only the schemas. */
async function rawMember(
  consumerId: string,
): Promise<{ heard: AssignQueuesResponse[]; leave(): void }> {
  const heard: AssignQueuesResponse[] = [];
  const stream = direct().bytes(methods.assignQueues, {
    message: (bytes) => heard.push(fromBinary(AssignQueuesResponseSchema, bytes)),
    ended: () => {},
  });
  const open = { group: 'g', topic: 't', consumerId, from: { target: beginning } };
  const request = create(AssignQueuesRequestSchema, { open });
  stream.write(Buffer.from(toBinary(AssignQueuesRequestSchema, request)));
  await eventually('it has heard', () => heard[0], within);
  return { heard, leave: () => stream.end() };
}
const beginning = { case: 'begin', value: {} } as const;

async function commit(
  session: bigint,
  offset: number,
  generation: bigint | undefined,
): Promise<string> {
  const offsets = [
    { queueId: 0, offset: BigInt(offset), ...(generation === undefined ? {} : { generation }) },
  ];
  const request = { group: 'g', topic: 't', offsets, session };
  const { refused } = await direct().unary(methods.commitOffset, request, { deadlineMs: 5000 });
  return refused.map(({ reason }) => reason).join();
}

describe('a reset of a group whose members pull', () => {
  test.each<[string, ResetTarget, number, string]>([
    ['back', { offset: 1 }, 1, '1,2'],
    ['forward', { offset: 8 }, 8, '8,9'],
    ['within what is worked on', { offset: 3 }, 3, '3,4'],
  ])(
    '%s reaches a member in the middle of its work, and its commit does not undo it',
    async (_, to, place, next) => {
      await start(10);
      const member = await join();
      expect(await texts(member, 2)).toBe('0,1');
      await member.commit();
      expect(await texts(member, 4)).toBe('2,3,4,5');
      await reset(to);
      await at(member, place);
      await member.commit();
      expect(await floor()).toBe(place);
      expect(await texts(member, 2)).toBe(next);
      await member.commit();
      expect(await floor()).toBe(place + 2);
    },
  );

  test('wakes a member that waits for messages', async () => {
    await start(3);
    const member = await join();
    expect(await texts(member, 8)).toBe('0,1,2');
    const waiting = texts(member, 8);
    await reset({ offset: 1 });
    expect(await waiting).toBe('1,2');
  });

  test('reaches each of several members with what it reads, and no queue of another', async () => {
    cluster = await Cluster.start();
    await cluster.client().admin.createTopic('t', { queues: 4 });
    const producer = cluster.client().producer();
    for (let i = 0; i < 40; i++) {
      await producer.send('t', { body: 'x', queue: { broker: 'broker-a', queueId: i % 4 } });
    }
    const [one, other] = [await join(), cluster.client().pullConsumer('g', { autoCommitMs: 0 })];
    members.push(other);
    other.subscribe('t');
    const shared = async (): Promise<true | undefined> => {
      // What leaves was worked on.
      await one.poll({ waitMs: 0, max: 1 });
      return one.assigned.length === 2 && other.assigned.length === 2 ? true : undefined;
    };
    await eventually('both have two queues', shared, within);
    for (const member of [one, other]) {
      await member.seekToEnd();
      await member.commit();
    }
    const owner = one.assigned.some(({ queueId }) => queueId === 2) ? one : other;
    const offsets = [{ queueId: 2, offset: 4n }];
    const request = { group: 'g', topic: 't', offsets };
    await direct().unary(methods.commitOffset, request, { deadlineMs: 5000 });
    const places = (): number[] => {
      const at: number[] = [];
      for (const member of [one, other]) {
        for (const queue of member.assigned) at[queue.queueId] = member.position(queue);
      }
      return at;
    };
    await eventually('it is told', () => (places()[2] === 4 ? true : undefined), within);
    expect(places()).toEqual([10, 10, 4, 10]);
    expect(await owner.poll({ max: 1 })).toMatchObject([{ queueId: 2, offset: 4 }]);
  });

  test('is not undone by the commit that a member makes when its queue goes to another', async () => {
    await start(10);
    const member = await join();
    expect(await texts(member, 6)).toBe('0,1,2,3,4,5');
    await reset({ offset: 2 });
    await at(member, 2);
    await member.close();
    expect(await floor()).toBe(2);
    expect(await texts(await join(), 2)).toBe('2,3');
  });

  test.each([
    ['lies within what it was given', 4],
    ['is where it was committed', 2],
    ['lies behind it', 9],
  ])('while its connection is broken is where it goes on, if that %s', async (_, place) => {
    cluster = await Cluster.start({ broker: { advertise: LINK_HOST } });
    const to = { host: '127.0.0.1', port: cluster.broker.port };
    let link = await Relay.start(LINK_HOST, to);
    try {
      await cluster.client().admin.createTopic('t', { queues: 1 });
      await send(0, 10);
      const member = await join();
      expect(await texts(member, 2)).toBe('0,1');
      await member.commit();
      expect(await texts(member, 4)).toBe('2,3,4,5');
      await link[Symbol.asyncDispose]();
      await eventually(
        'it has lost the queue',
        () => member.assigned.length === 0 || undefined,
        within,
      );
      expect(await commit(0n, place, undefined)).toBe('');
      link = await Relay.start(LINK_HOST, to);
      await at(member, place);
      await member.commit();
      expect(await floor()).toBe(place);
      expect(await texts(member, 1)).toBe(`${place}`);
      await member.close();
    } finally {
      await link[Symbol.asyncDispose]();
    }
  });

  test('also holds after the broker has restarted, and so do the commits of members that know it', async () => {
    await start(10);
    const member = await join();
    expect(await texts(member, 6)).toBe('0,1,2,3,4,5');
    await reset({ offset: 2 });
    await at(member, 2);
    expect(await texts(member, 3)).toBe('2,3,4');
    await member.commit();
    await cluster.restartBroker();
    await at(member, 5);
    expect(await texts(member, 1)).toBe('5');
    await member.commit();
    expect(await floor()).toBe(6);
  });

  test('by copying from another group reaches its members, too', async () => {
    await start(10);
    const member = await join();
    expect(await texts(member, 6)).toBe('0,1,2,3,4,5');
    const { admin } = cluster.client();
    await admin.resetGroup({ group: 'other', topic: 't', to: { offset: 7 } });
    await admin.copyOffsets({ from: 'other', to: 'g' });
    await at(member, 7);
    await member.commit();
    expect(await floor()).toBe(7);
  });
});

describe('a commit of a member', () => {
  test('that was under way when somebody else set the progress is refused', async () => {
    await start(10);
    const { heard, leave } = await rawMember('a');
    const { session, queues } = heard[0] as AssignQueuesResponse;
    const generation = queues[0]?.generation;
    expect(await commit(session, 3, generation)).toBe('');
    expect(await floor()).toBe(3);
    // One's own commits change nothing about the generation.
    expect(await commit(session, 4, generation)).toBe('');
    await reset({ offset: 1 });
    expect(await commit(session, 5, generation)).toBe('OFFSET_WAS_RESET');
    expect(await floor()).toBe(1);
    const told = await eventually('it is told', () => heard[1], within);
    expect(told).toMatchObject({ session, queues: [{ queueId: 0, offset: 1n }] });
    expect(told.queues[0]?.generation).not.toBe(generation);
    expect(await commit(session, 5, told.queues[0]?.generation)).toBe('');
    expect(await floor()).toBe(5);
    leave();
  });

  test('is refused when its stream has ended or never had the queue', async () => {
    await start(10);
    const first = await rawMember('a');
    const { session, queues } = first.heard[0] as AssignQueuesResponse;
    const generation = queues[0]?.generation;
    first.leave();
    await eventually(
      'it is out',
      async () => {
        const { pullMembers } = await cluster.client().admin.describeGroup('g');
        return pullMembers.length === 0 ? true : undefined;
      },
      within,
    );
    expect(await commit(session, 3, generation)).toBe('QUEUE_NOT_OWNED');
    const again = await rawMember('a');
    expect(await commit(session, 3, generation)).toBe('QUEUE_NOT_OWNED');
    expect(await commit(1n, 3, generation)).toBe('QUEUE_NOT_OWNED');
    expect(await floor()).toBe(0);
    again.leave();
  });
});
