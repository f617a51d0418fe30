import { isMqError, type PendingTransaction, type TransactionOutcome } from '@ternmq/sdk';
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

const within = { withinMs: 5000, everyMs: 5 };

/** Everything that a group gets now. */
async function received(topic = 't', group = 'g'): Promise<string[]> {
  const consumer = cluster.client().consumer(group, { from: 'first' }).subscribe(topic);
  const messages = await consumer.receive({ max: 256, waitMs: 0 });
  await Promise.all(messages.map((message) => message.ack()));
  return messages.map((message) => message.text());
}

/** Begins a transaction as a producer does that dies before it decides. */
async function abandoned(body: string, group = 'shop', firstCheckMs = 0): Promise<string> {
  const channel = new Channel(`127.0.0.1:${cluster.broker.port}`);
  const { transactionId } = await channel.unary(
    methods.send,
    {
      topic: 't',
      messages: [{ body: Buffer.from(body), keys: ['7'] }],
      transaction: { producerGroup: group, firstCheckMs },
    },
    { deadlineMs: 5000 },
  );
  channel.close();
  return transactionId;
}

describe('a transaction', () => {
  test('shows its messages when its work has returned, and not before', async () => {
    const producer = cluster.client().producer({ group: 'shop' });
    const seen = await producer.transaction(
      't',
      [{ body: 'a', tag: 'x', keys: ['k'], properties: { p: 'q' } }, { body: 'b' }],
      async ({ transactionId }) => {
        expect(await received()).toEqual([]);
        const [open] = await cluster.client().admin.listTransactions({ state: 'open' });
        expect(open).toMatchObject({
          transactionId,
          topic: 't',
          producerGroup: 'shop',
          messages: 2,
          state: 'open',
          checks: 0,
        });
        return 42;
      },
    );
    expect(seen).toBe(42);
    const [first, second] = await cluster
      .client()
      .consumer('g', { from: 'first' })
      .subscribe('t')
      .receive({ max: 2 });
    expect(first).toMatchObject({ tag: 'x', keys: ['k'], properties: { p: 'q' } });
    expect([first?.text(), second?.text()]).toEqual(['a', 'b']);
  });

  test('drops its messages when its work throws, and throws that on', async () => {
    const producer = cluster.client().producer({ group: 'shop' });
    const failing = producer.transaction('t', { body: 'x' }, () => {
      throw new Error('out of stock');
    });
    await expect(failing).rejects.toThrow('out of stock');
    expect(await received()).toEqual([]);
    const [ended] = await cluster.client().admin.listTransactions();
    expect(ended).toMatchObject({ state: 'rolled back', cause: 'out of stock' });
  });

  test('may be decided again alike, and is told truthfully when it was decided otherwise', async () => {
    const { admin } = cluster.client();
    const id = await abandoned('x');
    expect(await admin.endTransaction(id, 'commit')).toMatchObject({ state: 'committed' });
    expect(await admin.endTransaction(id, 'commit')).toMatchObject({ state: 'committed' });
    await expect(admin.endTransaction(id, 'rollback')).rejects.toMatchObject({
      code: 'TRANSACTION_ENDED',
    });
    expect(await received()).toEqual(['x']);
    expect(await received()).toEqual([]);
    const unknown = id.replace(/.$/, (digit) => (digit === '7' ? '8' : '7'));
    await expect(admin.endTransaction(unknown, 'commit')).rejects.toMatchObject({
      code: 'TRANSACTION_NOT_FOUND',
    });
    await expect(cluster.client().producer().recall(id)).rejects.toMatchObject({
      code: 'NOT_DELAYED',
    });
  });

  test('survives a restart, open or committed', async () => {
    const { admin } = cluster.client();
    const open = await abandoned('open');
    const done = await abandoned('done');
    await admin.endTransaction(done, 'commit');
    await cluster.restartBroker();
    expect(await received()).toEqual(['done']);
    await admin.endTransaction(open, 'commit');
    expect(await received()).toEqual(['open']);
  });

  test('needs a producer group, and refuses delays', async () => {
    const nobody = cluster.client().producer();
    await expect(nobody.transaction('t', { body: 'x' }, () => {})).rejects.toMatchObject({
      code: 'INVALID_OPTION',
    });
    const producer = cluster.client().producer({ group: 'shop' });
    const delayed = producer.transaction('t', { body: 'x', delay: 5 }, () => {});
    await expect(delayed).rejects.toMatchObject({ code: 'INVALID_OPTION' });
    await expect(abandoned('x', '../x')).rejects.toMatchObject({ code: 'INVALID_GROUP' });
    await expect(abandoned('x', 'shop', 5)).rejects.toMatchObject({ code: 'INVALID_TRANSACTION' });
  });

  test('goes to topics that take transactions, which take nothing else', async () => {
    const { admin } = cluster.client();
    const producer = cluster.client().producer({ group: 'shop' });
    await admin.createTopic('plain', { kind: 'normal' });
    await admin.createTopic('half', { kind: 'transaction' });
    const wrong: unknown = await producer
      .transaction('plain', { body: 'x' }, () => {})
      .catch((error) => error);
    expect(isMqError(wrong) && wrong.code).toBe('WRONG_MESSAGE_KIND');
    await producer.transaction('half', { body: 'x' }, () => {});
    await expect(producer.send('half', { body: 'x' })).rejects.toMatchObject({
      code: 'WRONG_MESSAGE_KIND',
    });
    expect(await received('half')).toEqual(['x']);
  });
});

describe('a transaction that nobody decides', () => {
  /** A producer of the group that answers as it is told. */
  function answering(outcomes: TransactionOutcome[]): PendingTransaction[] {
    const asked: PendingTransaction[] = [];
    cluster.client().producer({
      group: 'shop',
      checkTransaction(transaction) {
        asked.push(transaction);
        return outcomes.shift() ?? 'unknown';
      },
    });
    return asked;
  }

  async function watched(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, 100));
  }

  async function passedUntil(what: string, done: () => boolean, stepMs = 500): Promise<void> {
    await eventually(
      what,
      async () => {
        await cluster.pass(stepMs);
        return done() || undefined;
      },
      within,
    );
  }

  test('has a living producer of its group asked, first after 6 s, then more and more rarely', async () => {
    const asked = answering(['unknown', 'unknown', 'commit']);
    await watched();
    await abandoned('x');
    await cluster.pass(5500);
    expect(asked).toHaveLength(0);
    await passedUntil('the first question', () => asked.length === 1);
    expect(asked[0]).toMatchObject({ topic: 't', checks: 1 });
    expect(asked[0]?.messages[0]?.text()).toBe('x');
    expect(asked[0]?.messages[0]?.keys).toEqual(['7']);
    await cluster.pass(11_000);
    expect(asked).toHaveLength(1);
    await passedUntil('the second question', () => asked.length === 2);
    await cluster.pass(23_000);
    expect(asked).toHaveLength(2);
    await passedUntil('the third question', () => asked.length === 3);
    expect(await eventually('it is committed', async () => (await received())[0], within)).toBe(
      'x',
    );
    await cluster.pass(600_000);
    expect(asked).toHaveLength(3);
  });

  test('waits while no producer of its group lives: only questions count', async () => {
    await abandoned('x');
    await cluster.pass(600_000);
    const [open] = await cluster.client().admin.listTransactions();
    expect(open).toMatchObject({ state: 'open', checks: 0 });
    const asked = answering(['rollback']);
    await watched();
    await passedUntil('the question', () => asked.length === 1);
    await eventually(
      'it is rolled back',
      async () => {
        const [ended] = await cluster.client().admin.listTransactions();
        return ended?.state === 'rolled back' || undefined;
      },
      within,
    );
    expect(await received()).toEqual([]);
  });

  test('is rolled back and listed after 15 questions', async () => {
    const asked = answering([]);
    await watched();
    const id = await abandoned('x');
    await passedUntil('the last question', () => asked.length === 15, 60_000);
    await passedUntil('a while', () => true, 400_000);
    expect(asked).toHaveLength(15);
    const [ended] = await cluster.client().admin.listTransactions({ state: 'rolled back' });
    expect(ended).toMatchObject({ transactionId: id, checks: 15 });
    expect(ended?.cause).toMatch(/asked 15 times/);
    const late = cluster.client().admin.endTransaction(id, 'commit');
    await expect(late).rejects.toMatchObject({ code: 'TRANSACTION_ENDED' });
    expect(await received()).toEqual([]);
  });

  test('is rolled back after a day, asked or not, and forgotten a day later', async () => {
    const DAY_MS = 24 * 3_600_000;
    const { admin } = cluster.client();
    const id = await abandoned('x');
    cluster.clock.advance(DAY_MS - 2000);
    expect((await admin.listTransactions())[0]?.state).toBe('open');
    cluster.clock.advance(3000);
    expect((await admin.listTransactions())[0]?.state).toBe('rolled back');
    cluster.clock.advance(DAY_MS + 3000);
    expect(await admin.listTransactions()).toEqual([]);
    await expect(admin.endTransaction(id, 'rollback')).rejects.toMatchObject({
      code: 'TRANSACTION_NOT_FOUND',
    });
  });
});
