import type { OffsetStore, StartPoint, TopicQueue } from '@ternmq/sdk';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Cluster } from '../support/cluster.ts';
import { eventually } from '../support/eventually.ts';

let cluster: Cluster;
beforeEach(async () => {
  cluster = await Cluster.start();
});
afterEach(() => cluster[Symbol.asyncDispose]());

const within = { withinMs: 8000, everyMs: 5 };
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const texts = (messages: readonly { text(): string }[]): string[] => messages.map((m) => m.text());

async function send(bodies: readonly string[], queueId = 0): Promise<void> {
  const producer = cluster.client().producer();
  for (const body of bodies) {
    await producer.send('t', { body, queue: { broker: 'broker-a', queueId } });
    await cluster.pass(1000);
  }
}

/** A member that takes what there is, and leaves; returns what it got. */
async function visit(consumerId: string, from: StartPoint, count: number): Promise<string[]> {
  const seen: string[] = [];
  const run = cluster
    .client()
    .consumer('g', { mode: 'broadcasting', consumerId, from })
    .subscribe('t')
    .run((message) => void seen.push(message.text()));
  await eventually(
    `${consumerId} is there`,
    async () => {
      const { consumers } = await described();
      const there = consumers.some((one) => one.consumerId === consumerId);
      return there && seen.length >= count ? true : undefined;
    },
    within,
  );
  await run.close();
  return seen;
}

const described = () =>
  cluster
    .client()
    .admin.describeGroup('g')
    .catch(() => ({ consumers: [], broadcastMembers: [], progress: [] }));

const members = async (): Promise<string[]> =>
  (await described()).broadcastMembers.map(({ consumerId }) => consumerId).sort();

/** Days pass, and then an hour in which the broker looks after its members. */
async function later(days: number): Promise<void> {
  cluster.clock.setWall(cluster.clock.nowMs() + days * DAY_MS);
  await cluster.pass(HOUR_MS);
}

describe('a broadcasting member', () => {
  test('starts where it says when it is new, and goes on where it was when it is not', async () => {
    await cluster.client().admin.createTopic('t', { queues: 1 });
    const startMs = cluster.clock.nowMs();
    await send(['a', 'b', 'c']);
    expect(await visit('first', 'first', 3)).toEqual(['a', 'b', 'c']);
    expect(await visit('last', 'last', 0)).toEqual([]);
    expect(await visit('time', new Date(startMs + 1000), 2)).toEqual(['b', 'c']);
    expect(await visit('offset', { offset: 2 }, 1)).toEqual(['c']);
    await send(['d']);
    await cluster.restartBroker();
    for (const consumerId of ['first', 'last', 'time', 'offset']) {
      expect(await visit(consumerId, 'first', 1)).toEqual(['d']);
    }
    const { progress } = await described();
    expect(progress.every(({ floorOffset, lag }) => floorOffset === 4 && lag === 0)).toBe(true);
  });

  test('that does not come back is forgotten after a week, and who comes at times is not', async () => {
    await cluster.client().admin.createTopic('t', { queues: 1 });
    await send(['a']);
    for (const consumerId of ['gone', 'daily']) await visit(consumerId, 'first', 1);
    const stays = cluster
      .client()
      .consumer('g', { mode: 'broadcasting', consumerId: 'stays', from: 'last' })
      .subscribe('t')
      .run(() => {});
    await eventually(
      'three members',
      async () => ((await members()).length === 3 ? true : undefined),
      within,
    );
    await later(6);
    await visit('daily', 'first', 0);
    expect(await members()).toEqual(['daily', 'gone', 'stays']);
    await later(0.5);
    const seen = (await described()).broadcastMembers.find((one) => one.consumerId === 'daily');
    expect(cluster.clock.nowMs() - (seen?.seenMs ?? 0)).toBeLessThan(HOUR_MS);
    await later(0.5);
    expect(await members()).toEqual(['daily', 'stays']);
    await cluster.restartBroker();
    const kept = await eventually(
      'the broker answers',
      async () => {
        const found = await members();
        return found.length > 0 ? found : undefined;
      },
      within,
    );
    expect(kept).toEqual(['daily', 'stays']);
    await stays.close();
    await later(8);
    await later(8);
    expect(await members()).toEqual([]);
  });

  test('is remembered for as long as messages of its topic are kept', async () => {
    await cluster.client().admin.createTopic('t', { queues: 1, retentionMs: 30 * DAY_MS });
    await send(['a']);
    await visit('away', 'first', 1);
    await send(['b']);
    await later(29);
    expect(await visit('away', 'last', 1)).toEqual(['b']);
    await later(1);
    await later(31);
    expect(await members()).toEqual([]);
  });

  test('can be removed while it is away, and is new then', async () => {
    const { admin } = cluster.client();
    await admin.createTopic('t', { queues: 2 });
    await send(['a']);
    await visit('one', 'first', 1);
    const run = cluster
      .client()
      .consumer('g', { mode: 'broadcasting', consumerId: 'two', from: 'first' })
      .subscribe('t')
      .run(() => {});
    await eventually(
      'two members',
      async () => ((await members()).length === 2 ? true : undefined),
      within,
    );
    await expect(admin.removeMember('g', 'two')).rejects.toMatchObject({
      code: 'MEMBER_CONNECTED',
    });
    await expect(admin.removeMember('g', 'three')).rejects.toMatchObject({
      code: 'MEMBER_NOT_FOUND',
    });
    await expect(admin.removeMember('g', '')).rejects.toMatchObject({ code: 'MEMBER_NOT_FOUND' });
    await admin.removeMember('g', 'one');
    expect(await members()).toEqual(['two']);
    await run.close();
    expect(await visit('one', 'first', 1)).toEqual(['a']);
  });
});

describe('a member that keeps its own offsets', () => {
  class Notes implements OffsetStore {
    readonly offsets = new Map<string, number>();
    readonly #key = ({ topic, broker, queueId }: TopicQueue): string =>
      `${topic} ${broker} ${queueId}`;

    load(queue: TopicQueue): number | undefined {
      return this.offsets.get(this.#key(queue));
    }

    async store(queue: TopicQueue, offset: number): Promise<void> {
      await Promise.resolve();
      this.offsets.set(this.#key(queue), offset);
    }
  }

  async function read(offsets: OffsetStore, from: StartPoint = 'first'): Promise<string[]> {
    const pull = cluster.client().pullConsumer({ offsets });
    await pull.assignTopic('t', from);
    const found: string[] = [];
    for (;;) {
      const batch = await pull.poll({ waitMs: 0 });
      if (batch.length === 0) break;
      found.push(...texts(batch));
    }
    await pull.commit();
    pull.close();
    return found.sort();
  }

  test('gets every message as others do, and goes on where it was; the broker keeps nothing', async () => {
    const { admin } = cluster.client();
    await admin.createTopic('t', { queues: 2 });
    await send(['a', 'b']);
    await send(['x'], 1);
    const [one, other] = [new Notes(), new Notes()];
    expect(await read(one)).toEqual(['a', 'b', 'x']);
    expect(await read(other, 'last')).toEqual([]);
    await send(['c'], 1);
    expect(await read(one)).toEqual(['c']);
    expect(await read(other)).toEqual(['c']);
    expect([...one.offsets]).toEqual([
      ['t broker-a 0', 2],
      ['t broker-a 1', 2],
    ]);
    expect(await admin.listGroups()).toEqual([]);
    const without = cluster.client().pullConsumer();
    await without.assignTopic('t');
    await expect(without.commit()).rejects.toMatchObject({ code: 'INVALID_OPTION' });
  });

  test('gets the messages of queues that its topic gets later', async () => {
    const { admin } = cluster.client();
    await admin.createTopic('t', { queues: 1 });
    await using pull = cluster.client().pullConsumer({ offsets: new Notes() });
    await pull.assignTopic('t', 'last');
    await admin.updateTopic('t', { queues: 3 });
    await send(['new'], 2);
    const found = await eventually(
      'the message',
      async () => {
        const batch = await pull.poll({ waitMs: 20 });
        return batch.length > 0 ? texts(batch) : undefined;
      },
      within,
    );
    expect(found).toEqual(['new']);
    expect(pull.assigned).toHaveLength(3);
  });

  test('goes on at the oldest message when its own is gone, or the topic was created anew', async () => {
    const { admin } = cluster.client();
    await admin.createTopic('t', { queues: 1 });
    await send(['a', 'b']);
    const notes = new Notes();
    expect(await read(notes)).toEqual(['a', 'b']);
    await admin.deleteTopic('t');
    await admin.createTopic('t', { queues: 1 });
    await send(['c']);
    expect(await read(notes)).toEqual(['c']);
  });
});
