import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import {
  AssignQueuesRequestSchema,
  AssignQueuesResponseSchema,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import type {
  Client,
  GroupPullConsumer,
  GroupPullOptions,
  MqError,
  SharedTopicOptions,
  TopicQueue,
} from '@ternmq/sdk';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Channel } from '../../sdk/typescript/src/transport/channel.ts';
import { broker as methods } from '../../sdk/typescript/src/transport/methods.ts';
import { Cluster } from '../support/cluster.ts';
import { eventually } from '../support/eventually.ts';

let cluster: Cluster;
let client: Client;
const members: GroupPullConsumer[] = [];
beforeEach(async () => {
  cluster = await Cluster.start();
  client = cluster.client();
});
afterEach(async () => {
  await Promise.all(members.splice(0).map((member) => member.close()));
  await cluster[Symbol.asyncDispose]();
});

type JoinRequest = MessageInitShape<typeof AssignQueuesRequestSchema>;

const within = { withinMs: 5000, everyMs: 5 };
const ids = (queues: readonly TopicQueue[]): number[] =>
  queues.map(({ queueId }) => queueId).sort((one, other) => one - other);

/** A member, with a connection of its own. */
function join(
  consumerId: string,
  shared: SharedTopicOptions = { from: 'first' },
  options: GroupPullOptions = {},
): GroupPullConsumer {
  const member = cluster.client().pullConsumer('g', { consumerId, ...options });
  members.push(member);
  return member.subscribe('t', shared);
}

/** Waits until members have so many queues, in their order. */
async function shares(counts: readonly number[], ...list: GroupPullConsumer[]): Promise<void> {
  await eventually(
    `shares of ${counts}`,
    () => (list.every(({ assigned }, i) => assigned.length === counts[i]) ? true : undefined),
    within,
  );
}

/** Sends so many messages, to the queues by turns. */
async function send(from: number, count: number, queues: number): Promise<string[]> {
  const producer = client.producer();
  const bodies = Array.from({ length: count }, (_, i) => `${from + i}`);
  await Promise.all(
    bodies.map((body, i) =>
      producer.send('t', { body, queue: { broker: 'broker-a', queueId: i % queues } }),
    ),
  );
  return bodies;
}

/** Polls for as long as it is not stopped. */
class Reader {
  readonly member: GroupPullConsumer;
  readonly #into: string[];
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;

  constructor(member: GroupPullConsumer, into: string[]) {
    this.member = member;
    this.#into = into;
    this.#running = this.#run();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      const batch = await this.member.poll({ max: 3, signal }).catch((error: unknown) => {
        if (signal.aborted) return [];
        throw error;
      });
      for (const message of batch) this.#into.push(message.text());
    }
  }

  /** Finishes what it was given, commits and leaves. */
  async leave(): Promise<void> {
    this.#stop.abort();
    await this.#running;
    await this.member.commit();
    await this.member.close();
  }
}

/** Waits until exactly these texts have come, each once. */
async function arrived(into: readonly string[], all: readonly string[]): Promise<void> {
  await eventually('all', () => (into.length >= all.length ? true : undefined), within);
  expect([...into].sort()).toEqual([...all].sort());
}

/** A member that knows only the schemas. */
class RawMember {
  readonly answers: { generation: bigint; queueIds: number[] }[] = [];
  readonly ended = Promise.withResolvers<MqError | undefined>();
  readonly #channel = new Channel(cluster.broker.address);
  readonly #stream = this.#channel.bytes(methods.assignQueues, {
    message: (bytes) => {
      const { generation, queues } = fromBinary(AssignQueuesResponseSchema, bytes);
      this.answers.push({ generation, queueIds: queues.map(({ queueId }) => queueId) });
    },
    ended: (error) => this.ended.resolve(error),
  });

  constructor(request: JoinRequest) {
    this.say(request);
  }

  say(request: JoinRequest): void {
    const message = create(AssignQueuesRequestSchema, request);
    this.#stream.write(Buffer.from(toBinary(AssignQueuesRequestSchema, message)));
  }

  /** Waits for queues. */
  async has(queueIds: readonly number[]): Promise<void> {
    const wanted = queueIds.join();
    await eventually(
      `queues ${wanted}`,
      () => (this.answers.at(-1)?.queueIds.join() === wanted ? true : undefined),
      within,
    );
  }

  /** The connection breaks. */
  break(): void {
    this.#stream.cancel();
    this.#channel.close();
  }
}

describe('the queues of a topic', () => {
  test('are shared among members that come and go, and every message is read once', async () => {
    await client.admin.createTopic('t', { queues: 6 });
    const into: string[] = [];
    const all = await send(0, 60, 6);
    const a = new Reader(join('a'), into);
    await shares([6], a.member);
    const b = new Reader(join('b'), into);
    all.push(...(await send(60, 60, 6)));
    const c = new Reader(join('c'), into);
    await shares([2, 2, 2], a.member, b.member, c.member);
    all.push(...(await send(120, 60, 6)));
    await b.leave();
    await shares([3, 3], a.member, c.member);
    all.push(...(await send(180, 60, 6)));
    await a.leave();
    await shares([6], c.member);
    await arrived(into, all);
    await c.leave();
    const { progress } = await client.admin.describeGroup('g');
    expect(progress.map(({ lag }) => lag)).toEqual([0, 0, 0, 0, 0, 0]);
  });

  test('are shared anew when the topic gets more', async () => {
    await client.admin.createTopic('t', { queues: 2 });
    const [a, b] = [join('a'), join('b')];
    await shares([1, 1], a, b);
    await client.admin.updateTopic('t', { queues: 8 });
    await shares([4, 4], a, b);
    expect(ids([...a.assigned, ...b.assigned])).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  });

  test('go to another member at once when the connection of their owner breaks', async () => {
    await client.admin.createTopic('t', { queues: 4 });
    const broken = new RawMember({ open: { group: 'g', topic: 't', consumerId: 'a' } });
    await broken.has([0, 1, 2, 3]);
    const b = join('b');
    await eventually(
      'b is in',
      () => (broken.answers.at(-1)?.queueIds.length === 2 ? true : undefined),
      within,
    );
    expect(b.assigned).toEqual([]);
    broken.break();
    await shares([4], b);
  });

  test('go to another member 3 s after their owner was told, when it does not say that it let go', async () => {
    await client.admin.createTopic('t', { queues: 4 });
    const silent = new RawMember({ open: { group: 'g', topic: 't', consumerId: 'a' } });
    await silent.has([0, 1, 2, 3]);
    const next = new RawMember({ open: { group: 'g', topic: 't', consumerId: 'b' } });
    await next.has([]);
    await eventually('told', () => (silent.answers.length === 2 ? true : undefined), within);
    cluster.clock.advance(2999);
    await new Promise((resolve) => setImmediate(resolve));
    expect(next.answers).toHaveLength(1);
    cluster.clock.advance(1);
    const rest = [0, 1, 2, 3].filter((id) => !silent.answers.at(-1)?.queueIds.includes(id));
    await next.has(rest);
    silent.break();
    next.break();
  });

  test('stay with members in the machine room of the broker', async () => {
    await client.admin.createTopic('t', { queues: 4 });
    const near = join('z', { strategy: 'machineRoom', room: 'broker' });
    const far = join('a', { strategy: 'machineRoom', room: 'elsewhere' });
    await shares([4, 0], near, far);
    await near.close();
    await shares([4], far);
  });

  test('are shown with their readers to operators', async () => {
    await client.admin.createTopic('t', { queues: 4 });
    await shares([2, 2], join('a', { strategy: 'circle' }), join('b', { strategy: 'circle' }));
    const { pullMembers } = await client.admin.describeGroup('g');
    expect(pullMembers).toMatchObject([
      { broker: 'broker-a', topic: 't', consumerId: 'a', strategy: 'circle', room: '' },
      { broker: 'broker-a', topic: 't', consumerId: 'b', strategy: 'circle', room: '' },
    ]);
    const dealt = pullMembers.map(({ queueIds }) => queueIds.join());
    expect(dealt.sort()).toEqual(['0,2', '1,3']);
    await expect(client.admin.deleteGroup('g')).rejects.toMatchObject({ code: 'GROUP_IN_USE' });
  });
});

describe('a member', () => {
  test('that shares by another strategy than the others is refused, and told which they use', async () => {
    await client.admin.createTopic('t', { queues: 4 });
    const a = join('a', { strategy: 'consistentHash' });
    await shares([4], a);
    await expect(join('b', { strategy: 'circle' }).poll()).rejects.toMatchObject({
      code: 'STRATEGY_MISMATCH',
      details: { strategy: 'CONSISTENT_HASH' },
      message: expect.stringContaining('give all of them the same strategy'),
    });
    expect(a.assigned).toHaveLength(4);
  });

  test('of the id of another takes its place, and the other says so', async () => {
    await client.admin.createTopic('t', { queues: 4 });
    const old = join('a');
    await shares([4], old);
    const next = join('a');
    await shares([4], next);
    await expect(old.poll()).rejects.toMatchObject({ code: 'REPLACED' });
  });

  test('goes on where it was when the broker restarts, and reads nothing twice', async () => {
    await client.admin.createTopic('t', { queues: 3 });
    const into: string[] = [];
    const reader = new Reader(join('a'), into);
    const all = await send(0, 30, 3);
    await arrived(into, all);
    await cluster.restartBroker();
    all.push(...(await send(30, 30, 3)));
    await arrived(into, all);
    await reader.leave();
    const { progress } = await client.admin.describeGroup('g');
    expect(progress.map(({ floorOffset }) => floorOffset)).toEqual([20, 20, 20]);
  });

  test('keeps a queue until its application has finished what it was given', async () => {
    await client.admin.createTopic('t', { queues: 1 });
    const all = await send(0, 10, 1);
    const revoked: number[][] = [];
    const z = join(
      'z',
      { from: 'first', strategy: 'consistentHash' },
      { onRevoked: (queues) => void revoked.push(ids(queues)) },
    );
    await shares([1], z);
    const given = (await z.poll({ max: 4 })).map((message) => message.text());
    // Which of many ids gets the only queue is up to their hashes: one of them does.
    const others = Array.from({ length: 16 }, (_, i) =>
      join(`m${i}`, { from: 'first', strategy: 'consistentHash' }),
    );
    await shares([0], z);
    expect(others.some(({ assigned }) => assigned.length > 0)).toBe(false);
    expect(revoked).toEqual([]);
    // Polling again says that the batch is worked on; the queue is not read any more.
    expect(await z.poll({ waitMs: 0 })).toEqual([]);
    const owner = await eventually(
      'a new owner',
      () => others.find(({ assigned }) => assigned.length > 0),
      within,
    );
    expect(revoked).toEqual([[0]]);
    expect([...given, ...(await owner.poll()).map((message) => message.text())]).toEqual(all);
  });

  test('that joins a new group later misses nothing that came since the first one joined', async () => {
    await client.admin.createTopic('t', { queues: 2 });
    await send(0, 4, 2);
    const idle = join('a', { from: 'last' });
    await shares([2], idle);
    const all = await send(4, 10, 2);
    await idle.close();
    const into: string[] = [];
    const reader = new Reader(join('b', { from: 'last' }), into);
    await arrived(into, all);
    await reader.leave();
  });

  test('seeks before it reads, by time, to the ends, and pauses', async () => {
    await client.admin.createTopic('t', { queues: 1 });
    await send(0, 3, 1);
    cluster.clock.advance(60_000);
    const later = new Date(cluster.clock.nowMs());
    await send(3, 3, 1);
    const a = join(
      'a',
      { from: 'first' },
      {
        autoCommitMs: 0,
        onAssigned: async ([queue]) => {
          if (queue !== undefined) await a.seek(queue, await a.offsetForTime(queue, later));
        },
      },
    );
    const texts = async (waitMs?: number): Promise<string[]> =>
      (await a.poll(waitMs === undefined ? {} : { waitMs })).map((message) => message.text());
    expect(await texts()).toEqual(['3', '4', '5']);
    const [queue] = a.assigned as [TopicQueue];
    expect(a.position(queue)).toBe(6);
    await a.seekToBegin();
    a.pause([queue]);
    expect(await texts(0)).toEqual([]);
    a.resume([queue]);
    expect(await texts()).toEqual(['0', '1', '2', '3', '4', '5']);
    await a.seek(queue, 2);
    await a.commit();
    const { progress } = await client.admin.describeGroup('g');
    expect(progress[0]?.floorOffset).toBe(2);
    await a.seekToEnd();
    await a.close();
    await a.close();
    await expect(a.poll()).rejects.toMatchObject({ code: 'CLOSED' });
    const after = await client.admin.describeGroup('g');
    expect(after.progress[0]?.floorOffset).toBe(2);
  });

  test('says what is wrong with how it joins', async () => {
    await client.admin.createTopic('t', { queues: 1 });
    const open = { group: 'g', topic: 't', consumerId: 'a' };
    const refusals: { request: JoinRequest; code: string }[] = [
      { request: { releasedGeneration: 1n }, code: 'NOT_OPEN' },
      { request: { open: { ...open, topic: 'none' } }, code: 'TOPIC_NOT_FOUND' },
      { request: { open: { ...open, consumerId: '' } }, code: 'INVALID_CONSUMER_ID' },
      { request: { open: { ...open, strategy: 4 } }, code: 'INVALID_FIELD' },
      { request: { open: { ...open, strategy: 9 as 0 } }, code: 'INVALID_FIELD' },
      { request: { open: { ...open, room: 'eu' } }, code: 'INVALID_FIELD' },
    ];
    for (const { request, code } of refusals) {
      const member = new RawMember(request);
      expect(await member.ended.promise).toMatchObject({ code });
      member.break();
    }
    const twice = new RawMember({ open });
    await twice.has([0]);
    twice.say({ open });
    expect(await twice.ended.promise).toMatchObject({ code: 'ALREADY_OPEN' });
    twice.break();
  });

  test('loses its queues when the topic is deleted, and gets those of the next one of that name', async () => {
    await client.admin.createTopic('t', { queues: 2 });
    const a = join('a');
    await shares([2], a);
    await client.admin.deleteTopic('t');
    await shares([0], a);
    await client.admin.createTopic('t', { queues: 3 });
    await shares([3], a);
  });
});
