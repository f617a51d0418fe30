import { type Producer, TOMBSTONE } from '@ternmq/sdk';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Cluster } from '../support/cluster.ts';
import { eventually } from '../support/eventually.ts';

const HOUR_MS = 3_600_000;

let cluster: Cluster;
let producer: Producer;
beforeEach(async () => {
  cluster = await Cluster.start({
    broker: { segmentSize: '16MiB', retention: '1h', retentionInterval: '10s' },
  });
  const client = cluster.client();
  await client.admin.createTopic('c', { queues: 1, compacted: true });
  producer = client.producer();
});
afterEach(() => cluster[Symbol.asyncDispose]());

const put = (orderingKey: string, body: string, more: object = {}) =>
  producer.send('c', { body, orderingKey, ...more });
const remove = (orderingKey: string) => put(orderingKey, '-', { properties: { [TOMBSTONE]: '1' } });

/** Lets all that was sent so far become old, and retention delete it. */
async function retention(): Promise<void> {
  const { admin } = cluster.client();
  const start = async () => (await admin.describeBroker('broker-a')).logStartPosition;
  const before = await start();
  const body = Buffer.alloc(4 << 20, 1);
  for (let i = 0; i < 5; i++) await producer.send('filler', { body });
  await cluster.pass(2 * HOUR_MS);
  await eventually(
    'retention has deleted a segment',
    async () => {
      await cluster.pass(10_000);
      return (await start()) > before ? true : undefined;
    },
    { withinMs: 8000, everyMs: 5 },
  );
}

/** What a new group gets that starts at the beginning. */
async function consumed(group: string, filter?: string): Promise<string[]> {
  const consumer = cluster.client().consumer(group, { from: 'first' }).subscribe('c', filter);
  const found: string[] = [];
  for (;;) {
    const messages = await consumer.receive({ max: 256, waitMs: 0 });
    if (messages.length === 0) return found;
    found.push(...messages.map((message) => message.text()));
    await Promise.all(messages.map((message) => message.ack()));
  }
}

/** What a reader by offset gets from the begin offset on. */
async function pulled(from: 'first' | Date = 'first'): Promise<[number, string][]> {
  const pull = cluster.client().pullConsumer();
  await pull.assignTopic('c', from);
  const found: [number, string][] = [];
  for (;;) {
    const messages = await pull.poll({ max: 500, waitMs: 200 });
    if (messages.length === 0) break;
    found.push(...messages.map((message): [number, string] => [message.offset, message.text()]));
  }
  await pull.close();
  return found;
}

const queueOf = async () => (await cluster.client().admin.describeTopic('c')).queues[0];

describe('a compacted topic', () => {
  test('tells the lag of a group with a filter that is behind what retention has left', async () => {
    const { admin } = cluster.client();
    const sends = Array.from({ length: 600 }, (_, i) => put(`key ${i % 50}`, `${i}`, { tag: 'a' }));
    await Promise.all(sends);
    const consumer = cluster.client().consumer('slow', { from: 'first' }).subscribe('c', 'a');
    const [first] = await consumer.receive({ max: 1, waitMs: 0 });
    await first?.ack();
    await consumer.close();
    expect((await admin.describeGroup('slow')).progress[0]).toMatchObject({ lagMatching: 599 });
    await retention();
    expect((await queueOf())?.beginOffset).toBeGreaterThan(0);
    const { progress } = await admin.describeGroup('slow');
    expect(progress[0]).toMatchObject({ lag: 50 });
    // The index no longer has the tags of what is retained: it is read.
    expect(progress[0]).toMatchObject({ lagMatching: 50, lagMatchingEstimated: false });
  });

  test('retains the newest message of each key, in the order of offsets, over restarts and ever again', async () => {
    for (const [key, body] of ['a1', 'b1', 'a2', 'c1', 'd1', 'c2'].map((s) => [s[0], s])) {
      await put(key as string, body as string);
    }
    expect(await consumed('before')).toEqual(['a1', 'b1', 'a2', 'c1', 'd1', 'c2']);
    await retention();
    expect(await queueOf()).toMatchObject({ beginOffset: 1, endOffset: 6 });
    const kept = [
      [1, 'b1'],
      [2, 'a2'],
      [4, 'd1'],
      [5, 'c2'],
    ];
    expect(await pulled()).toEqual(kept);
    expect(await consumed('after')).toEqual(['b1', 'a2', 'd1', 'c2']);
    await put('b', 'b2');
    await cluster.restartBroker();
    expect(await consumed('restarted')).toEqual(['b1', 'a2', 'd1', 'c2', 'b2']);
    await retention();
    await retention();
    expect(await pulled()).toEqual([...kept.slice(1), [6, 'b2']]);
    expect(await consumed('again')).toEqual(['a2', 'd1', 'c2', 'b2']);
  });

  test('forgets a key whose newest message is a tombstone, and knows it again when it is sent again', async () => {
    await put('a', 'a1');
    await put('b', 'b1');
    await remove('a');
    expect(await consumed('before')).toEqual(['a1', 'b1', '-']);
    await retention();
    expect(await consumed('after')).toEqual(['b1']);
    await put('a', 'a2');
    await remove('b');
    await retention();
    await retention();
    expect(await pulled()).toEqual([[3, 'a2']]);
  });

  test('passes over many thousands that are gone, and counts what is left as lag', async () => {
    await put('first', 'first');
    const sends = Array.from({ length: 6000 }, (_, i) => put('often', `${i}`));
    await Promise.all(sends);
    await put('last', 'last');
    await retention();
    expect(await pulled()).toEqual([
      [0, 'first'],
      [6000, '5999'],
      [6001, 'last'],
    ]);
    const { admin } = cluster.client();
    const consumer = cluster.client().consumer('g', { from: 'first' }).subscribe('c');
    const [first] = await consumer.receive({ max: 1 });
    expect(first?.text()).toBe('first');
    const [progress] = await admin.getOffset('g', 'c');
    expect(progress).toMatchObject({ beginOffset: 0, lag: 3, inFlight: 1 });
    const rest = await consumer.receive({ max: 10 });
    expect(rest.map((message) => message.text())).toEqual(['5999', 'last']);
  });

  test('is filtered, searched and read by time as ever', async () => {
    await put('a', 'a1', { tag: 'x', keys: ['k'] });
    await cluster.pass(1000);
    const secondMs = cluster.clock.nowMs();
    const { messageId } = await put('b', 'b1', { tag: 'y', keys: ['k'] });
    await put('b', 'b2', { tag: 'y', keys: ['k'] });
    await retention();
    await put('a', 'new', { tag: 'y' });
    expect(await consumed('x', 'x')).toEqual(['a1']);
    expect(await consumed('y', 'y')).toEqual(['b2', 'new']);
    expect((await pulled(new Date(secondMs))).map(([, body]) => body)).toEqual(['b2', 'new']);
    const { admin } = cluster.client();
    const found = await admin.findMessages({ topic: 'c', key: 'k' });
    expect(found.map((message) => message.text()).sort()).toEqual(['a1', 'b2']);
    await expect(admin.getMessage(messageId)).rejects.toMatchObject({ code: 'MESSAGE_NOT_FOUND' });
    expect((await admin.getMessage(found[0]?.messageId ?? '')).orderingKey).not.toBe('');
  });

  test('keeps less than others when it is told to, and still the newest of each key', async () => {
    const { admin } = cluster.client();
    await admin.updateTopic('c', { retentionMs: 60_000 });
    await put('a', 'a1');
    await put('a', 'a2');
    await put('b', 'b1');
    await cluster.pass(90_000);
    await eventually(
      'the queue begins later',
      async () => {
        await cluster.pass(10_000);
        return (await queueOf())?.beginOffset === 1 ? true : undefined;
      },
      { withinMs: 5000, everyMs: 5 },
    );
    expect(await pulled()).toEqual([
      [1, 'a2'],
      [2, 'b1'],
    ]);
  });

  test('lets go of an older message also while it is not settled, and keeps the newest for its retry', async () => {
    await put('a', 'a1');
    await put('b', 'b1');
    await cluster.client().admin.createGroup('g', { leaseMs: 12 * HOUR_MS });
    const consumer = cluster.client().consumer('g', { from: 'first' }).subscribe('c');
    const [old, newest] = await consumer.receive({ max: 2 });
    await put('a', 'a2');
    await retention();
    newest?.retry(0);
    old?.retry(0);
    await cluster.pass(15_000);
    const again = await eventually(
      'what is left is delivered again',
      async () => {
        await cluster.pass(1000);
        const messages = await consumer.receive({ max: 10, waitMs: 0 });
        return messages.some((message) => message.text() === 'b1') ? messages : undefined;
      },
      { withinMs: 5000, everyMs: 5 },
    );
    expect(again.map((message) => message.text())).not.toContain('a1');
    expect(await consumed('others')).toEqual(['b1', 'a2']);
  });

  test('refuses messages without ordering key, alone, and stays compacted', async () => {
    const sends = [put('a', 'a1'), producer.send('c', { body: 'no key' }), put('b', 'b1')];
    const results = await Promise.allSettled(sends);
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(results[1]).toMatchObject({ reason: { code: 'ORDERING_KEY_REQUIRED' } });
    const { admin } = cluster.client();
    await expect(admin.updateTopic('c', { compacted: false })).rejects.toMatchObject({
      code: 'COMPACTION_FIXED',
    });
    await admin.updateTopic('c', { queues: 2 });
    const { topics } = await admin.describeTopic('c');
    expect(topics[0]?.settings).toMatchObject({ compacted: true, queues: 2 });
  });
});
