import type { Consumer, DeliveredMessage, ResetTarget } from '@ternmq/sdk';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Cluster } from '../support/cluster.ts';
import { eventually } from '../support/eventually.ts';

let cluster: Cluster;
beforeEach(async () => {
  cluster = await Cluster.start();
});
afterEach(() => cluster[Symbol.asyncDispose]());

const within = { withinMs: 8000, everyMs: 5 };
const texts = (messages: readonly { text(): string }[]): string[] => messages.map((m) => m.text());

/** Sends to one queue; a second passes between two messages. */
async function send(bodies: readonly string[], topic = 'one', queueId = 0): Promise<void> {
  const producer = cluster.client().producer();
  for (const body of bodies) {
    await producer.send(topic, { body, queue: { broker: 'broker-a', queueId } });
    await cluster.pass(1000);
  }
}

/** So many messages, in as many batches as it takes. */
async function taken(consumer: Consumer, count: number): Promise<DeliveredMessage[]> {
  const found: DeliveredMessage[] = [];
  while (found.length < count) found.push(...(await consumer.receive()));
  return found;
}

async function queueOf(group: string, topic = 'one', queueId = 0) {
  const queues = await cluster.client().admin.getOffset(group, topic);
  return queues.find((queue) => queue.queueId === queueId);
}

describe('a reset', () => {
  test('sets a group to any place while its consumer runs, and a dry run tells where before', async () => {
    const client = cluster.client();
    await client.admin.createTopic('one', { queues: 1 });
    const startMs = cluster.clock.nowMs();
    await send(['a', 'b', 'c', 'd', 'e']);
    const seen: string[] = [];
    client
      .consumer('g', { from: 'first' })
      .subscribe('one')
      .run((message) => void seen.push(message.text()));
    const done = (): Promise<boolean> =>
      eventually(
        'all is done',
        async () => {
          const queue = await queueOf('g');
          return queue?.floorOffset === 5 && queue.lag === 0 ? true : undefined;
        },
        within,
      );
    await done();
    const places: [ResetTarget, number][] = [
      ['first', 0],
      ['last', 5],
      [new Date(startMs + 2500), 3],
      [new Date(startMs + 3000), 3],
      [new Date(startMs + 3_600_000), 5],
      [{ offset: 4 }, 4],
      [{ offset: 99 }, 5],
      [{ shift: -2 }, 3],
      [{ shift: -99 }, 0],
      [{ shift: 3 }, 5],
    ];
    for (const [to, after] of places) {
      seen.length = 0;
      const reset = { group: 'g', topic: 'one', to };
      const step = [{ broker: 'broker-a', queueId: 0, before: 5, after }];
      expect(await client.admin.resetGroup({ ...reset, dryRun: true })).toEqual(step);
      expect(await queueOf('g')).toMatchObject({ floorOffset: 5 });
      expect(seen).toEqual([]);
      expect(await client.admin.resetGroup(reset)).toEqual(step);
      await done();
      expect(seen).toEqual(['a', 'b', 'c', 'd', 'e'].slice(after));
    }
  });

  test('ends the leases and retries of what it passes over, and settlements of those do no harm', async () => {
    const client = cluster.client();
    await client.admin.createTopic('one', { queues: 1 });
    await send(['a', 'b', 'c']);
    const consumer = client.consumer('g', { from: 'first' }).subscribe('one');
    const [first, second, third] = await consumer.receive();
    first?.retry(1000);
    await eventually(
      'the retry',
      async () => ((await queueOf('g'))?.waitingForRetry === 1 ? true : undefined),
      within,
    );
    await client.admin.resetGroup({ group: 'g', topic: 'one', to: { offset: 2 } });
    expect(await queueOf('g')).toMatchObject({ floorOffset: 2, inFlight: 0, waitingForRetry: 0 });
    second?.retry(100);
    const [again] = await consumer.receive();
    expect(again?.text()).toBe('c');
    third?.ack();
    await cluster.pass(2000);
    expect(await consumer.receive({ waitMs: 0 })).toEqual([]);
    expect(await queueOf('g')).toMatchObject({ lag: 1, inFlight: 1 });
  });

  test('of a group that is new gives it a place to start from', async () => {
    const client = cluster.client();
    await client.admin.createTopic('one', { queues: 1 });
    await send(['a', 'b']);
    const reset = { group: 'new', topic: 'one', to: { offset: 1 } };
    expect(await client.admin.resetGroup(reset)).toEqual([
      { broker: 'broker-a', queueId: 0, before: undefined, after: 1 },
    ]);
    const consumer = client.consumer('new', { from: 'last' }).subscribe('one');
    expect(texts(await consumer.receive())).toEqual(['b']);
  });
});

describe('copying progress', () => {
  test('gives another group all that the first one has not settled, in every topic', async () => {
    const client = cluster.client();
    const { admin } = client;
    await admin.createTopic('one', { queues: 2 });
    await admin.createTopic('two', { queues: 1 });
    await send(['a', 'b', 'c', 'd']);
    await send(['x'], 'one', 1);
    await send(['p', 'q'], 'two');
    await admin.resetGroup({ group: 'old', topic: 'one', to: 'first' });
    await admin.resetGroup({ group: 'old', topic: 'two', to: { offset: 1 } });
    const consumer = client.consumer('old').subscribe('one');
    const batch = await taken(consumer, 5);
    const [a, b, c, d] = ['a', 'b', 'c', 'd'].map((body) => batch.find((m) => m.text() === body));
    a?.ack();
    // Waits for a retry, which lies below the floor.
    b?.retry(3_600_000);
    c?.ack();
    d?.ack();
    batch.find((m) => m.text() === 'x')?.ack();
    await eventually(
      'the settlements',
      async () => {
        const [one, two] = [await queueOf('old'), await queueOf('old', 'one', 1)];
        return one?.floorOffset === 4 && two?.lag === 0 ? true : undefined;
      },
      within,
    );
    const steps = [
      { topic: 'one', broker: 'broker-a', queueId: 0, before: undefined, after: 1 },
      { topic: 'one', broker: 'broker-a', queueId: 1, before: undefined, after: 1 },
      { topic: 'two', broker: 'broker-a', queueId: 0, before: undefined, after: 1 },
    ];
    const copy = { from: 'old', to: 'new' };
    expect(await admin.copyOffsets({ ...copy, dryRun: true })).toEqual(steps);
    await expect(admin.describeGroup('new')).rejects.toMatchObject({ code: 'GROUP_NOT_FOUND' });
    expect(await admin.copyOffsets(copy)).toEqual(steps);
    await cluster.restartBroker();
    const again = steps.map((step) => ({ ...step, before: step.after }));
    expect(await admin.copyOffsets({ ...copy, dryRun: true })).toEqual(again);
    expect(await admin.copyOffsets({ ...copy, topic: 'two' })).toEqual(again.slice(2));
    const follower = client.consumer('new').subscribe('one');
    expect(texts(await follower.receive()).sort()).toEqual(['b', 'c', 'd']);
    expect(await queueOf('old')).toMatchObject({ waitingForRetry: 1, lag: 1 });
  });

  test('is refused with what to do', async () => {
    const client = cluster.client();
    const { admin } = client;
    await send(['a']);
    await admin.createGroup('idle');
    const consumer = client.consumer('g', { from: 'first' }).subscribe('one');
    (await consumer.receive())[0]?.ack();
    const refused = async (copy: { from: string; to: string; topic?: string }): Promise<string> =>
      admin.copyOffsets(copy).then(
        () => 'done',
        (error: { code: string }) => error.code,
      );
    expect(await refused({ from: 'none', to: 'new' })).toBe('GROUP_NOT_FOUND');
    expect(await refused({ from: 'g', to: 'g' })).toBe('SAME_GROUP');
    expect(await refused({ from: 'idle', to: 'new' })).toBe('NO_PROGRESS');
    expect(await refused({ from: 'g', to: 'new', topic: 'none' })).toBe('TOPIC_NOT_FOUND');
    await admin.createTopic('other');
    expect(await refused({ from: 'g', to: 'new', topic: 'other' })).toBe('NO_PROGRESS');
    const run = client
      .consumer('busy', { from: 'first' })
      .subscribe('one')
      .run(() => {});
    await eventually(
      'the consumer',
      async () => {
        const { consumers } = await admin.describeGroup('busy').catch(() => ({ consumers: [] }));
        return consumers.length === 1 ? true : undefined;
      },
      within,
    );
    // Groups that are copied from, or to, may go on consuming.
    expect(await refused({ from: 'g', to: 'busy' })).toBe('done');
    expect(await refused({ from: 'busy', to: 'new' })).toBe('done');
    await run.close();
  });
});

describe('lag in time', () => {
  test('is the age of the oldest message that is not settled, in each queue', async () => {
    const client = cluster.client();
    const { admin } = client;
    await admin.createTopic('one', { queues: 3 });
    await send(['a', 'b', 'c']);
    await send(['x'], 'one', 1);
    await admin.resetGroup({ group: 'g', topic: 'one', to: 'first' });
    const lags = async (): Promise<(number | undefined)[]> =>
      (await admin.getOffset('g', 'one')).map(({ lagMs }) => lagMs);
    // Never delivered.
    expect(await lags()).toEqual([4000, 1000, 0]);
    const consumer = client.consumer('g').subscribe('one');
    const batch = await taken(consumer, 4);
    const [a, b, c, x] = ['a', 'b', 'c', 'x'].map((body) => batch.find((m) => m.text() === body));
    // In flight.
    expect(await lags()).toEqual([4000, 1000, 0]);
    x?.ack();
    a?.ack();
    b?.retry(3_600_000);
    await eventually(
      'the oldest waits for a retry',
      async () => ((await queueOf('g'))?.waitingForRetry === 1 ? true : undefined),
      within,
    );
    await cluster.pass(1000);
    expect(await lags()).toEqual([4000, 0, 0]);
    c?.ack();
    await cluster.pass(1000);
    expect(await lags()).toEqual([5000, 0, 0]);
    const { progress } = await admin.describeGroup('g');
    expect(progress.map(({ lagMs }) => lagMs)).toEqual([5000, 0, 0]);
    // Nothing of it is in memory after a restart.
    await cluster.restartBroker({ pauseMs: 10_000 });
    expect(await lags()).toEqual([15_000, 0, 0]);
    await admin.resetGroup({ group: 'g', topic: 'one', to: 'last' });
    expect(await lags()).toEqual([0, 0, 0]);
  });

  test('is shown to Prometheus under the names of RocketMQ, by group and topic', async () => {
    const client = cluster.client();
    await client.admin.createTopic('one', { queues: 2 });
    await send(['a', 'b']);
    await client.admin.resetGroup({ group: 'g', topic: 'one', to: 'first' });
    const shown = async (name: string): Promise<number> => {
      const page = await cluster.broker.registry.show();
      const line = new RegExp(
        `^rocketmq_consumer_${name}\\{.*consumer_group="g".*\\} (\\d+)$`,
        'm',
      );
      return Number(line.exec(page)?.[1]);
    };
    expect(await shown('lag_latency')).toBe(2000);
    expect(await shown('queueing_latency')).toBe(2000);
    const [a] = await client.consumer('g').subscribe('one').receive({ max: 1 });
    await cluster.pass(500);
    expect(await shown('lag_latency')).toBe(2500);
    expect(await shown('queueing_latency')).toBe(1500);
    a?.ack();
    await eventually(
      'the acknowledgement',
      async () => ((await shown('lag_latency')) === 1500 ? true : undefined),
      within,
    );
    await client.admin.resetGroup({ group: 'g', topic: 'one', to: 'last' });
    expect(await shown('lag_latency')).toBe(0);
    expect(await shown('queueing_latency')).toBe(0);
  });
});
