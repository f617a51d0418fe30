import { isMqError, Reject, RetryAfter } from '@ternmq/sdk';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Channel } from '../../sdk/typescript/src/transport/channel.ts';
import { broker as methods } from '../../sdk/typescript/src/transport/methods.ts';
import { encodeOpening } from '../../sdk/typescript/src/transport/subscription-opening.ts';
import { readDelivery } from '../../sdk/typescript/src/wire/delivery.ts';
import { Cluster } from '../support/cluster.ts';
import { eventually } from '../support/eventually.ts';

let cluster: Cluster;
beforeEach(async () => {
  cluster = await Cluster.start();
});
afterEach(() => cluster[Symbol.asyncDispose]());

const within = { withinMs: 5000, everyMs: 5 };
const texts = (messages: readonly { text(): string }[]): string[] => messages.map((m) => m.text());

/** Takes from a run until so many messages have come. */
async function collected(list: readonly unknown[], count: number): Promise<void> {
  await eventually(`${count} messages`, () => (list.length >= count ? true : undefined), within);
}

describe('a message', () => {
  test('arrives with its tag, keys, properties, ordering key and times', async () => {
    const client = cluster.client();
    const receipt = await client.producer().send('orders', {
      body: 'héllo',
      tag: 'paid',
      keys: ['k1', 'k2'],
      properties: { a: 'ä', __proto__x: 'y' },
      orderingKey: 'customer-7',
    });
    const consumer = client.consumer('g', { from: 'first' }).subscribe('orders');
    const [message] = await consumer.receive();
    expect(message?.text()).toBe('héllo');
    expect(message?.tag).toBe('paid');
    expect(message?.keys).toEqual(['k1', 'k2']);
    expect(message?.properties).toEqual({ a: 'ä', __proto__x: 'y' });
    expect(message?.orderingKey).toBe('customer-7');
    expect(message?.messageId).toBe(receipt.messageId);
    expect(message?.offset).toBe(receipt.offset);
    expect(message?.attempt).toBe(1);
    expect(message?.storeTimeMs).toBe(cluster.clock.nowMs());
    expect(Math.abs((message?.bornTimeMs ?? 0) - Date.now())).toBeLessThan(60_000);
  });

  test('is found by the id of its receipt', async () => {
    const client = cluster.client();
    const { messageId } = await client.producer().send('orders', { body: 'find me' });
    expect((await client.admin.getMessage(messageId)).text()).toBe('find me');
    const other = messageId.replace(/.$/, (digit) => (digit === '0' ? '1' : '0'));
    await expect(client.admin.getMessage(other)).rejects.toMatchObject({
      code: 'MESSAGE_NOT_FOUND',
    });
    await expect(client.admin.getMessage('../x')).rejects.toMatchObject({
      code: 'INVALID_MESSAGE_ID',
    });
  });

  test('with an ordering key goes to one queue, and the order of the key is kept', async () => {
    const client = cluster.client();
    await client.admin.createTopic('ordered', { queues: 8 });
    const producer = client.producer();
    const sent = Array.from({ length: 300 }, (_, i) => ({ key: `k${i % 7}`, body: `${i}` }));
    const receipts = await Promise.all(
      sent.map(({ key, body }) => producer.send('ordered', { body, orderingKey: key })),
    );
    for (const key of ['k0', 'k3', 'k6']) {
      const ofKey = receipts.filter((_, i) => sent[i]?.key === key);
      expect(new Set(ofKey.map(({ queueId }) => queueId)).size).toBe(1);
      expect(ofKey.map(({ offset }) => offset)).toEqual(
        ofKey.map(({ offset }) => offset).toSorted((a, b) => a - b),
      );
    }
  });

  test('with an ordering key keeps its queue and order when it creates its topic', async () => {
    const [one, other] = [cluster.client().producer(), cluster.client().producer()];
    const keys = ['k0', 'k1', 'k2', 'k3'];
    const first = await Promise.all(
      keys.map((orderingKey) => one.send('new', { body: 'first', orderingKey })),
    );
    const second = await Promise.all(
      keys.map((orderingKey) => other.send('new', { body: 'second', orderingKey })),
    );
    expect(first.map(({ queueId }) => queueId)).toEqual(second.map(({ queueId }) => queueId));
    expect(new Set(first.map(({ queueId }) => queueId)).size).toBeGreaterThan(1);
    const { queues } = await cluster.client().admin.describeTopic('new');
    expect(queues.reduce((sum, { endOffset }) => sum + endOffset, 0)).toBe(2 * keys.length);
  });

  test('goes to the queue that the sender chooses', async () => {
    const client = cluster.client();
    await client.admin.createTopic('t', { queues: 4 });
    const producer = client.producer();
    const receipt = await producer.send('t', {
      body: 'x',
      queue: { broker: 'broker-a', queueId: 3 },
    });
    expect(receipt.queueId).toBe(3);
    const last = await producer.send('t', {
      body: 'x',
      queue: (queues) => queues.at(-1) ?? { broker: '', queueId: 0 },
    });
    expect(last.queueId).toBe(3);
    await expect(
      producer.send('t', { body: 'x', queue: { broker: 'broker-a', queueId: 9 } }),
    ).rejects.toMatchObject({ code: 'QUEUE_NOT_FOUND' });
  });
});

describe('sending', () => {
  test('tells of each message of a batch what became of it', async () => {
    const producer = cluster.client().producer();
    const outcomes = await producer.sendBatch('t', [
      { body: 'a' },
      { body: '' },
      { body: 'b', tag: 'bad|tag' },
      { body: 'c' },
      { body: 'd', keys: [''] },
    ]);
    expect(
      outcomes.map((one) =>
        one.status === 'failed' ? (one.error as { code?: string }).code : one.status,
      ),
    ).toEqual(['stored', 'BODY_EMPTY', 'INVALID_TAG', 'stored', 'INVALID_KEY']);
  });

  test('many messages with a promise each travels in few frames and keeps their order', async () => {
    const client = cluster.client();
    await client.admin.createTopic('one', { queues: 1 });
    const producer = client.producer();
    const receipts = await Promise.all(
      Array.from({ length: 5000 }, (_, i) => producer.send('one', { body: `${i}` })),
    );
    expect(receipts.map(({ offset }) => offset)).toEqual(receipts.map((_, i) => i));
  });

  test('waits when more bytes are under way than allowed, and loses nothing', async () => {
    const producer = cluster.client().producer({ inFlightBytesMax: 64 << 10 });
    const body = Buffer.alloc(8 << 10, 'x');
    const receipts = await Promise.all(
      Array.from({ length: 200 }, () => producer.send('t', { body })),
    );
    expect(receipts).toHaveLength(200);
  });

  test('one way does not wait, and tells of failures as events', async () => {
    const failures: string[] = [];
    const client = cluster.client({
      onEvent: (event) => {
        if (event.type === 'sendFailed')
          failures.push((event.error as { code?: string }).code ?? '');
      },
    });
    await client.admin.createTopic('t');
    const producer = client.producer();
    producer.sendOneWay('t', { body: 'fine' });
    producer.sendOneWay('t', { body: '' });
    await eventually('the failure', () => (failures.length > 0 ? true : undefined), within);
    expect(failures).toEqual(['BODY_EMPTY']);
    const [message] = await client.consumer('g', { from: 'first' }).subscribe('t').receive();
    expect(message?.text()).toBe('fine');
  });

  test('stops waiting when its signal aborts', async () => {
    const producer = cluster.client().producer();
    await expect(
      producer.send('t', { body: 'x' }, { signal: AbortSignal.abort() }),
    ).rejects.toMatchObject({ code: 'ABORTED' });
  });

  test('to an unknown topic says how to create it when topics are not created automatically', async () => {
    await using strict = await Cluster.start({ broker: { autoCreateTopics: false } });
    const producer = strict.client().producer();
    const error = await producer.send('absent', { body: 'x' }).catch((one: unknown) => one);
    expect(isMqError(error, 'TOPIC_NOT_FOUND')).toBe(true);
    expect((error as Error).message).toContain('tern topic create absent');
  });
});

describe('a handler', () => {
  test('acknowledges by returning, retries by throwing with a growing attempt number', async () => {
    const client = cluster.client();
    await client.admin.createGroup('g', { retryDelaysMs: [1000, 2000], attemptsMax: 5 });
    await client.producer().send('t', { body: 'x' });
    const attempts: number[] = [];
    const consumer = client.consumer('g', { from: 'first' }).subscribe('t');
    consumer.run((message) => {
      attempts.push(message.attempt);
      if (message.attempt < 3) throw new Error('not now');
    });
    await collected(attempts, 1);
    await settled('g', 't', { waitingForRetry: 1 });
    await cluster.pass(900);
    expect(attempts).toEqual([1]);
    await cluster.pass(200);
    await collected(attempts, 2);
    await settled('g', 't', { waitingForRetry: 1 });
    await cluster.pass(1900);
    expect(attempts).toEqual([1, 2]);
    await cluster.pass(200);
    await collected(attempts, 3);
    await settled('g', 't', { waitingForRetry: 0, lag: 0 });
    expect(attempts).toEqual([1, 2, 3]);
  });

  test('moves a message to the dead-letter topic after the last attempt, with where it came from', async () => {
    const client = cluster.client();
    await client.admin.createGroup('g', { retryDelaysMs: [100], attemptsMax: 2 });
    await client.producer().send('t', { body: 'poison', tag: 'x', keys: ['k'] });
    const attempts: number[] = [];
    client
      .consumer('g', { from: 'first' })
      .subscribe('t')
      .run((message) => {
        attempts.push(message.attempt);
        throw new Error('never');
      });
    await collected(attempts, 1);
    await settled('g', 't', { waitingForRetry: 1 });
    await cluster.pass(300);
    await collected(attempts, 2);
    const dead = client.consumer('undertaker', { from: 'first' }).subscribe('%DLQ%g');
    const [letter] = await eventually(
      'the dead letter',
      async () => {
        const batch = await dead.receive({ waitMs: 0 });
        return batch.length > 0 ? batch : undefined;
      },
      within,
    );
    expect(letter?.text()).toBe('poison');
    expect(letter?.keys).toEqual(['k']);
    expect(letter?.origin).toMatchObject({ topic: 't', group: 'g', attempts: 2, offset: 0 });
    await settled('g', 't', { lag: 0 });
  });

  test('gives a message up with Reject, and asks for a given delay with RetryAfter', async () => {
    const client = cluster.client();
    const producer = client.producer();
    await producer.send('t', { body: 'reject' });
    await producer.send('t', { body: 'later' });
    const seen: string[] = [];
    client
      .consumer('g', { from: 'first' })
      .subscribe('t')
      .run((message) => {
        seen.push(`${message.text()} ${message.attempt}`);
        if (message.text() === 'reject') throw new Reject('broken');
        if (message.attempt === 1) throw new RetryAfter(700);
      });
    await collected(seen, 2);
    await settled('g', 't', { waitingForRetry: 1 });
    await cluster.pass(800);
    await collected(seen, 3);
    expect(seen).toContain('later 2');
    const letters = await eventually(
      'the dead letter',
      async () => {
        const batch = await client
          .consumer('u', { from: 'first' })
          .subscribe('%DLQ%g')
          .receive({ waitMs: 0 });
        return batch.length > 0 ? batch : undefined;
      },
      within,
    );
    expect(letters[0]?.origin?.reason).toBe('broken');
  });

  test('that fails does not hold up other messages', async () => {
    const client = cluster.client();
    await client.admin.createTopic('one', { queues: 1 });
    const producer = client.producer();
    for (let i = 0; i < 20; i++) await producer.send('one', { body: `${i}` });
    const done: string[] = [];
    client
      .consumer('g', { from: 'first' })
      .subscribe('one')
      .run((message) => {
        if (message.text() === '3') throw new Error('poison');
        done.push(message.text());
      });
    await collected(done, 19);
    await settled('g', 'one', { floorOffset: 20, waitingForRetry: 1 });
  });
});

/** Waits until the sums over a group's progress in a topic are so. */
async function settled(
  group: string,
  topic: string,
  wanted: Partial<Record<'floorOffset' | 'waitingForRetry' | 'lag' | 'inFlight', number>>,
): Promise<void> {
  const { admin } = cluster.client();
  await eventually(
    `progress ${JSON.stringify(wanted)}`,
    async () => {
      const queues = await admin.getOffset(group, topic);
      const fits = Object.entries(wanted).every(([name, value]) => {
        const sum = queues.reduce((total, queue) => total + queue[name as 'lag'], 0);
        return sum === value;
      });
      return fits ? true : undefined;
    },
    within,
  );
}

describe('a group', () => {
  test('shares messages among its members, each once', async () => {
    const client = cluster.client();
    await client.admin.createTopic('t');
    const seen: string[] = [];
    const byMember = [0, 0];
    for (const member of [0, 1]) {
      cluster
        .client()
        .consumer('g', { from: 'first', concurrency: 1, prefetch: { messages: 4 } })
        .subscribe('t')
        .run(async (message) => {
          byMember[member] = (byMember[member] ?? 0) + 1;
          seen.push(message.text());
          await new Promise((resolve) => setImmediate(resolve));
        });
    }
    await eventually(
      'both members',
      async () => {
        const found = await client.admin.describeGroup('g').catch(() => undefined);
        return found?.consumers.length === 2 ? true : undefined;
      },
      within,
    );
    const producer = client.producer();
    await Promise.all(Array.from({ length: 400 }, (_, i) => producer.send('t', { body: `${i}` })));
    await collected(seen, 400);
    await settled('g', 't', { lag: 0 });
    expect(new Set(seen).size).toBe(400);
    expect(seen).toHaveLength(400);
    expect(Math.min(...byMember)).toBeGreaterThan(0);
  });

  test('gets only the tags that it subscribed to, and the others do not count as lag', async () => {
    const client = cluster.client();
    await client.admin.createTopic('one', { queues: 1 });
    const producer = client.producer();
    for (const [i, tag] of ['a', 'b', 'c', 'a', '', 'b'].entries()) {
      await producer.send('one', { body: `${i}`, tag });
    }
    const consumer = client.consumer('g', { from: 'first' }).subscribe('one', 'a || b');
    const batch = await consumer.receive();
    expect(texts(batch)).toEqual(['0', '1', '3', '5']);
    for (const message of batch) message.ack();
    await settled('g', 'one', { lag: 0, floorOffset: 6 });
  });

  test('refuses a member that filters the topic differently', async () => {
    const client = cluster.client();
    await client.producer().send('t', { body: 'x' });
    const run = client
      .consumer('g')
      .subscribe('t', 'a')
      .run(() => {});
    await eventually(
      'the first member',
      async () => {
        const found = await client.admin.describeGroup('g').catch(() => undefined);
        return found?.consumers.length === 1 ? true : undefined;
      },
      within,
    );
    const other = cluster
      .client()
      .consumer('g')
      .subscribe('t', 'b')
      .run(() => {});
    await expect(other.ended).rejects.toMatchObject({ code: 'SUBSCRIPTION_MISMATCH' });
    await run.close();
  });

  test('starts at the first, the last, or the first message of a time', async () => {
    const client = cluster.client();
    await client.admin.createTopic('one', { queues: 1 });
    const producer = client.producer();
    await producer.send('one', { body: 'old' });
    await cluster.pass(10_000);
    const time = new Date(cluster.clock.nowMs());
    await producer.send('one', { body: 'new' });
    const received = async (group: string, from: 'first' | 'last' | Date): Promise<string[]> => {
      const consumer = client.consumer(group, { from }).subscribe('one');
      return texts(await consumer.receive({ waitMs: 0 }));
    };
    expect(await received('first', 'first')).toEqual(['old', 'new']);
    expect(await received('last', 'last')).toEqual([]);
    expect(await received('time', time)).toEqual(['new']);
  });

  test('in broadcasting mode every member gets every message, and goes on where it was', async () => {
    const client = cluster.client();
    const producer = client.producer();
    await producer.send('t', { body: 'one' });
    const seen: Record<string, string[]> = { a: [], b: [] };
    const open = (consumerId: 'a' | 'b') =>
      cluster
        .client()
        .consumer('g', { from: 'first', mode: 'broadcasting', consumerId })
        .subscribe('t')
        .run((message) => {
          seen[consumerId]?.push(message.text());
        });
    const runs = [open('a'), open('b')];
    await collected(seen.a ?? [], 1);
    await collected(seen.b ?? [], 1);
    await runs[0]?.close();
    await producer.send('t', { body: 'two' });
    await collected(seen.b ?? [], 2);
    open('a');
    await collected(seen.a ?? [], 2);
    expect(seen).toEqual({ a: ['one', 'two'], b: ['one', 'two'] });
  });
});

describe('a lease', () => {
  test('that ends unsettled has the message delivered again after the back-off', async () => {
    const client = cluster.client();
    await client.admin.createGroup('g', { retryDelaysMs: [500] });
    await client.producer().send('t', { body: 'x' });
    const consumer = client.consumer('g', { from: 'first', leaseMs: 2000 }).subscribe('t');
    const [first] = await consumer.receive();
    expect(first?.attempt).toBe(1);
    await cluster.pass(1900);
    expect(await consumer.receive({ waitMs: 0 })).toEqual([]);
    await cluster.pass(800);
    const [again] = await consumer.receive({ waitMs: 0 });
    expect(again?.attempt).toBe(2);
    expect(again?.offset).toBe(first?.offset);
  });

  test('is extended, and settled under its own name only', async () => {
    const failures: string[] = [];
    const client = cluster.client({
      onEvent: (event) => {
        if (event.type === 'settleFailed')
          failures.push((event.error as { code?: string }).code ?? '');
      },
    });
    await client.admin.createGroup('g', { retryDelaysMs: [0] });
    await client.producer().send('t', { body: 'x' });
    const consumer = client.consumer('g', { from: 'first', leaseMs: 1000 }).subscribe('t');
    const [first] = await consumer.receive();
    first?.extend(5000);
    await settledSoon();
    await cluster.pass(3000);
    expect(await consumer.receive({ waitMs: 0 })).toEqual([]);
    await cluster.pass(2500);
    const [again] = await consumer.receive({ waitMs: 0 });
    expect(again?.attempt).toBe(2);
    first?.ack();
    await eventually('the refusal', () => (failures.length > 0 ? true : undefined), within);
    expect(failures).toEqual(['LEASE_EXPIRED']);
    again?.ack();
    await settled('g', 't', { lag: 0 });
  });

  test('of a consumer that closes is free at once, and the delivery does not count', async () => {
    const client = cluster.client();
    await client.producer().send('t', { body: 'x' });
    const stream = client.consumer('g', { from: 'first' }).subscribe('t').stream();
    const { value: held } = await stream.next();
    expect(held?.attempt).toBe(1);
    await stream.close();
    const [again] = await client.consumer('g').subscribe('t').receive({ waitMs: 2000 });
    expect(again?.text()).toBe('x');
    expect(again?.attempt).toBe(1);
  });

  test('of a stream that breaks is free after the grace', async () => {
    const client = cluster.client();
    await client.producer().send('t', { body: 'x' });
    const delivered = Promise.withResolvers<void>();
    const channel = new Channel(cluster.broker.address);
    const stream = channel.bytes(methods.subscribe, {
      message: (bytes) => {
        if (readDelivery(bytes).records.length > 0) delivered.resolve();
      },
      ended: () => {},
    });
    const opening = {
      group: 'g',
      consumerId: 'c',
      broadcasting: false,
      leaseMs: 0,
      from: 'first',
    } as const;
    const subscriptions = [{ topic: 't', tags: '*', sql: '' }];
    stream.write(encodeOpening({ ...opening, subscriptions }, { messages: 10, bytes: 10_000 }));
    await delivered.promise;
    // Nobody says good-bye.
    stream.cancel();
    channel.close();
    await settled('g', 't', { inFlight: 1 });
    const other = client.consumer('g').subscribe('t');
    await cluster.pass(4000);
    expect(await other.receive({ waitMs: 0 })).toEqual([]);
    await cluster.pass(1500);
    const [again] = await other.receive({ waitMs: 0 });
    expect(again?.attempt).toBe(2);
  });
});

/** Settlements of unary consumers go out on their own; this is time enough on one machine. */
async function settledSoon(): Promise<void> {
  await settled('g', 't', { inFlight: 1 });
  for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
}
