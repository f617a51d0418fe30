import type { ReceivedMessage } from '@ternmq/sdk';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Channel } from '../../sdk/typescript/src/transport/channel.ts';
import { broker as methods } from '../../sdk/typescript/src/transport/methods.ts';
import { Cluster } from '../support/cluster.ts';
import { eventually } from '../support/eventually.ts';

let cluster: Cluster;
beforeEach(async () => {
  cluster = await Cluster.start();
});
afterEach(() => cluster[Symbol.asyncDispose]());

const texts = (messages: readonly ReceivedMessage[]): string[] => messages.map((m) => m.text());
const find = (wanted: { key?: string; from?: Date; to?: Date; max?: number }, topic = 't') =>
  cluster
    .client()
    .admin.findMessages({ topic, ...wanted })
    .then(texts);
const at = (ms: number): Date => new Date(ms);

/** A message every second, with two keys, and others without keys between. */
async function sent(count: number): Promise<number> {
  const client = cluster.client();
  await client.admin.createTopic('t', { queues: 3 });
  const producer = client.producer();
  const startMs = cluster.clock.nowMs();
  for (let i = 0; i < count; i++) {
    await producer.send('t', { body: `${i}`, keys: [`order-${i % 4}`, `customer-${i % 3}`] });
    await producer.send('t', { body: 'other' });
    cluster.clock.advance(1000);
  }
  return startMs;
}

describe('a message is found', () => {
  test('by any of its keys, the newest first, over all queues', async () => {
    await sent(12);
    expect(await find({ key: 'order-1' })).toEqual(['9', '5', '1']);
    expect(await find({ key: 'customer-2' })).toEqual(['11', '8', '5', '2']);
    expect(await find({ key: 'customer-2', max: 2 })).toEqual(['11', '8']);
    expect(await find({ key: 'order-9' })).toEqual([]);
    expect(await find({ key: 'order' })).toEqual([]);
  });

  test('by key and time', async () => {
    const startMs = await sent(12);
    const from = at(startMs + 3000);
    const to = at(startMs + 9000);
    expect(await find({ key: 'order-1', from, to })).toEqual(['5']);
    expect(await find({ key: 'order-1', from })).toEqual(['9', '5']);
    expect(await find({ key: 'order-1', to })).toEqual(['5', '1']);
  });

  test('by time alone', async () => {
    const startMs = await sent(6);
    const found = await find({ from: at(startMs + 2000), to: at(startMs + 4000) });
    expect(found).toEqual(['other', '3', 'other', '2']);
    expect(await find({ max: 3 })).toEqual(['other', '5', 'other']);
  });

  test('also after a restart, and when the state was lost', async () => {
    await sent(9);
    await cluster.restartBroker();
    expect(await find({ key: 'order-1' })).toEqual(['5', '1']);
    await cluster
      .client()
      .producer()
      .send('t', { body: 'new', keys: ['order-1'] });
    expect(await find({ key: 'order-1' })).toEqual(['new', '5', '1']);
  });

  test('among many thousands, whatever chunk of the index it is in', async () => {
    const client = cluster.client();
    await client.admin.createTopic('t', { queues: 1 });
    const producer = client.producer();
    const sends = Array.from({ length: 3000 }, (_, i) =>
      producer.send('t', { body: `${i}`, ...(i % 500 === 255 ? { keys: ['rare'] } : {}) }),
    );
    await Promise.all(sends);
    const found = await client.admin.findMessages({ topic: 't', key: 'rare' });
    expect(found.map(({ keys }) => keys)).toEqual(Array(6).fill(['rare']));
    const all = await client.admin.findMessages({ topic: 't', max: 2500 });
    expect(all.map(({ offset }) => offset)).toEqual(
      Array.from({ length: 2500 }, (_, i) => 2999 - i),
    );
  });

  test('by key in the dead letters, and once it has been delivered with a delay', async () => {
    const client = cluster.client();
    await client.producer().send('t', { body: 'bad', keys: ['k'] });
    const consumer = client.consumer('g', { from: 'first' }).subscribe('t');
    const [message] = await consumer.receive();
    await message?.reject('no');
    const dead = await eventually(
      'the dead letter is found',
      async () => {
        const found = await find({ key: 'k' }, '%DLQ%g').catch(() => []);
        return found.length > 0 ? found : undefined;
      },
      { withinMs: 5000, everyMs: 5 },
    );
    expect(dead).toEqual(['bad']);
    await client.producer().send('t', { body: 'late', keys: ['k'], delay: 1000 });
    expect(await find({ key: 'k' })).toEqual(['bad']);
    await cluster.pass(1100);
    const both = await eventually(
      'the delayed one is found',
      async () => {
        const found = await find({ key: 'k' });
        return found.length > 1 ? found : undefined;
      },
      { withinMs: 5000, everyMs: 5 },
    );
    expect(both).toEqual(['late', 'bad']);
  });
});

describe('the unary call', () => {
  const call = async (request: object) => {
    const channel = new Channel(cluster.broker.address);
    try {
      return await channel.unary(methods.findMessages, request, { deadlineMs: 5000 });
    } finally {
      channel.close();
    }
  };

  test('goes on where the page before has ended, also when new messages come', async () => {
    await sent(12);
    const pages: string[][] = [];
    let pageToken = '';
    do {
      const page = await call({ topic: 't', key: 'customer-0', pageSize: 2, pageToken });
      pages.push(page.messages.map(({ message }) => Buffer.from(message?.body ?? []).toString()));
      pageToken = page.nextPageToken;
      await cluster
        .client()
        .producer()
        .send('t', { body: 'new', keys: ['customer-0'] });
    } while (pageToken !== '');
    expect(pages.flat()).toEqual(['9', '6', '3', '0']);
  });

  test('can ask for one queue, and refuses what makes no sense', async () => {
    await sent(3);
    const { messages } = await call({ topic: 't', queueId: 1 });
    expect(messages.every(({ queueId }) => queueId === 1)).toBe(true);
    await expect(call({ topic: 't', queueId: 9 })).rejects.toMatchObject({
      code: 'QUEUE_NOT_FOUND',
    });
    await expect(call({ topic: 'gone' })).rejects.toMatchObject({ code: 'TOPIC_NOT_FOUND' });
    for (const wrong of [{ pageToken: 'nonsense' }, { pageSize: 1001 }, { key: 'k'.repeat(256) }]) {
      await expect(call({ topic: 't', ...wrong })).rejects.toMatchObject({ code: 'INVALID_FIELD' });
    }
  });
});
