import { gunzipSync } from 'node:zlib';
import { type Compression, isMqError } from '@ternmq/sdk';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Channel } from '../../sdk/typescript/src/transport/channel.ts';
import { broker as methods } from '../../sdk/typescript/src/transport/methods.ts';
import { Cluster } from '../support/cluster.ts';

const LONG = 'the same again and again. '.repeat(1000);

let cluster: Cluster;
beforeEach(async () => {
  cluster = await Cluster.start();
  await cluster.client().admin.createTopic('t', { queues: 1 });
});
afterEach(() => cluster[Symbol.asyncDispose]());

/** The message as the broker keeps it. */
async function stored(messageId: string) {
  const channel = new Channel(cluster.broker.address);
  try {
    const { message } = await channel.unary(
      methods.getMessage,
      { messageId },
      { deadlineMs: 5000 },
    );
    return message?.message;
  } finally {
    channel.close();
  }
}

describe('a compressed body', () => {
  test.each<Compression>(['gzip', 'zstd'])(
    'by %s is smaller where it rests, and read as it was sent',
    async (compression) => {
      const client = cluster.client();
      const producer = client.producer({ compression });
      const { messageId } = await producer.send('t', { body: LONG, keys: ['k'], tag: 'x' });
      const kept = await stored(messageId);
      expect(kept?.bodyEncoding).toBe(compression === 'gzip' ? 1 : 2);
      expect(kept?.body.length).toBeLessThan(LONG.length / 20);
      const consumer = client.consumer('g', { from: 'first' }).subscribe('t');
      const [message] = await consumer.receive();
      expect(message?.text()).toBe(LONG);
      expect(message?.keys).toEqual(['k']);
      message?.ack();
      expect((await client.admin.getMessage(messageId)).text()).toBe(LONG);
    },
  );

  test('stays as it is when it is short, or would become longer', async () => {
    const producer = cluster.client().producer({ compression: 'gzip' });
    const short = await producer.send('t', { body: 'x'.repeat(4095) });
    const bytes = Buffer.from(Array.from({ length: 5000 }, () => Math.floor(Math.random() * 256)));
    const random = await producer.send('t', { body: bytes });
    for (const [receipt, body] of [
      [short, Buffer.from('x'.repeat(4095))],
      [random, bytes],
    ] as const) {
      const kept = await stored(receipt.messageId);
      expect(kept?.bodyEncoding).toBe(0);
      expect(Buffer.from(kept?.body ?? [])).toEqual(body);
    }
    const eager = cluster.client().producer({ compression: 'gzip', compressionBytesMin: 100 });
    const { messageId } = await eager.send('t', { body: 'x'.repeat(100) });
    expect(gunzipSync((await stored(messageId))?.body ?? '').toString()).toBe('x'.repeat(100));
  });

  test('is also that of transactions, requests and answers', async () => {
    const client = cluster.client();
    const producer = client.producer({
      compression: 'gzip',
      group: 'p',
      checkTransaction: () => 'unknown',
    });
    await producer.transaction('t', { body: LONG }, () => {});
    const consumer = client.consumer('g', { from: 'first' }).subscribe('t');
    const seen: string[] = [];
    consumer.run(async (message) => {
      seen.push(message.text());
      if (message.replyTo !== '') await producer.reply(message, { body: message.body });
    });
    const answer = await producer.request('t', { body: LONG }, { timeoutMs: 10_000 });
    expect(answer.text()).toBe(LONG);
    expect(seen).toEqual([LONG, LONG]);
  });

  test('that is no such thing, or too large, is told to who reads it', async () => {
    const channel = new Channel(cluster.broker.address);
    const { gzipSync } = await import('node:zlib');
    const body = gzipSync(Buffer.alloc((4 << 20) + 1));
    const send = (message: object) =>
      channel.unary(methods.send, { topic: 't', messages: [message] }, { deadlineMs: 5000 });
    try {
      await send({ body: Buffer.from('no gzip'), bodyEncoding: 1 });
      await send({ body, bodyEncoding: 1 });
      await expect(send({ body, bodyEncoding: 3 })).rejects.toMatchObject({
        code: 'INVALID_BODY_ENCODING',
      });
    } finally {
      channel.close();
    }
    const consumer = cluster.client().consumer('g', { from: 'first' }).subscribe('t');
    const messages = await consumer.receive({ max: 2 });
    expect(messages).toHaveLength(2);
    for (const message of messages) {
      expect(() => message.body).toThrow(expect.objectContaining({ code: 'BODY_DAMAGED' }));
      message.ack();
    }
  });

  test('by something that there is not is refused when the producer is made', () => {
    const make = () => cluster.client().producer({ compression: 'lz4' as Compression });
    let error: unknown;
    try {
      make();
    } catch (thrown) {
      error = thrown;
    }
    expect(isMqError(error, 'INVALID_OPTION')).toBe(true);
  });
});
