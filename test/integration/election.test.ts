import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Etcd } from '../support/etcd.ts';
import { eventually } from '../support/eventually.ts';
import { BrokerGroup } from '../support/group.ts';
import { skipWhen } from '../support/skip.ts';
import { TempDir } from '../support/temp-dir.ts';

let dir: TempDir;
let etcd: Etcd;
let group: BrokerGroup;

beforeEach(async (context) => {
  skipWhen(context, Etcd.missing());
  dir = await TempDir.create('election');
  etcd = await Etcd.start(join(dir.path, 'etcd'));
  group = await BrokerGroup.create({
    election: 'etcd',
    etcd: etcd.address,
    electionLease: '1s',
    replicaLagMax: '500ms',
  });
});
afterEach(async () => {
  await group?.[Symbol.asyncDispose]();
  await etcd?.[Symbol.asyncDispose]();
  await dir?.[Symbol.asyncDispose]();
  expect(group?.fatal).toBeUndefined();
});

async function startAll(): Promise<void> {
  for (const id of [0, 1, 2]) await group.start(id);
  await group.ready();
  await group.inSync([0, 1, 2]);
}

function leader(): number | undefined {
  return [0, 1, 2].find((id) => group.roleOf(id) === 'leading');
}

test('a leadership that is moved costs no send, and every message is stored once', async () => {
  await startAll();
  const client = group.client();
  await client.admin.createTopic('orders', { queues: 4 });
  await using producer = client.producer();
  let sending = true;
  const sends: Promise<unknown>[] = [];
  const load = (async () => {
    for (let i = 0; sending; i++) {
      sends.push(producer.send('orders', { body: `order ${i}`, orderingKey: `key ${i % 8}` }));
      if (i % 50 === 0) await Promise.allSettled(sends.slice(-50));
    }
  })();
  for (const to of [1, 2, 0]) {
    expect(await client.admin.moveLeadership('b1', { to })).toBe(to);
    await eventually('it leads', () => leader() === to || undefined, {
      withinMs: 5000,
      everyMs: 5,
    });
    await group.inSync([0, 1, 2], to);
  }
  sending = false;
  await load;
  const outcomes = await Promise.allSettled(sends);
  expect(outcomes.filter(({ status }) => status === 'rejected')).toEqual([]);
  const { queues } = await client.admin.describeTopic('orders');
  const stored = queues.reduce((sum, { endOffset }) => sum + endOffset, 0);
  expect(stored).toBe(sends.length);
});

test('sends are refused while too few members are in sync, and go on when one is back', async () => {
  await startAll();
  const client = group.client();
  await client.admin.createTopic('orders', { queues: 1 });
  await using producer = client.producer();
  await producer.send('orders', { body: 'safe' });
  await group.stop(1);
  await group.stop(2);
  await group.inSync([0]);
  const refused = producer.send('orders', { body: 'too few' }, { deadlineMs: 500 });
  await expect(refused).rejects.toMatchObject({
    code: expect.stringMatching(/DEADLINE|NOT_ENOUGH|UNKNOWN/),
  });
  expect(group.broker(0).notReady()).toContain(
    'too few replicas are in sync to acknowledge messages',
  );
  const waiting = producer.send('orders', { body: 'in time' }, { deadlineMs: 15_000 });
  await group.start(2);
  expect(await waiting).toMatchObject({ broker: 'b1' });
});

test('what a consumer has acknowledged stays so when another member leads, and the rest is delivered there', async () => {
  await startAll();
  const client = group.client();
  await client.admin.createTopic('orders', { queues: 2 });
  await using producer = client.producer();
  await Promise.all(
    Array.from({ length: 100 }, (_, i) => producer.send('orders', { body: `order ${i}` })),
  );
  const seen: string[] = [];
  const consumer = client.consumer('workers', { from: 'first' }).subscribe('orders');
  const run = consumer.run(async ({ body }) => {
    seen.push(Buffer.from(body).toString());
  });
  await eventually('half is consumed', () => seen.length >= 50 || undefined, {
    withinMs: 5000,
    everyMs: 5,
  });
  await client.admin.moveLeadership('b1', { to: 1 });
  await Promise.all(
    Array.from({ length: 50 }, (_, i) => producer.send('orders', { body: `later ${i}` })),
  );
  await eventually('all is consumed', () => new Set(seen).size === 150 || undefined, {
    withinMs: 10_000,
    everyMs: 10,
  });
  void run;
  await consumer.close();
});

test('a member that was not in sync leads only when it is told to, and says what that costs', async () => {
  await startAll();
  const client = group.client();
  await client.admin.createTopic('orders', { queues: 1 });
  await group.stop(2);
  await group.inSync([0, 1]);
  await group.stop(1);
  await group.inSync([0]);
  await group.stop(0);
  await group.start(2);
  await eventually('it follows nobody', () => group.roleOf(2) === 'following' || undefined, {
    withinMs: 5000,
    everyMs: 10,
  });
  expect(group.broker(2).notReady()).toContain('the broker follows no master yet');
  await eventually(
    'the name server knows it',
    async () => {
      await client.admin.allowUncleanLeader('b1', 2, { deadlineMs: 1000 });
      return true;
    },
    { withinMs: 10_000, everyMs: 50 },
  );
  await eventually('it leads', () => leader() === 2 || undefined, {
    withinMs: 10_000,
    everyMs: 10,
  });
});
