import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { MqError } from '@ternmq/sdk';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Cluster } from '../support/cluster.ts';
import { eventually } from '../support/eventually.ts';

let cluster: Cluster;
beforeEach(async () => {
  cluster = await Cluster.start();
});
afterEach(() => cluster[Symbol.asyncDispose]());

const within = { withinMs: 5000, everyMs: 5 };

async function sent(): Promise<void> {
  const producer = cluster.client().producer();
  const orders = [
    { body: 'a', tag: 'created', properties: { region: 'eu', amount: '50' } },
    { body: 'b', tag: 'paid', properties: { region: 'eu', amount: '150' } },
    { body: 'c', tag: 'paid', properties: { region: 'us', amount: '150' } },
    { body: 'd', tag: 'paid', keys: ['7', '8'], properties: { amount: '1e3' } },
    { body: 'e' },
  ];
  for (const order of orders) await producer.send('t', order);
}

describe('the lag of a group that filters', () => {
  const lagOf = async () => {
    const { progress } = await cluster.client().admin.describeGroup('g');
    return progress.map(({ lag, lagMatching }) => [lag, lagMatching]);
  };

  test('says how many of the messages it wants, while it is connected and afterwards', async () => {
    const client = cluster.client();
    await client.admin.createTopic('t', { queues: 1 });
    const consumer = client.consumer('g', { from: 'first' }).subscribe('t', { tags: 'paid' });
    expect(await consumer.receive({ max: 1, waitMs: 0 })).toEqual([]);
    await consumer.close();
    for (let i = 0; i < 300; i++) await sent();
    const again = client.consumer('g').subscribe('t', { tags: 'paid' });
    const taken = await again.receive({ max: 10, waitMs: 0 });
    expect(taken).toHaveLength(10);
    const [[lag, matching] = []] = await lagOf();
    expect(matching).toBe(900);
    expect(lag).toBeGreaterThan(1450);
    for (const message of taken) message.ack();
    await again.close();
    expect((await lagOf())[0]?.[1]).toBe(890);
  });

  test.each([
    ['tags', 'paid || created', 4 * 300],
    ['an SQL condition', { sql: "region = 'eu'" }, 2 * 300],
    ['both', { tags: 'paid', sql: "region = 'eu'" }, 300],
    ['no filter', {}, 5 * 300],
  ] as const)(
    'is the same with nobody connected, after a restart, and rebuilt from the log: %s',
    async (_, filter, wanted) => {
      const client = cluster.client();
      await client.admin.createTopic('t', { queues: 2 });
      const consumer = client.consumer('g', { from: 'first' }).subscribe('t', filter);
      expect(await consumer.receive({ max: 1, waitMs: 0 })).toEqual([]);
      await consumer.close();
      for (let i = 0; i < 300; i++) await sent();
      const matching = async () => (await lagOf()).reduce((sum, [, one]) => sum + (one ?? 0), 0);
      expect(await matching()).toBe(wanted);
      await cluster.restartBroker();
      expect(await matching()).toBe(wanted);
      await cluster.restartBroker({
        meanwhile: () => rm(join(cluster.folder.path, 'data', 'state'), { recursive: true }),
      });
      expect(await matching()).toBe(wanted);
    },
  );

  test.each([
    ['tags', 'late'],
    ['an SQL condition', { sql: "TAGS = 'late'" }],
  ] as const)('in time is that of the oldest message that is wanted: %s', async (_, filter) => {
    const client = cluster.client();
    await client.admin.createTopic('t', { queues: 1 });
    const consumer = client.consumer('g', { from: 'first' }).subscribe('t', filter);
    expect(await consumer.receive({ max: 1, waitMs: 0 })).toEqual([]);
    await consumer.close();
    const lagMs = async () => (await client.admin.describeGroup('g')).progress[0]?.lagMs;
    await sent();
    await cluster.pass(60_000);
    expect(await lagMs()).toBe(0);
    await client.producer().send('t', { body: 'wanted', tag: 'late' });
    await cluster.pass(5000);
    expect(await lagMs()).toBe(5000);
  });

  test('is an estimate where more messages would have to be read than are looked at', async () => {
    const client = cluster.client();
    await client.admin.createTopic('t', { queues: 1 });
    const sql = { sql: "region = 'eu'" };
    const consumer = client.consumer('g', { from: 'first' }).subscribe('t', sql);
    expect(await consumer.receive({ max: 1, waitMs: 0 })).toEqual([]);
    await consumer.close();
    const producer = client.producer();
    const regions = ['eu', 'us', 'uk', 'jp'];
    const sends = Array.from({ length: 24_000 }, (_, i) =>
      producer.send('t', { body: 'x', properties: { region: regions[i % 4] as string } }),
    );
    await Promise.all(sends);
    const { progress } = await client.admin.describeGroup('g');
    expect(progress[0]).toMatchObject({ lag: 24_000, lagMatchingEstimated: true });
    expect(progress[0]?.lagMatching).toBeGreaterThan(5900);
    expect(progress[0]?.lagMatching).toBeLessThan(6100);
  });

  test('follows the newest member, and writes nothing when that wants the same', async () => {
    const client = cluster.client();
    await client.admin.createTopic('t', { queues: 1 });
    const wants = async (filter: string | { sql: string }) => {
      const consumer = client.consumer('g', { from: 'first' }).subscribe('t', filter);
      expect(await consumer.receive({ max: 1, waitMs: 0 })).toEqual([]);
      await consumer.close();
    };
    const written = async () => (await client.admin.describeBroker('broker-a')).writtenPosition;
    await wants('x');
    const before = await written();
    await wants(' x ');
    await wants('x || x');
    expect(await written()).toBe(before);
    await wants({ sql: "region = 'us'" });
    await wants({ sql: " region='us' " });
    await sent();
    expect((await lagOf())[0]).toEqual([5, 1]);
  });
});

describe('an SQL condition', () => {
  test.each([
    ["region = 'eu' AND amount > 100", 'b'],
    ["region = 'eu' OR amount BETWEEN 100 AND 2000", 'abcd'],
    ['region IS NULL', 'de'],
    ["NOT region = 'eu'", 'c'],
    ["TAGS = 'paid' AND region LIKE 'u%'", 'c'],
    ["KEYS = '7 8'", 'd'],
    ["region IN ('us', 'uk')", 'c'],
    ['amount * 2 = 300', 'bc'],
    ["region NOT IN ('us')", 'ab'],
  ])('%s', async (sql, wanted) => {
    await sent();
    const consumer = cluster.client().consumer('g', { from: 'first' }).subscribe('t', { sql });
    const messages = await consumer.receive({ max: 32, waitMs: 0 });
    expect(
      messages
        .map((message) => message.text())
        .sort()
        .join(''),
    ).toBe(wanted);
    await Promise.all(messages.map((message) => message.ack()));
    // What is not wanted is passed over for good.
    const { progress } = await cluster.client().admin.describeGroup('g');
    expect(progress.reduce((sum, { lag }) => sum + lag, 0)).toBe(0);
  });

  test('goes together with tags, for push, and for pull', async () => {
    await sent();
    const seen: string[] = [];
    const both = { tags: 'paid', sql: "region = 'eu'" };
    const consumer = cluster.client().consumer('g', { from: 'first' }).subscribe('t', both);
    consumer.run((message) => {
      seen.push(message.text());
    });
    await eventually('one comes', () => seen.length > 0 || undefined, within);
    await cluster.client().producer().send('t', { body: 'no', tag: 'paid' });
    await cluster
      .client()
      .producer()
      .send('t', {
        body: 'yes',
        tag: 'paid',
        properties: { region: 'eu' },
      });
    await eventually('another comes', () => seen.length > 1 || undefined, within);
    expect(seen).toEqual(['b', 'yes']);

    const pull = cluster.client().pullConsumer({ sql: 'amount >= 150' });
    await pull.assignTopic('t', 'first');
    const pulled: string[] = [];
    while (pulled.length < 3) {
      const messages = await pull.poll({ max: 32, waitMs: 1000 });
      expect(messages.length).toBeGreaterThan(0);
      pulled.push(...messages.map((message) => message.text()));
    }
    expect(pulled.sort()).toEqual(['b', 'c', 'd']);
  });

  test('that is wrong is refused with the place and the reason', async () => {
    await sent();
    const consumer = cluster.client().consumer('g', { from: 'first' });
    consumer.subscribe('t', { sql: "region = 'eu' AND amount >" });
    const error = (await consumer.receive({ waitMs: 0 }).catch((reason) => reason)) as MqError;
    expect(error.code).toBe('INVALID_SQL_EXPRESSION');
    expect(error.details).toMatchObject({ position: '26' });
    expect(error.message).toMatch(/at character 26/);
  });

  test('that differs from the other members’ is refused, and one that only looks different is not', async () => {
    await sent();
    const client = cluster.client();
    const first = client.consumer('g', { from: 'first' }).subscribe('t', { sql: "region = 'eu'" });
    const run = first.run(() => {});
    await eventually(
      'the first member is in',
      async () => (await client.admin.describeGroup('g')).consumers[0],
      within,
    );
    const alike = client.consumer('g').subscribe('t', { sql: "(region='eu') -- the same" });
    await alike.receive({ waitMs: 0 });
    const other = client.consumer('g').subscribe('t', { sql: "region = 'us'" });
    await expect(other.receive({ waitMs: 0 })).rejects.toMatchObject({
      code: 'SUBSCRIPTION_MISMATCH',
    });
    await run.close();
  });
});
