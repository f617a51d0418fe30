// The official client of RocketMQ 5 for Node, unmodified, against a broker in this process.

import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ALL, OfficialClient } from '../polyglot/rocketmq/official-client.ts';
import { Cluster } from '../support/cluster.ts';
import { eventually } from '../support/eventually.ts';

const PROGRAM = join(import.meta.dirname, '../polyglot/rocketmq/node/client.mjs');

let cluster: Cluster;
let client: OfficialClient;
beforeEach(async () => {
  cluster = await Cluster.start({ broker: { rocketmq: true } });
  client = new OfficialClient(process.execPath, [
    PROGRAM,
    `127.0.0.1:${cluster.broker.rocketmqPort}`,
  ]);
});
afterEach(async () => {
  await client[Symbol.asyncDispose]();
  await cluster[Symbol.asyncDispose]();
});

/** A client starts. It may miss its settings the first time, and gets them again after a second. */
async function started(starting: Promise<object>): Promise<void> {
  let over = false;
  const ended = starting.finally(() => {
    over = true;
  });
  const passing = eventually(
    'it has started',
    async () => {
      await cluster.pass(1000);
      return over || undefined;
    },
    { withinMs: 10_000, everyMs: 50 },
  );
  await Promise.all([ended, passing]);
}

test('what it sends is consumed by the own SDK as it was sent', async () => {
  const own = cluster.client();
  await own.admin.createTopic('t', { queues: 2 });
  await started(client.producer(['t']));
  const { messageId } = await client.send({
    topic: 't',
    body: 'hällo',
    tag: 'a',
    keys: ['k1', 'k2'],
    properties: { region: 'eu' },
    messageGroup: 'one',
  });
  const consumer = own.consumer('g', { from: 'first' }).subscribe('t');
  const [message] = await consumer.receive({ max: 1, waitMs: 1000 });
  expect(message?.text()).toBe('hällo');
  expect(message).toMatchObject({
    tag: 'a',
    keys: ['k1', 'k2'],
    properties: { region: 'eu' },
    orderingKey: 'one',
  });
  expect(messageId).toMatch(/^[0-9A-F]{34}$/);
  await client.close();
});

test('what the own SDK sends is received, acknowledged, and comes again when it is not', async () => {
  const own = cluster.client();
  await own.admin.createTopic('t', { queues: 1 });
  const producer = own.producer();
  await producer.send('t', { body: 'b1', tag: 'a', keys: ['k'], properties: { x: 'y' } });
  await producer.send('t', { body: 'b2' });
  await started(client.simple('g', 't'));
  const first = await client.receive(16, 15_000);
  expect(first.map(({ body, tag, keys, attempt }) => [body, tag, keys, attempt])).toEqual([
    ['b1', 'a', ['k'], 1],
    ['b2', '', [], 1],
  ]);
  expect(first[0]?.properties).toMatchObject({ x: 'y' });
  const [b1, b2] = first;
  if (b1 === undefined || b2 === undefined) throw new Error('two messages were expected');
  await client.ack(b1);
  await client.change(b2, 20_000);
  await cluster.pass(20_100);
  const again = await client.receive(16, 15_000);
  expect(again.map(({ body, attempt }) => [body, attempt])).toEqual([['b2', 2]]);
  await client.ack(again[0] as (typeof again)[0]);
  await client.close();
});

test('a push consumer gets everything, and what fails until it is dead', async () => {
  const own = cluster.client();
  await own.admin.createTopic('t', { queues: 2 });
  await own.admin.createGroup('g', { attemptsMax: 2, retryDelaysMs: [10] });
  await started(client.producer(['t']));
  await started(client.push('g', 't', { type: 'tag', expression: 'a || b' }));
  for (const [body, tag] of [
    ['m1', 'a'],
    ['m2', 'c'],
    ['fail', 'b'],
  ] as const) {
    await client.send({ topic: 't', body, tag });
  }
  await eventually(
    'the failing message is dead',
    async () => {
      await cluster.pass(200);
      return (await own.admin.listDeadLetters({ group: 'g' })).length > 0 || undefined;
    },
    { withinMs: 10_000, everyMs: 50 },
  );
  const pushed = await client.pushed(3, 5000);
  expect(pushed.map(({ body, attempt }) => [body, attempt]).sort()).toEqual([
    ['fail', 1],
    ['fail', 2],
    ['m1', 1],
  ]);
});

test('delayed messages come when they are due, and not when they are recalled; transactions when they are committed', async () => {
  const own = cluster.client();
  for (const topic of ['d', 'x']) await own.admin.createTopic(topic, { queues: 1 });
  await started(client.producer(['d', 'x'], 'commit'));
  await client.send({ topic: 'd', body: 'due', delayMs: 60_000 });
  const recalled = await client.send({ topic: 'd', body: 'recalled', delayMs: 60_000 });
  expect(await client.recall('d', recalled.recallHandle)).toMatchObject({
    messageId: recalled.messageId,
  });
  await client.send({ topic: 'x', body: 'committed', transaction: 'commit' });
  await client.send({ topic: 'x', body: 'rolled back', transaction: 'rollback' });
  await client.send({ topic: 'x', body: 'asked for', transaction: 'leave' });
  await started(client.simple('g', 'd', ALL, 200));
  expect(await client.receive(8, 10_000)).toEqual([]);
  await cluster.pass(61_000);
  expect((await client.receive(8, 10_000)).map(({ body }) => body)).toEqual(['due']);
  const consumer = own.consumer('h', { from: 'first' }).subscribe('x');
  const bodies: string[] = [];
  await eventually(
    'the producer was asked',
    async () => {
      await cluster.pass(1000);
      for (const message of await consumer.receive({ max: 8, waitMs: 0 })) {
        bodies.push(message.text());
        message.ack();
      }
      return bodies.length === 2 || undefined;
    },
    { withinMs: 10_000, everyMs: 50 },
  );
  expect(bodies.sort()).toEqual(['asked for', 'committed']);
  await client.close();
});

test('a restart of the broker ends nothing: it goes on sending, receiving and acknowledging', async () => {
  const own = cluster.client();
  await own.admin.createTopic('t', { queues: 1 });
  await started(client.producer(['t']));
  await started(client.simple('g', 't'));
  await client.send({ topic: 't', body: 'before' });
  const [held] = await client.receive(8, 60_000);
  await cluster.restartBroker();
  await eventually(
    'it sends',
    () => client.send({ topic: 't', body: 'after' }).catch(() => undefined),
    {
      withinMs: 5000,
      everyMs: 20,
    },
  );
  if (held === undefined) throw new Error('one came');
  await eventually('it acknowledges', () => client.ack(held).catch(() => undefined), {
    withinMs: 5000,
    everyMs: 20,
  });
  const after = await eventually(
    'it receives',
    async () => (await client.receive(8, 60_000).catch(() => []))[0],
    { withinMs: 5000, everyMs: 20 },
  );
  expect(after.body).toBe('after');
});

test('a producer of a missing topic does not start', async () => {
  await expect(client.producer(['missing'])).rejects.toThrow('Failed to fetch topic routes');
});
