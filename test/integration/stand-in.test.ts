import { cpSync, rmSync } from 'node:fs';
import { BrokerService } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import type { Client, ConsumerOptions, DeliveredMessage } from '@ternmq/sdk';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { BrokerClient } from '../support/broker-client.ts';
import { eventually } from '../support/eventually.ts';
import { BrokerGroup } from '../support/group.ts';

let group: BrokerGroup;
let client: Client;
/** Bodies in the order in which they were handled, by reader. */
let handled: string[];

beforeEach(async () => {
  group = await BrokerGroup.create({ standInAfter: '100ms' });
  client = group.client();
  handled = [];
  await group.start(0);
  await group.start(1);
  await group.ready();
  await group.inSync([0, 1]);
  await client.admin.createTopic('orders', { queues: 2 });
});
afterEach(async () => {
  await group[Symbol.asyncDispose]();
  expect(group.fatal).toBeUndefined();
});

const names = (from: number, to: number): string[] =>
  Array.from({ length: to - from }, (_, i) => `${from + i}`);

async function send(from: number, to: number, orderingKey?: (i: number) => string): Promise<void> {
  await using producer = client.producer();
  await Promise.all(
    names(from, to).map((body) =>
      producer.send('orders', {
        body,
        ...(orderingKey === undefined ? {} : { orderingKey: orderingKey(Number(body)) }),
      }),
    ),
  );
}

async function until(what: string, holds: () => boolean): Promise<void> {
  await eventually(what, () => holds() || undefined, { withinMs: 10_000, everyMs: 5 });
}

/** A member of group g that takes down what it handles; it fails where `handle` throws. */
function consume(
  handle: (message: DeliveredMessage) => void = () => {},
  options: ConsumerOptions = {},
) {
  const consumer = client.consumer('g', { from: 'first', ...options }).subscribe('orders');
  consumer.run((message) => {
    handle(message);
    handled.push(message.text());
  });
  return consumer;
}

/** The group begins to read, and has read these. */
async function readAtMaster(from: number, to: number): Promise<void> {
  await send(from, to);
  await using _ = consume();
  await until('the master delivers', () => handled.length === to - from);
}

/** What is not settled of group g at a member. */
function unsettled(id: number): number {
  const { state } = group.broker(id).roles.replica ?? {};
  const topic = state?.topics.find('orders');
  const found = state?.groups.find('g');
  const progress = [...(found?.progress.values() ?? [])];
  let count = 0;
  for (const { queueId, next } of topic?.queues ?? []) {
    for (const one of progress) {
      const queue = one.queues[queueId];
      count += next - (queue?.next ?? 0) + (queue?.unsettledOffsets().length ?? 0);
    }
  }
  return count;
}

/** The slave has and shows everything, and the master is stopped. */
async function stopMaster(): Promise<void> {
  const end = group.broker(0).roles.replica?.log.next ?? 0;
  await until('the slave has everything', () => {
    return (group.broker(1).roles.replica?.log.visible ?? 0) >= end;
  });
  await group.stop(0);
}

async function standsIn(id = 1): Promise<void> {
  await until(`member ${id} stands in`, () => group.roleOf(id) === 'standing in');
}

async function masterBack(): Promise<void> {
  await group.start(0);
  await until('the slave follows again', () => group.roleOf(1) === 'following');
}

/** The slave that stands in knows of everything that was settled but for so much. */
async function lagging(messages: bigint): Promise<void> {
  using slave = new BrokerClient(group.broker(1).address);
  await eventually(
    `the slave knows what is settled but for ${messages}`,
    async () => {
      const { getOffset } = BrokerService.method;
      const { queues } = await slave.call(getOffset, { group: 'g', topic: 'orders' });
      return queues.reduce((sum, { lag }) => sum + lag, 0n) === messages || undefined;
    },
    { withinMs: 10_000, everyMs: 5 },
  );
}

const sorted = (bodies: readonly string[]): string[] =>
  bodies.toSorted((one, other) => Number(one) - Number(other));

describe('while the master of fixed roles is gone', () => {
  test('consumers go on at a slave, and the master has what they settled when it is back', async () => {
    await readAtMaster(0, 10);
    await send(10, 60);
    await stopMaster();
    await standsIn();
    const consumer = consume();
    await until('the slave delivers', () => handled.length === 60);
    await lagging(0n);
    await masterBack();
    await until('the master knows', () => unsettled(0) === 0);
    await until('the consumer is back', () => group.roleOf(0) === 'leading');
    await send(60, 70);
    await until('the newest come', () => handled.includes('69'));
    await consumer.close();
    expect(sorted(handled)).toEqual(names(0, 70));
  });

  test('what a consumer fails there comes again, there and at the master, and what it has not settled is not skipped', async () => {
    await readAtMaster(0, 2);
    await send(2, 30);
    await stopMaster();
    await standsIn();
    const attempts = new Map<string, number[]>();
    let mended = false;
    const consumer = consume((message) => {
      const body = message.text();
      attempts.set(body, [...(attempts.get(body) ?? []), message.attempt]);
      if (Number(body) % 7 === 0 && !mended) {
        if (body === '14') message.reject('never');
        else message.retry(20);
        throw new Error('fails');
      }
    });
    await until('all others are done', () => handled.length === 30 - 4);
    await until('it is tried again', () => (attempts.get('7') ?? []).length >= 3);
    await lagging(4n);
    expect(attempts.get('14')).toEqual([1]);
    mended = true;
    await masterBack();
    await until('the rest comes', () => new Set(handled).size === 30);
    await until('the master has all', () => unsettled(0) === 0);
    await consumer.close();
    expect(sorted(handled)).toEqual(names(0, 30));
  });

  test('a slave that ends abruptly meanwhile goes on with what was settled', async () => {
    await readAtMaster(0, 2);
    await send(2, 40);
    await stopMaster();
    await standsIn();
    let enough = consume((message) => {
      if (handled.length >= 20) message.retry(60_000);
      if (handled.length >= 20) throw new Error('later');
    });
    await until('some are done', () => handled.length === 20);
    await enough.close();
    const copy = `${group.dataOf(1)}-copy`;
    cpSync(group.dataOf(1), copy, { recursive: true });
    await group.stop(1);
    rmSync(group.dataOf(1), { recursive: true });
    cpSync(copy, group.dataOf(1), { recursive: true });
    await group.start(1);
    await standsIn();
    enough = consume();
    await until('the others come', () => new Set(handled).size === 40);
    await lagging(0n);
    await masterBack();
    await until('the master knows', () => unsettled(0) === 0);
    await enough.close();
    expect(sorted(handled)).toEqual(names(0, 40));
  });

  test('messages of an ordering key keep their order from one to the other and back', async () => {
    await client.admin.createGroup('g', { ordered: true, leaseMs: 1000, retryDelaysMs: [10] });
    await send(0, 40, (i) => `key ${i % 5}`);
    const consumer = consume(() => {}, {
      ordered: true,
      prefetch: { messages: 8 },
      concurrency: 4,
    });
    await until('some are done', () => handled.length > 5);
    await stopMaster();
    await standsIn();
    await until('the slave delivers the rest', () => new Set(handled).size === 40);
    await masterBack();
    await send(40, 60, (i) => `key ${i % 5}`);
    await until('the master goes on', () => new Set(handled).size === 60);
    await consumer.close();
    for (let key = 0; key < 5; key++) {
      const first = handled.filter(
        (body, at) => Number(body) % 5 === key && handled.indexOf(body) === at,
      );
      expect(first).toEqual(sorted(first));
    }
  });

  test('a new group waits for it, sends are refused, and single batches are served', async () => {
    await readAtMaster(0, 2);
    await send(2, 12);
    await stopMaster();
    await standsIn();
    const fresh: string[] = [];
    const late = client.consumer('new', { from: 'first' }).subscribe('orders');
    late.run((message) => void fresh.push(message.text()));
    await using puller = client.consumer('g').subscribe('orders');
    for (let got = 0; got < 10; ) {
      for (const message of await puller.receive({ max: 4, waitMs: 500 })) {
        message.ack();
        got++;
      }
    }
    await using producer = client.producer({ deadlineMs: 300 });
    await expect(producer.send('orders', { body: 'no' })).rejects.toThrow();
    const { details } = await eventually(
      'it is told',
      async () => {
        const [row] = (await client.admin.describeCluster()).filter(({ id }) => id === 1);
        const details = await client.admin.describeBroker('b1', { id: 1 });
        return row?.standIn === true ? { row, details } : undefined;
      },
      { withinMs: 5000, everyMs: 10 },
    );
    expect(details).toMatchObject({ leading: false, standingIn: true });
    expect(fresh).toEqual([]);
    await masterBack();
    await until('the new group reads', () => fresh.length === 12);
    await until('the master knows', () => unsettled(0) === 0);
    await late.close();
  });

  test('reading by offset goes on at a slave', async () => {
    await send(0, 20);
    await using reader = client.pullConsumer();
    await reader.assignTopic('orders');
    const read = (await reader.poll({ max: 3 })).map((message) => message.text());
    await stopMaster();
    while (read.length < 20) {
      read.push(...(await reader.poll({ max: 5 })).map((message) => message.text()));
    }
    expect(sorted(read)).toEqual(names(0, 20));
  });
});
