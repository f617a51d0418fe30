import { isMqError, type OutgoingMessage, type ReceivedMessage } from '@ternmq/sdk';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Channel } from '../../sdk/typescript/src/transport/channel.ts';
import { broker as methods } from '../../sdk/typescript/src/transport/methods.ts';
import { addressFrame, encodeFrame } from '../../sdk/typescript/src/wire/frame.ts';
import { type Outcome, readOutcomes } from '../../sdk/typescript/src/wire/outcomes.ts';
import { Cluster } from '../support/cluster.ts';
import { eventually } from '../support/eventually.ts';

let cluster: Cluster;
beforeEach(async () => {
  cluster = await Cluster.start();
});
afterEach(() => cluster[Symbol.asyncDispose]());

const within = { withinMs: 8000, everyMs: 5 };
const texts = (messages: readonly { text(): string }[]): string[] => messages.map((m) => m.text());

describe('a restart of the broker', () => {
  test('keeps messages, topics, groups and progress, and clients go on by themselves', async () => {
    const client = cluster.client();
    await client.admin.createTopic('one', { queues: 1, retentionMs: 3_600_000 });
    await client.admin.createGroup('g', { attemptsMax: 3, retryDelaysMs: [1000] });
    const producer = client.producer();
    for (const body of ['a', 'b', 'c', 'd']) await producer.send('one', { body });
    const consumer = client.consumer('g', { from: 'first' }).subscribe('one');
    const batch = await consumer.receive();
    expect(texts(batch)).toEqual(['a', 'b', 'c', 'd']);
    batch[0]?.ack();
    batch[2]?.ack();
    batch[1]?.retry(500);
    await eventually(
      'the settlements',
      async () => {
        const [queue] = await client.admin.getOffset('g', 'one');
        return queue?.waitingForRetry === 1 && queue.inFlight === 1 ? true : undefined;
      },
      within,
    );
    await cluster.restartBroker();
    const [queue] = await client.admin.getOffset('g', 'one');
    expect(queue).toMatchObject({ floorOffset: 3, nextOffset: 4, inFlight: 1, waitingForRetry: 1 });
    const { topics } = await client.admin.describeTopic('one');
    expect(topics[0]?.settings).toMatchObject({ queues: 1, retentionMs: 3_600_000 });
    await cluster.pass(600);
    const [again] = await consumer.receive({ waitMs: 0 });
    expect(again?.text()).toBe('b');
    expect(again?.attempt).toBe(2);
    expect((await producer.send('one', { body: 'e' })).offset).toBe(4);
  });

  test('does not lose or double what a producer was sending', async () => {
    const client = cluster.client();
    await client.admin.createTopic('one', { queues: 2 });
    const producer = client.producer();
    const bodies = Array.from({ length: 3000 }, (_, i) => `m${i}`);
    const sends: Promise<unknown>[] = [];
    for (const [i, body] of bodies.entries()) {
      sends.push(producer.send('one', { body }));
      if (i % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
      if (i === 1500) sends.push(cluster.restartBroker());
    }
    await Promise.all(sends);
    const pull = client.pullConsumer();
    await pull.assignTopic('one');
    const seen: string[] = [];
    while (seen.length < bodies.length) {
      const batch = await pull.poll({ max: 1000, waitMs: 2000 });
      if (batch.length === 0) break;
      seen.push(...texts(batch));
    }
    expect(seen.toSorted()).toEqual(bodies.toSorted());
  });

  test('does not bring a consumer to an end', async () => {
    const client = cluster.client();
    const producer = client.producer();
    await producer.send('t', { body: 'before' });
    const seen: string[] = [];
    client
      .consumer('g', { from: 'first' })
      .subscribe('t')
      .run((message) => {
        seen.push(message.text());
      });
    await eventually('the first', () => (seen.length === 1 ? true : undefined), within);
    await cluster.restartBroker();
    await producer.send('t', { body: 'after' });
    await eventually('the second', () => (seen.length === 2 ? true : undefined), within);
    expect(seen).toEqual(['before', 'after']);
  });
});

describe('a frame', () => {
  /** Sends frames on a stream of their own and returns their outcomes. */
  async function produce(frames: readonly Buffer[]): Promise<Outcome[]> {
    const outcomes: Outcome[] = [];
    const done = Promise.withResolvers<void>();
    const channel = new Channel(cluster.broker.address);
    const stream = channel.bytes(methods.produce, {
      message: (bytes) => {
        readOutcomes(bytes, (outcome) => outcomes.push(outcome));
        if (outcomes.length === frames.length) done.resolve();
      },
      ended: () => done.resolve(),
    });
    for (const frame of frames) stream.write(frame);
    await done.promise;
    stream.end();
    channel.close();
    return outcomes;
  }

  function frame(
    bodies: readonly string[],
    producerId: number,
    sequence: number,
    frameId: number,
  ): Buffer {
    const encoded = encodeFrame(
      'one',
      bodies.map((body) => ({ body })),
      1,
    );
    addressFrame(encoded, 0, producerId, sequence, frameId);
    return encoded.bytes;
  }

  test('that is sent again is stored once, and answered with the offsets of the first time', async () => {
    await cluster.client().admin.createTopic('one', { queues: 1 });
    const [first] = await produce([frame(['a', 'b'], 7, 0, 1)]);
    await produce([frame(['x'], 8, 0, 1)]);
    const again = await produce([frame(['a', 'b'], 7, 0, 2), frame(['c'], 7, 2, 3)]);
    expect(first).toMatchObject({ baseOffset: 0, reason: '' });
    expect(again[0]).toMatchObject({ frameId: 2, baseOffset: 0, reason: '' });
    expect(again[1]).toMatchObject({ frameId: 3, baseOffset: 3, reason: '' });
    await cluster.restartBroker();
    const afterwards = await produce([frame(['c'], 7, 2, 4), frame(['d'], 7, 9, 5)]);
    expect(afterwards[0]).toMatchObject({ baseOffset: 3, reason: '' });
    expect(afterwards[1]).toMatchObject({ reason: 'SEQUENCE_GAP' });
    const { queues } = await cluster.client().admin.describeTopic('one');
    expect(queues[0]?.endOffset).toBe(4);
  });

  test('of a producer that was silent for a day is no longer known, and others are', async () => {
    const client = cluster.client();
    await client.admin.createTopic('t', { queues: 1 });
    const channel = new Channel(`127.0.0.1:${cluster.broker.port}`);
    const send = (producerId: bigint, sequence: bigint) =>
      channel.unary(
        methods.send,
        { topic: 't', queueId: 0, producerId, sequence, messages: [{ body: Buffer.from('x') }] },
        { deadlineMs: 5000 },
      );
    await send(1n, 0n);
    await send(2n, 0n);
    cluster.clock.advance(23 * 3_600_000);
    await send(2n, 1n);
    cluster.clock.advance(2 * 3_600_000);
    await expect(send(1n, 1n)).rejects.toMatchObject({ code: 'SEQUENCE_GAP' });
    await send(2n, 2n);
    const { queues } = await client.admin.describeTopic('t');
    expect(queues[0]?.endOffset).toBe(4);
    channel.close();
  });

  test('that repeats only a part has the rest stored, and tells where both are', async () => {
    await cluster.client().admin.createTopic('one', { queues: 1 });
    await produce([frame(['a'], 7, 0, 1)]);
    await produce([frame(['x'], 8, 0, 1)]);
    const [outcome] = await produce([frame(['a', 'b', 'c'], 7, 0, 2)]);
    expect(outcome?.reason).toBe('');
    expect(outcome?.parts).toEqual([
      { firstIndex: 0, offset: 0, queueId: undefined, duplicate: false },
      { firstIndex: 1, offset: 2, queueId: undefined, duplicate: false },
    ]);
  });

  test('that is malformed is refused, the stream goes on, and nothing of it is stored', async () => {
    const client = cluster.client();
    await client.admin.createTopic('one', { queues: 1 });
    const good = frame(['fine'], 0, 0, 9);
    const bad: Buffer[] = [
      Buffer.from([0x32, 0xff, 0xff, 0x7f]),
      Buffer.from([0x0a, 0x03, 0x6f]),
      Buffer.alloc(0),
      Buffer.from('ffffffffffffffffffff01', 'hex'),
      good.subarray(0, good.length - 3),
    ];
    const outcomes = await produce([...bad, good]);
    expect(outcomes.slice(0, -1).every(({ reason }) => reason !== '')).toBe(true);
    expect(outcomes.at(-1)).toMatchObject({ reason: '', baseOffset: 0 });
    const { queues } = await client.admin.describeTopic('one');
    expect(queues[0]?.endOffset).toBe(1);
  });
});

describe('hostile input', () => {
  test.each(['../x', 'a\0b', 'x'.repeat(10_240), '', 'ünïcode', 'a b', '%DLQ%mine'])(
    'as a topic name (%j) is refused with a clear status',
    async (name) => {
      const { admin } = cluster.client();
      await expect(admin.createTopic(name)).rejects.toMatchObject({ code: 'INVALID_FIELD' });
      const before = await admin.listTopics();
      const sent = await cluster
        .client()
        .producer()
        .send(name, { body: 'x' }, { deadlineMs: 2000 })
        .catch((e: unknown) => e);
      expect(isMqError(sent)).toBe(true);
      expect(await admin.listTopics()).toEqual(before);
    },
  );

  test('of any size in properties, keys and bodies is refused by its limit', async () => {
    const producer = cluster.client().producer();
    const code = async (message: OutgoingMessage): Promise<string> =>
      producer.send('t', message).then(
        () => 'stored',
        (error: { code: string }) => error.code,
      );
    const many = (count: number) =>
      Object.fromEntries(Array.from({ length: count }, (_, i) => [`p${i}`, 'v']));
    expect(await code({ body: Buffer.alloc(4 << 20, 1) })).toBe('stored');
    expect(await code({ body: Buffer.alloc((4 << 20) + 1, 1) })).toBe('BODY_TOO_LARGE');
    expect(await code({ body: '' })).toBe('BODY_EMPTY');
    expect(await code({ body: 'x', properties: many(128) })).toBe('stored');
    expect(await code({ body: 'x', properties: many(129) })).toBe('PROPERTIES_TOO_LARGE');
    expect(await code({ body: 'x', properties: { a: 'v'.repeat(16 << 10) } })).toBe(
      'PROPERTIES_TOO_LARGE',
    );
    expect(await code({ body: 'x', tag: 't'.repeat(128) })).toBe('INVALID_TAG');
    expect(await code({ body: 'x', keys: ['k'.repeat(256)] })).toBe('INVALID_KEY');
  });
});

describe('a name server', () => {
  test('that restarts gets its brokers back by themselves, and traffic goes on meanwhile', async () => {
    const client = cluster.client();
    const producer = client.producer();
    await producer.send('t', { body: '1' });
    await cluster.nameServer.close();
    expect((await producer.send('t', { body: '2' })).messageId).toHaveLength(32);
    await cluster.restartNameServer();
    // The broker's clock drives how soon it tries again.
    await eventually(
      'the route',
      async () => {
        cluster.clock.advance(500);
        return cluster
          .client()
          .admin.describeTopic('t')
          .catch(() => undefined);
      },
      within,
    );
    const { queues } = await cluster.client().admin.describeTopic('t');
    expect(queues.reduce((sum, { endOffset }) => sum + endOffset, 0)).toBe(2);
  });

  test('that cannot be reached is told with the flag and the variable that mend it', async () => {
    const { nameservers } = cluster;
    await cluster.nameServer.close();
    const client = cluster.client();
    const error = await client
      .producer()
      .send('t', { body: 'x' }, { deadlineMs: 500 })
      .catch((one: unknown) => one);
    expect(isMqError(error, 'NAMESERVER_UNREACHABLE')).toBe(true);
    for (const word of ['--nameserver', 'TERN_NAMESERVER', nameservers]) {
      expect((error as Error).message).toContain(word);
    }
  });
});

describe('a pull consumer', () => {
  test('reads from where it is told, pauses, seeks, and commits', async () => {
    const client = cluster.client();
    await client.admin.createTopic('one', { queues: 2 });
    const producer = client.producer();
    for (let i = 0; i < 10; i++) {
      await producer.send('one', { body: `${i}`, queue: { broker: 'broker-a', queueId: i % 2 } });
    }
    const pull = client.pullConsumer();
    const queues = await pull.assignTopic('one');
    const [even, odd] = queues;
    if (even === undefined || odd === undefined) throw new Error('two queues are assigned');
    pull.pause([odd]);
    expect(texts(await pull.poll())).toEqual(['0', '2', '4', '6', '8']);
    await pull.seek(even, 3);
    expect(texts(await pull.poll())).toEqual(['6', '8']);
    expect(pull.position(even)).toBe(5);
    pull.resume([odd]);
    expect(texts(await pull.poll({ max: 2 }))).toEqual(['1', '3']);
    await pull.commit('g');
    const other = client.pullConsumer();
    await other.assignTopic('one', 'first');
    await other.seekToCommitted('g');
    expect(other.position(even)).toBe(5);
    expect(other.position(odd)).toBe(2);
    await pull.seek(even, 99);
    pull.pause([odd]);
    await expect(pull.poll()).rejects.toMatchObject({
      code: 'OFFSET_OUT_OF_RANGE',
      details: { begin: '0', end: '5' },
    });
  });

  test('waits for a message and wakes when it comes', async () => {
    const client = cluster.client();
    await client.admin.createTopic('one', { queues: 3 });
    const pull = client.pullConsumer();
    await pull.assignTopic('one', 'last');
    const polled: Promise<ReceivedMessage[]> = pull.poll({ waitMs: 10_000 });
    await client.producer().send('one', { body: 'now' });
    expect(texts(await polled)).toEqual(['now']);
  });
});

describe('an operator', () => {
  test('resets a group while its consumer runs, and sees before and after', async () => {
    const client = cluster.client();
    await client.admin.createTopic('one', { queues: 1 });
    const producer = client.producer();
    for (const body of ['a', 'b', 'c']) await producer.send('one', { body });
    const seen: string[] = [];
    client
      .consumer('g', { from: 'first' })
      .subscribe('one')
      .run((message) => {
        seen.push(message.text());
      });
    await eventually('all', () => (seen.length === 3 ? true : undefined), within);
    await eventually(
      'settled',
      async () => {
        const [queue] = await client.admin.getOffset('g', 'one');
        return queue?.floorOffset === 3 ? true : undefined;
      },
      within,
    );
    const reset = { group: 'g', topic: 'one', to: { shift: -2 } };
    const [dry] = await client.admin.resetGroup({ ...reset, dryRun: true });
    expect(dry).toEqual({ broker: 'broker-a', queueId: 0, before: 3, after: 1 });
    expect(seen).toHaveLength(3);
    await client.admin.resetGroup(reset);
    await eventually('again', () => (seen.length === 5 ? true : undefined), within);
    expect(seen).toEqual(['a', 'b', 'c', 'b', 'c']);
  });

  test('deletes a topic, and one of the same name starts empty', async () => {
    const client = cluster.client();
    await client.admin.createTopic('t', { queues: 1 });
    const { messageId } = await client.producer().send('t', { body: 'old' });
    await client.admin.deleteTopic('t');
    await expect(client.admin.describeTopic('t')).rejects.toMatchObject({
      code: 'TOPIC_NOT_FOUND',
    });
    await client.admin.createTopic('t', { queues: 1 });
    const { queues } = await client.admin.describeTopic('t');
    expect(queues[0]).toMatchObject({ beginOffset: 0, endOffset: 0 });
    await expect(client.admin.getMessage(messageId)).rejects.toMatchObject({
      code: 'MESSAGE_NOT_FOUND',
    });
    await expect(client.admin.updateTopic('t', { queues: 0 })).resolves.toHaveLength(1);
    await client.admin.updateTopic('t', { queues: 4 });
    await expect(client.admin.updateTopic('t', { queues: 2 })).rejects.toMatchObject({
      code: 'QUEUES_SHRINK',
    });
    await expect(client.admin.createTopic('t')).rejects.toMatchObject({ code: 'TOPIC_EXISTS' });
  });

  test('sees the broker under the names of RocketMQ', async () => {
    const client = cluster.client();
    await client.producer().send('t', { body: 'x' });
    await client.consumer('g', { from: 'first' }).subscribe('t').receive();
    const page = cluster.broker.registry.render();
    expect(page).toMatch(/rocketmq_messages_in_total\{.*topic="t".*\} 1/);
    expect(page).toMatch(/rocketmq_consumer_inflight_messages\{.*consumer_group="g".*\} 1/);
    expect(page).toMatch(/rocketmq_topic_number\{.*\} 1/);
    expect(page).toMatch(/rocketmq_storage_size\{.*\} \d+/);
  });
});

test('a message that waits for a retry outlives the shorter retention of its topic', async () => {
  await using cluster = await Cluster.start({ broker: { retentionInterval: '10s' } });
  const client = cluster.client();
  await client.admin.createTopic('short', { queues: 1, retentionMs: 60_000 });
  const producer = client.producer();
  const consumer = client.consumer('g', { from: 'first' }).subscribe('short');
  await producer.send('short', { body: 'again' });
  await producer.send('short', { body: 'never read' });
  const [message] = await consumer.receive({ max: 1 });
  await message?.retry(300_000);
  await cluster.pass(290_000);
  const { queues } = await client.admin.describeTopic('short');
  expect(queues[0]).toMatchObject({ beginOffset: 2, endOffset: 2 });
  await cluster.pass(15_000);
  const [again] = await consumer.receive();
  expect(again?.text()).toBe('again');
  expect(again?.attempt).toBe(2);
});
