import type { OutgoingMessage, Producer } from '@ternmq/sdk';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Channel } from '../../sdk/typescript/src/transport/channel.ts';
import { broker as methods } from '../../sdk/typescript/src/transport/methods.ts';
import { addressFrame, encodeFrame } from '../../sdk/typescript/src/wire/frame.ts';
import { type Outcome, readOutcomes } from '../../sdk/typescript/src/wire/outcomes.ts';
import { Cluster } from '../support/cluster.ts';

const WINDOW_MS = 60_000;

let cluster: Cluster;
let producer: Producer;
beforeEach(async () => {
  cluster = await Cluster.start();
  const client = cluster.client();
  await client.admin.createTopic('t', { queues: 3, deduplicationWindowMs: WINDOW_MS });
  producer = client.producer({ group: 'p', checkTransaction: () => 'unknown' });
});
afterEach(() => cluster[Symbol.asyncDispose]());

const send = (body: string, ...keys: string[]) => producer.send('t', { body, keys });

/** The bodies of all messages of a topic, the oldest first. */
async function stored(topic = 't'): Promise<string[]> {
  const found = await cluster.client().admin.findMessages({ topic, max: 1000 });
  return found.map((message) => message.text()).reverse();
}

describe('a topic that drops repeats', () => {
  test('stores the first message of a key, and gives its receipt to who sends it again', async () => {
    const first = await send('1', 'order-7');
    expect(first.duplicate).toBe(false);
    for (let i = 0; i < 5; i++) {
      expect(await send('again', 'order-7')).toEqual({ ...first, duplicate: true });
    }
    await send('2', 'order-8');
    expect(await stored()).toEqual(['1', '2']);
  });

  test('goes by the first key alone, and stores what has none', async () => {
    await send('1', 'a', 'b');
    expect((await send('2', 'b', 'a')).duplicate).toBe(false);
    expect((await send('3', 'a', 'c')).duplicate).toBe(true);
    await send('4');
    await send('4');
    expect(await stored()).toEqual(['1', '2', '4', '4']);
  });

  test('forgets a key when its window is over, and begins it anew', async () => {
    await send('1', 'k');
    cluster.clock.advance(WINDOW_MS - 1);
    expect((await send('no', 'k')).duplicate).toBe(true);
    cluster.clock.advance(1);
    const second = await send('2', 'k');
    expect(second.duplicate).toBe(false);
    cluster.clock.advance(WINDOW_MS - 1);
    expect(await send('no', 'k')).toEqual({ ...second, duplicate: true });
    expect(await stored()).toEqual(['1', '2']);
  });

  test('knows repeats after a restart, also of messages that were just sent', async () => {
    const receipts = await Promise.all(
      Array.from({ length: 500 }, (_, i) => send(`${i}`, `key-${i}`)),
    );
    await cluster.restartBroker();
    const again = await Promise.all(
      Array.from({ length: 500 }, (_, i) => send(`${i}`, `key-${i}`)),
    );
    expect(again).toEqual(receipts.map((receipt) => ({ ...receipt, duplicate: true })));
    expect(await stored()).toHaveLength(500);
  });

  test('finds the repeats within one batch', async () => {
    const messages = ['a', 'b', 'a', '', 'b', 'c', ''].map(
      (key, i): OutgoingMessage => ({
        body: `${i}`,
        ...(key === '' ? {} : { keys: [key] }),
        orderingKey: 'one queue',
      }),
    );
    const receipts = await Promise.all(messages.map((message) => producer.send('t', message)));
    expect(receipts.map(({ offset, duplicate }) => [offset, duplicate])).toEqual([
      [0, false],
      [1, false],
      [0, true],
      [2, false],
      [1, true],
      [3, false],
      [4, false],
    ]);
  });

  test('refuses messages that it cannot hold against others', async () => {
    await expect(producer.send('t', { body: 'x', delay: 1000 })).rejects.toMatchObject({
      code: 'WRONG_MESSAGE_KIND',
    });
    await expect(producer.transaction('t', { body: 'x' }, () => {})).rejects.toMatchObject({
      code: 'WRONG_MESSAGE_KIND',
    });
  });
});

test('the window can be switched on and off, and is a day at most', async () => {
  const { admin } = cluster.client();
  await admin.createTopic('u');
  const to = (deduplicationWindowMs: number) => admin.updateTopic('u', { deduplicationWindowMs });
  const duplicate = async (): Promise<boolean> =>
    (await producer.send('u', { body: 'x', keys: ['k'] })).duplicate;
  expect([await duplicate(), await duplicate()]).toEqual([false, false]);
  cluster.clock.advance(1);
  await to(1000);
  // What was stored before is not noted.
  expect([await duplicate(), await duplicate()]).toEqual([false, true]);
  await admin.updateTopic('u', { retentionMs: 3_600_000 });
  const { topics } = await admin.describeTopic('u');
  expect(topics[0]?.settings.deduplicationWindowMs).toBe(1000);
  await to(0);
  expect(await duplicate()).toBe(false);
  await expect(to(86_400_001)).rejects.toMatchObject({ code: 'INVALID_FIELD' });
});

describe('a frame with repeats', () => {
  function frame(keys: readonly string[], sequence: number, frameId: number): Buffer {
    const messages = keys.map((key) => ({ body: 'x', keys: [key] }));
    const encoded = encodeFrame('t', messages, 1);
    addressFrame(encoded, 1, 77, sequence, frameId);
    return encoded.bytes;
  }

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
    for (const one of frames) stream.write(one);
    await done.promise;
    stream.end();
    channel.close();
    return outcomes;
  }

  test('that is sent again is answered as the first time, also after a restart and when the window is over', async () => {
    const channel = new Channel(cluster.broker.address);
    const { receipts } = await channel.unary(
      methods.send,
      { topic: 't', queueId: 2, messages: [{ body: Buffer.from('x'), keys: ['known'] }] },
      { deadlineMs: 5000 },
    );
    expect(receipts[0]).toMatchObject({ queueId: 2, duplicate: false });
    channel.close();
    const frames = (id: number): Buffer[] => [
      frame(['a', 'known', 'a', 'b'], 0, id),
      frame(['known', 'known'], 4, id + 1),
      frame(['c'], 6, id + 2),
    ];
    const first = await produce(frames(1));
    expect(first.map(({ reason }) => reason)).toEqual(['', '', '']);
    expect(first[0]?.parts).toEqual([
      { firstIndex: 0, offset: 0, queueId: undefined, duplicate: false },
      { firstIndex: 1, offset: 0, queueId: 2, duplicate: true },
      { firstIndex: 2, offset: 0, queueId: undefined, duplicate: true },
      { firstIndex: 3, offset: 1, queueId: undefined, duplicate: false },
    ]);
    expect(first[2]).toMatchObject({ baseOffset: 2, parts: undefined });
    const placesOf = (outcomes: readonly Outcome[]) =>
      outcomes.map(({ frameId: _, ...rest }) => rest);
    expect(placesOf(await produce(frames(11)))).toEqual(placesOf(first));
    await cluster.restartBroker({ pauseMs: 2 * WINDOW_MS });
    expect(placesOf(await produce(frames(21)))).toEqual(placesOf(first));
    expect(await stored()).toHaveLength(4);
    const [next] = await produce([frame(['d'], 7, 31)]);
    expect(next).toMatchObject({ reason: '', baseOffset: 3 });
  });
});
