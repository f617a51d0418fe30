import { DELAY_LEVELS, isMqError } from '@ternmq/sdk';
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

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const texts = (messages: readonly { text(): string }[]): string[] => messages.map((m) => m.text());

/** Everything that a group gets now. */
async function received(topic = 't', group = 'g'): Promise<string[]> {
  const consumer = cluster.client().consumer(group, { from: 'first' }).subscribe(topic);
  const found: string[] = [];
  for (;;) {
    const messages = await consumer.receive({ max: 256, waitMs: 0 });
    if (messages.length === 0) return found;
    found.push(...texts(messages));
    await Promise.all(messages.map((message) => message.ack()));
  }
}

/** What a group gets until so many messages have come: what is released is seen when it is durable. */
async function soon(count: number, topic = 't'): Promise<string[]> {
  const found: string[] = [];
  await eventually(
    `${count} messages`,
    async () => {
      found.push(...(await received(topic)));
      return found.length >= count || undefined;
    },
    { withinMs: 5000, everyMs: 5 },
  );
  return found;
}

/** Lets the broker's time pass, and what has fallen due be released. */
async function passed(ms: number): Promise<void> {
  await cluster.pass(ms);
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
}

function waiting(): number {
  const found = /^rocketmq_timing_messages\{.*\} (\d+)$/m.exec(cluster.broker.registry.render());
  return Number(found?.[1]);
}

async function noneWaits(): Promise<void> {
  await eventually('nothing waits', () => (waiting() === 0 ? true : undefined), {
    withinMs: 5000,
    everyMs: 5,
  });
}

describe('a delayed message', () => {
  test('is delivered when its time has come, and not before', async () => {
    const producer = cluster.client().producer();
    await producer.send('t', { body: 'at once' });
    const nowMs = cluster.clock.nowMs();
    await producer.send('t', { body: 'in 10 s', delay: 10_000, tag: 'x', keys: ['k'] });
    await producer.send('t', { body: 'at a time', deliverAt: new Date(nowMs + 20_000) });
    await producer.send('t', { body: 'level 4', delay: '30s' });
    expect(await received()).toEqual(['at once']);
    await passed(9_900);
    expect(await received()).toEqual([]);
    await passed(100);
    await eventually('one is released', () => (waiting() === 2 ? true : undefined), {
      withinMs: 5000,
      everyMs: 5,
    });
    const [message] = await cluster
      .client()
      .consumer('other', { from: 'first' })
      .subscribe('t', 'x')
      .receive();
    expect(message?.text()).toBe('in 10 s');
    expect(message?.keys).toEqual(['k']);
    expect(await soon(1)).toEqual(['in 10 s']);
    await passed(9_900);
    expect(await received()).toEqual([]);
    await passed(10_100);
    await noneWaits();
    // They may be in different queues.
    expect((await soon(2)).sort()).toEqual(['at a time', 'level 4']);
  });

  test('can be taken back until it is delivered, and the answer is true afterwards', async () => {
    const producer = cluster.client().producer();
    const recalled = await producer.send('t', { body: 'recalled', delay: 5000 });
    const kept = await producer.send('t', { body: 'kept', delay: 5000 });
    const plain = await producer.send('t', { body: 'plain' });
    expect((await cluster.client().admin.getMessage(recalled.messageId)).text()).toBe('recalled');
    await producer.recall(recalled.messageId);
    await expect(producer.recall(recalled.messageId)).rejects.toMatchObject({
      code: 'NOT_WAITING',
    });
    await expect(producer.recall(plain.messageId)).rejects.toMatchObject({ code: 'NOT_DELAYED' });
    await passed(6000);
    await noneWaits();
    await expect(producer.recall(kept.messageId)).rejects.toMatchObject({ code: 'NOT_WAITING' });
    expect((await soon(2)).sort()).toEqual(['kept', 'plain']);
    await expect(cluster.client().admin.getMessage(kept.messageId)).rejects.toMatchObject({
      code: 'MESSAGE_NOT_FOUND',
    });
  });

  test('that fell due while the broker was down comes at its start, oldest first', async () => {
    const producer = cluster.client().producer();
    const delays = Array.from({ length: 600 }, (_, i) => 1000 + ((i * 7919) % 600) * 10);
    await cluster.client().admin.createTopic('t', { queues: 1 });
    await Promise.all(delays.map((delay) => producer.send('t', { body: `${delay}`, delay })));
    await producer.send('t', { body: 'later', delay: 2 * HOUR_MS });
    await cluster.restartBroker({ pauseMs: HOUR_MS });
    await eventually('all are released', () => (waiting() === 1 ? true : undefined), {
      withinMs: 5000,
      everyMs: 5,
    });
    expect(await soon(600)).toEqual(
      delays.toSorted((one, other) => one - other).map((delay) => `${delay}`),
    );
  });

  test('is as early and as late as ever when the wall clock is set', async () => {
    const producer = cluster.client().producer();
    await producer.send('t', { body: 'x', delay: 60_000 });
    cluster.clock.setWall(cluster.clock.nowMs() + DAY_MS);
    await passed(59_900);
    expect(await received()).toEqual([]);
    cluster.clock.setWall(cluster.clock.nowMs() - 3 * DAY_MS);
    await passed(200);
    await noneWaits();
    expect(await soon(1)).toEqual(['x']);
  });

  test('of more than 40 days ahead, or with two times, is refused', async () => {
    const producer = cluster.client().producer();
    await producer.send('t', { body: 'x', delay: 40 * DAY_MS });
    const tooLong = producer.send('t', { body: 'x', delay: 40 * DAY_MS + 60_000 });
    await expect(tooLong).rejects.toMatchObject({ code: 'DELAY_TOO_LONG' });
    const channel = new Channel(`127.0.0.1:${cluster.broker.port}`);
    const both = channel.unary(
      methods.send,
      { topic: 't', messages: [{ body: Buffer.from('x'), delayMs: 5n, deliverAtMs: 7n }] },
      { deadlineMs: 5000 },
    );
    await expect(both).rejects.toMatchObject({ code: 'INVALID_DELAY' });
    const mixed = channel.unary(
      methods.send,
      {
        topic: 't',
        messages: [{ body: Buffer.from('x'), delayMs: 5n }, { body: Buffer.from('y') }],
      },
      { deadlineMs: 5000 },
    );
    await expect(mixed).rejects.toMatchObject({ code: 'MIXED_FRAME' });
    channel.close();
    expect(waiting()).toBe(1);
  });

  test('of a topic that is deleted meanwhile goes with it', async () => {
    const client = cluster.client();
    await client.producer().send('gone', { body: 'x', delay: 1000 });
    await client.admin.deleteTopic('gone');
    await passed(1100);
    await noneWaits();
    await client.admin.createTopic('gone');
    expect(await received('gone')).toEqual([]);
  });

  test('keeps its message id while it waits, and many sent at once are stored once each', async () => {
    const producer = cluster.client().producer();
    const receipts = await Promise.all(
      Array.from({ length: 2000 }, (_, i) => producer.send('t', { body: `${i}`, delay: 500 })),
    );
    expect(new Set(receipts.map(({ messageId }) => messageId)).size).toBe(2000);
    expect(waiting()).toBe(2000);
    await passed(600);
    await noneWaits();
    const found = await soon(2000);
    expect(found.map(Number).sort((a, b) => a - b)).toEqual(receipts.map((_, i) => i));
  });
});

describe('a topic of a kind', () => {
  test.each([
    [
      'normal',
      { body: 'x' },
      [
        { body: 'x', delay: 5 },
        { body: 'x', orderingKey: 'k' },
      ],
    ],
    [
      'fifo',
      { body: 'x', orderingKey: 'k' },
      [{ body: 'x' }, { body: 'x', orderingKey: 'k', delay: 5 }],
    ],
    ['delay', { body: 'x', delay: 5 }, [{ body: 'x' }, { body: 'x', orderingKey: 'k', delay: 5 }]],
    ['mixed', { body: 'x', orderingKey: 'k', delay: 5 }, []],
  ] as const)('(%s) takes its kind of messages and refuses others', async (kind, fits, wrong) => {
    const client = cluster.client();
    await client.admin.createTopic('k', { kind });
    const { topics } = await client.admin.describeTopic('k');
    expect(topics[0]?.settings.kind).toBe(kind);
    const producer = client.producer();
    await producer.send('k', fits);
    for (const message of wrong) {
      const error: unknown = await producer.send('k', message).catch((reason) => reason);
      expect(isMqError(error) && error.code).toBe('WRONG_MESSAGE_KIND');
    }
  });
});

test('the topic in which messages wait is nobody else’s', async () => {
  const client = cluster.client();
  await client.producer().send('t', { body: 'x', delay: 5000 });
  expect((await client.admin.listTopics()).map(({ name }) => name)).toEqual(['t']);
  await expect(client.admin.describeTopic('%HELD%')).rejects.toMatchObject({
    code: 'TOPIC_NOT_FOUND',
  });
  await expect(client.admin.deleteTopic('%HELD%')).rejects.toMatchObject({
    code: 'TOPIC_NOT_FOUND',
  });
  expect(DELAY_LEVELS).toHaveLength(18);
});
