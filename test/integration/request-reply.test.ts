import { isMqError, type Producer } from '@ternmq/sdk';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Channel } from '../../sdk/typescript/src/transport/channel.ts';
import { broker as methods } from '../../sdk/typescript/src/transport/methods.ts';
import { Cluster } from '../support/cluster.ts';
import { eventually } from '../support/eventually.ts';

let cluster: Cluster;
let producer: Producer;
beforeEach(async () => {
  cluster = await Cluster.start();
  producer = cluster.client().producer();
  await cluster.client().admin.createTopic('t', { queues: 2 });
});
afterEach(() => cluster[Symbol.asyncDispose]());

const code = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'fine',
    (error: unknown) => isMqError(error) && error.code,
  );

/** The reply address of the next message. */
async function nextReplyTo(): Promise<string> {
  const consumer = cluster.client().consumer('g', { from: 'first' }).subscribe('t');
  const [message] = await consumer.receive({ max: 1, waitMs: 5000 });
  message?.ack();
  return message?.replyTo ?? '';
}

describe('a message that asks for an answer', () => {
  test('gets what its consumer says, each asker its own', async () => {
    const consumer = cluster.client().consumer('g', { from: 'first' }).subscribe('t');
    consumer.run(async (message) => {
      await producer.reply(message, {
        body: `${message.text()}!`,
        tag: 'answer',
        keys: ['k'],
        properties: { a: '1' },
      });
    });
    const replies = await Promise.all(
      Array.from({ length: 50 }, (_, i) =>
        producer.request('t', { body: `question ${i}`, keys: [`${i}`] }, { timeoutMs: 10_000 }),
      ),
    );
    expect(replies.map((reply) => reply.text())).toEqual(replies.map((_, i) => `question ${i}!`));
    expect(replies[0]).toMatchObject({ tag: 'answer', keys: ['k'], properties: { a: '1' } });
    const { messageId } = replies[7]?.receipt ?? {};
    const stored = await cluster.client().admin.getMessage(messageId ?? '');
    expect(stored.text()).toBe('question 7');
  });

  test('is told that nobody answered, stays stored, and a late answer is refused', async () => {
    const asked = producer.request('t', { body: 'anyone?' }, { timeoutMs: 2000 });
    const outcome = code(asked);
    const replyTo = await nextReplyTo();
    await cluster.pass(2100);
    expect(await outcome).toBe('REPLY_TIMEOUT');
    expect(await code(producer.reply(replyTo, { body: 'late' }))).toBe('REPLY_NOT_AWAITED');
  });

  test('takes the first answer alone', async () => {
    const asked = producer.request('t', { body: '?' }, { timeoutMs: 10_000 });
    const replyTo = await nextReplyTo();
    expect(replyTo).toMatch(/^broker-a\/[0-9a-f]{32}$/);
    await producer.reply(replyTo, { body: 'first' });
    expect(await code(producer.reply(replyTo, { body: 'second' }))).toBe('REPLY_NOT_AWAITED');
    expect((await asked).text()).toBe('first');
  });

  test('waits no more when its caller goes', async () => {
    const abort = new AbortController();
    const outcome = code(producer.request('t', { body: '?' }, { signal: abort.signal }));
    const replyTo = await nextReplyTo();
    abort.abort();
    expect(await outcome).toBe('ABORTED');
    await eventually(
      'the broker knows it',
      async () =>
        (await code(producer.reply(replyTo, { body: 'x' }))) === 'REPLY_NOT_AWAITED' || undefined,
      { withinMs: 5000, everyMs: 5 },
    );
  });

  test('is told when its broker stops meanwhile', async () => {
    const outcome = code(producer.request('t', { body: '?' }, { timeoutMs: 60_000 }));
    await nextReplyTo();
    await cluster.restartBroker();
    expect(await outcome).not.toBe('fine');
  });

  test('is refused with a delay, and an answer with what no message may have', async () => {
    expect(await code(producer.request('t', { body: 'x', delay: 10 }))).toBe('INVALID_OPTION');
    expect(await code(producer.request('t', { body: 'x' }, { timeoutMs: 600_001 }))).toBe(
      'INVALID_OPTION',
    );
    expect(await code(producer.request('t', { body: '' }))).toBe('BODY_EMPTY');
    expect(await code(producer.reply('', { body: 'x' }))).toBe('NO_REPLY_WANTED');
    expect(await code(producer.reply('elsewhere/1', { body: 'x' }))).toBe('NO_BROKER');
    const channel = new Channel(cluster.broker.address);
    try {
      const ask = (message: object, timeoutMs = 0): Promise<unknown> =>
        code(
          channel.unary(
            methods.requestReply,
            { topic: 't', message, timeoutMs },
            { deadlineMs: 5000 },
          ),
        );
      const body = Buffer.from('x');
      expect(await ask({ body, replyTo: 'mine' })).toBe('INVALID_FIELD');
      expect(await ask({ body, delayMs: 1n })).toBe('INVALID_FIELD');
      expect(await ask({ body }, 600_001)).toBe('INVALID_FIELD');
      expect(await ask({ body: Buffer.alloc(0) })).toBe('BODY_EMPTY');
      const answer = channel.unary(methods.reply, { replyTo: 'x' }, { deadlineMs: 5000 });
      expect(await code(answer)).toBe('INVALID_FIELD');
      const bad = { replyTo: 'x', reply: { body, tag: 'a|b' } };
      expect(await code(channel.unary(methods.reply, bad, { deadlineMs: 5000 }))).toBe(
        'INVALID_TAG',
      );
    } finally {
      channel.close();
    }
  });
});
