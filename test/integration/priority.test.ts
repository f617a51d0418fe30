import { isMqError } from '@ternmq/sdk';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Cluster } from '../support/cluster.ts';
import { eventually } from '../support/eventually.ts';

let cluster: Cluster;
beforeEach(async () => {
  cluster = await Cluster.start();
});
afterEach(() => cluster[Symbol.asyncDispose]());

async function sendAll(priorities: readonly number[]): Promise<void> {
  const producer = cluster.client().producer();
  for (const [index, priority] of priorities.entries()) {
    await producer.send('t', { body: `${priority}-${index}`, priority });
  }
}

/** The next messages of the group, one at a time. */
async function next(count: number, group = 'g'): Promise<string[]> {
  const consumer = cluster.client().consumer(group, { from: 'first' }).subscribe('t');
  const found: string[] = [];
  while (found.length < count) {
    const [message] = await consumer.receive({ max: 1, waitMs: 5000 });
    if (message === undefined) throw new Error(`only ${found.join(' ')} came`);
    found.push(message.text());
    message.ack();
  }
  return found;
}

const code = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'fine',
    (error: unknown) => isMqError(error) && error.code,
  );

describe('a topic with priorities', () => {
  test('delivers the most urgent messages first, and the oldest of the same priority', async () => {
    await cluster.client().admin.createTopic('t', { kind: 'priority' });
    await sendAll([5, 0, 9, 5, 1, 9]);
    expect(await next(6)).toEqual(['9-2', '9-5', '5-0', '5-3', '1-4', '0-1']);
  });

  test('lets an urgent message overtake what waits, also after a restart', async () => {
    await cluster.client().admin.createTopic('t', { kind: 'priority' });
    await sendAll([3, 3, 3]);
    expect(await next(1)).toEqual(['3-0']);
    await sendAll([8]);
    expect(await next(1)).toEqual(['8-0']);
    await cluster.restartBroker();
    await sendAll([4]);
    expect(await next(3)).toEqual(['4-0', '3-1', '3-2']);
  });

  test('delivers a failed urgent message again before less urgent ones that are new', async () => {
    const { admin } = cluster.client();
    await admin.createTopic('t', { kind: 'priority' });
    await admin.createGroup('g', { retryDelaysMs: [1000] });
    await sendAll([9, 2, 2]);
    const consumer = cluster.client().consumer('g', { from: 'first' }).subscribe('t');
    const [urgent] = await consumer.receive({ max: 1 });
    expect(urgent?.priority).toBe(9);
    urgent?.retry();
    expect(await next(1)).toEqual(['2-1']);
    await cluster.pass(1100);
    expect(await next(2)).toEqual(['9-0', '2-2']);
  });

  test('with fewer queues lets neighbouring priorities share one', async () => {
    await cluster.client().admin.createTopic('t', { kind: 'priority', queues: 2 });
    await sendAll([4, 0, 5, 9]);
    expect(await next(4)).toEqual(['5-2', '9-3', '4-0', '0-1']);
  });

  test('hands the most urgent message that waits in the consumer to the next handler', async () => {
    await cluster.client().admin.createTopic('t', { kind: 'priority' });
    const consumer = cluster.client().consumer('g', { from: 'first', concurrency: 1 });
    const handled: string[] = [];
    const gate = Promise.withResolvers<void>();
    consumer.subscribe('t').run(async (message) => {
      handled.push(message.text());
      await gate.promise;
    });
    await sendAll([1]);
    await eventually('it is handled', () => handled.length === 1 || undefined, { withinMs: 5000 });
    await sendAll([1, 7]);
    await eventually(
      'all are delivered',
      async () => {
        const { progress } = await cluster.client().admin.describeGroup('g');
        return progress.reduce((sum, { inFlight }) => sum + inFlight, 0) === 3 || undefined;
      },
      { withinMs: 5000, everyMs: 5 },
    );
    // What was leased may still be on its way.
    await new Promise((resolve) => setTimeout(resolve, 50));
    gate.resolve();
    await eventually('all are handled', () => handled.length === 3 || undefined, {
      withinMs: 5000,
    });
    expect(handled).toEqual(['1-0', '7-1', '1-0']);
  });

  test('takes messages with a priority alone, and keeps its queues', async () => {
    const client = cluster.client();
    const producer = client.producer();
    await client.admin.createTopic('t', { kind: 'priority' });
    await client.admin.createTopic('plain');
    expect(await code(producer.send('t', { body: 'x' }))).toBe('WRONG_MESSAGE_KIND');
    const keyed = { body: 'x', priority: 1, orderingKey: 'k' };
    expect(await code(producer.send('t', keyed))).toBe('WRONG_MESSAGE_KIND');
    expect(await code(producer.send('t', { body: 'x', priority: 1, delay: 1000 }))).toBe(
      'WRONG_MESSAGE_KIND',
    );
    expect(await code(producer.send('plain', { body: 'x', priority: 1 }))).toBe(
      'WRONG_MESSAGE_KIND',
    );
    expect(await code(producer.send('t', { body: 'x', priority: 10 }))).toBe('INVALID_OPTION');
    const wrong = { body: 'x', priority: 9, queue: { broker: 'broker-a', queueId: 0 } };
    expect(await code(producer.send('t', wrong))).toBe('WRONG_PRIORITY_QUEUE');
    expect(await code(client.admin.updateTopic('t', { queues: 11 }))).toBe('PRIORITY_FIXED');
    expect(await code(client.admin.updateTopic('plain', { kind: 'priority' }))).toBe(
      'PRIORITY_FIXED',
    );
    expect(await code(client.admin.createTopic('u', { kind: 'priority', queues: 11 }))).toBe(
      'INVALID_FIELD',
    );
    const { topics } = await client.admin.describeTopic('t');
    expect(topics[0]?.settings.queues).toBe(10);
  });
});
