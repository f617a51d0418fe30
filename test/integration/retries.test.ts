import { BrokerService } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { type DeadLetter, type ReceivedMessage, Reject, RetryAfter } from '@ternmq/sdk';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { BrokerClient } from '../support/broker-client.ts';
import { Cluster } from '../support/cluster.ts';
import { eventually } from '../support/eventually.ts';

let cluster: Cluster;
beforeEach(async () => {
  cluster = await Cluster.start();
});
afterEach(() => cluster[Symbol.asyncDispose]());

const within = { withinMs: 8000, everyMs: 5 };
const texts = (messages: readonly { text(): string }[]): string[] => messages.map((m) => m.text());

/** Waits until the sums over a group's progress in a topic are so. */
async function settled(
  group: string,
  topic: string,
  wanted: Partial<Record<'waitingForRetry' | 'lag' | 'inFlight', number>>,
): Promise<void> {
  const { admin } = cluster.client();
  await eventually(
    `progress ${JSON.stringify(wanted)}`,
    async () => {
      const queues = await admin.getOffset(group, topic);
      const fits = Object.entries(wanted).every(
        ([name, value]) => queues.reduce((sum, queue) => sum + queue[name as 'lag'], 0) === value,
      );
      return fits ? true : undefined;
    },
    within,
  );
}

async function collected(list: readonly unknown[], count: number): Promise<void> {
  await eventually(`${count}`, () => (list.length >= count ? true : undefined), within);
}

/** Sends messages to queue 0 of `t`, and has group `g` give up those that a test says. */
async function dead(bodies: readonly string[], gives = (_: string): boolean => true) {
  const client = cluster.client();
  const queue = { broker: 'broker-a', queueId: 0 };
  const { admin } = client;
  if ((await admin.listTopics()).every(({ name }) => name !== 't')) {
    await admin.createTopic('t', { queues: 2 });
  }
  const before = (await admin.listDeadLetters({ group: 'g', max: 5000 }).catch(() => [])).length;
  const outcomes = await client.producer().sendBatch(
    't',
    bodies.map((body) => ({ body, queue, keys: [`key-${body}`] })),
  );
  const consumer = client.consumer('g', { from: 'first' }).subscribe('t');
  const run = consumer.run((message) => {
    if (gives(message.text())) throw new Reject(`cannot read ${message.text()}`);
  });
  await settled('g', 't', { lag: 0 });
  await run.close();
  const expected = before + bodies.filter(gives).length;
  await eventually(
    'the dead letters',
    async () => {
      const letters = await admin.listDeadLetters({ group: 'g', max: 5000, order: 'oldest' });
      return letters.length >= expected ? true : undefined;
    },
    within,
  );
  return outcomes.map((one) => (one.status === 'stored' ? one.receipt : undefined));
}

/** What a new group finds in a topic. */
async function contentOf(topic: string): Promise<ReceivedMessage[]> {
  const pull = cluster.client().pullConsumer();
  await pull.assignTopic(topic, 'first');
  const found: ReceivedMessage[] = [];
  for (;;) {
    const batch = await pull.poll({ waitMs: 0, max: 4096 });
    if (batch.length === 0) return found;
    found.push(...batch);
  }
}

describe('pauses between deliveries', () => {
  test("grow by the group's factor up to its longest, and so do attempt numbers", async () => {
    const client = cluster.client();
    const retryBackoff = { initialMs: 1000, multiplier: 2, maxMs: 3000 };
    await client.admin.createGroup('g', { retryBackoff, attemptsMax: 5 });
    await client.producer().send('t', { body: 'x' });
    const seen: { attempt: number; ms: number }[] = [];
    const startMs = cluster.clock.nowMs();
    client
      .consumer('g', { from: 'first' })
      .subscribe('t')
      .run((message) => {
        seen.push({ attempt: message.attempt, ms: cluster.clock.nowMs() - startMs });
        throw new Error('not now');
      });
    const pauses = [1000, 2000, 3000, 3000];
    for (const [index, pauseMs] of pauses.entries()) {
      await collected(seen, index + 1);
      await settled('g', 't', { waitingForRetry: 1 });
      await cluster.pass(pauseMs - 200);
      expect(seen).toHaveLength(index + 1);
      await cluster.pass(200);
    }
    await collected(seen, 5);
    expect(seen.map(({ attempt }) => attempt)).toEqual([1, 2, 3, 4, 5]);
    await settled('g', 't', { lag: 0 });
    const [letter] = await eventually(
      'the dead letter',
      async () => {
        const letters = await client.admin.listDeadLetters({ group: 'g' });
        return letters.length > 0 ? letters : undefined;
      },
      within,
    );
    expect(letter?.origin).toMatchObject({ attempts: 5, reason: 'it failed 5 times' });
  });

  test('are a list or grow, one in the place of the other, and never both', async () => {
    const { admin } = cluster.client();
    const settings = async () => (await admin.describeGroup('g')).groups[0]?.settings;
    await admin.createGroup('g', { retryDelaysMs: [100], attemptsMax: 7 });
    await admin.updateGroup('g', { retryBackoff: { initialMs: 500 } });
    const growing = {
      attemptsMax: 7,
      retryDelaysMs: [],
      retryBackoff: { initialMs: 500, multiplier: 0, maxMs: 0 },
    };
    expect(await settings()).toMatchObject(growing);
    await admin.updateGroup('g', { leaseMs: 5000 });
    await cluster.restartBroker();
    expect(await settings()).toMatchObject({ ...growing, leaseMs: 5000 });
    await admin.updateGroup('g', { retryDelaysMs: [200] });
    expect(await settings()).toMatchObject({ retryDelaysMs: [200], retryBackoff: undefined });
    const both = { retryDelaysMs: [1], retryBackoff: { initialMs: 1 } };
    await expect(admin.updateGroup('g', both)).rejects.toMatchObject({
      code: 'INVALID_GROUP_SETTINGS',
      message: expect.stringContaining('exclude each other'),
    });
    await expect(admin.createGroup('h', both)).rejects.toMatchObject({
      code: 'INVALID_GROUP_SETTINGS',
    });
  });

  test('are whatever a handler asks for, at once included; what no broker takes is an error of the handler', async () => {
    const failures: unknown[] = [];
    const client = cluster.client({
      onEvent: (event) => {
        if (event.type === 'handlerFailed') failures.push(event.error);
      },
    });
    await client.admin.createGroup('g', { retryDelaysMs: [3_600_000] });
    await client.producer().send('t', { body: 'x' });
    const attempts: number[] = [];
    client
      .consumer('g', { from: 'first' })
      .subscribe('t')
      .run(({ attempt }) => {
        attempts.push(attempt);
        if (attempt === 1) throw new RetryAfter(0);
        if (attempt === 2) throw new RetryAfter(41 * 24 * 3_600_000);
      });
    await collected(attempts, 1);
    await settled('g', 't', { waitingForRetry: 1 });
    await cluster.pass(200);
    await collected(attempts, 2);
    await collected(failures, 1);
    expect(String(failures[0])).toMatch(/not within 0 and 40 days/);
    await settled('g', 't', { waitingForRetry: 1 });
  });
});

test('poison messages never hold up the others, and end as dead letters', async () => {
  const client = cluster.client();
  await client.admin.createTopic('t', { queues: 1 });
  await client.admin.createGroup('g', { retryDelaysMs: [100], attemptsMax: 3 });
  const bodies = Array.from({ length: 400 }, (_, i) => (i % 4 === 0 ? `poison ${i}` : `${i}`));
  await client.producer().sendBatch(
    't',
    bodies.map((body) => ({ body })),
  );
  const done: string[] = [];
  // Fewer may be ahead than there are poison messages: who holds one cannot hold up the rest.
  client
    .consumer('g', { from: 'first', concurrency: 2, prefetch: { messages: 8 } })
    .subscribe('t')
    .run((message) => {
      if (message.text().startsWith('poison')) throw new Error('never');
      done.push(message.text());
    });
  await collected(done, 300);
  await settled('g', 't', { waitingForRetry: 100, lag: 100 });
  for (let round = 0; round < 2; round++) {
    await cluster.pass(200);
    await settled('g', 't', { inFlight: 0 });
  }
  await eventually(
    'the dead letters',
    async () => {
      await cluster.pass(200);
      const letters = await client.admin.listDeadLetters({ group: 'g', max: 1000 });
      return letters.length === 100 ? true : undefined;
    },
    within,
  );
  expect(new Set(done).size).toBe(300);
  const expected = bodies.filter((body) => body.startsWith('poison'));
  expect(texts(await contentOf('%DLQ%g')).sort()).toEqual(expected.sort());
  await settled('g', 't', { lag: 0 });
});

describe('dead letters', () => {
  test('tell where they come from and why, to consumers, operators and who asks for the message', async () => {
    const [receipt] = await dead(['a']);
    const { admin } = cluster.client();
    const [letter] = await admin.listDeadLetters({ group: 'g' });
    const origin = {
      topic: 't',
      queueId: 0,
      offset: 0,
      messageId: receipt?.messageId,
      group: 'g',
      attempts: 1,
      reason: 'cannot read a',
    };
    expect(letter).toMatchObject({ origin, keys: ['key-a'], bodyBytes: 1, resent: false });
    expect(letter?.deadMs).toBe(cluster.clock.nowMs());
    const consumer = cluster.client().consumer('undertaker', { from: 'first' });
    const [consumed] = await consumer.subscribe('%DLQ%g').receive();
    expect(consumed?.origin).toEqual(origin);
    expect(consumed?.messageId).toBe(letter?.messageId);
    const asked = await admin.getMessage(letter?.messageId ?? '');
    expect(asked.origin).toEqual(origin);
    expect((await admin.getMessage(asked.origin?.messageId ?? '')).text()).toBe('a');
  });

  test('are listed page by page, the newest or the oldest first', async () => {
    await dead(['a', 'b', 'c', 'd', 'e']);
    const { admin } = cluster.client();
    const keys = (letters: readonly DeadLetter[]) => letters.map((letter) => letter.keys[0]);
    expect(keys(await admin.listDeadLetters({ group: 'g', max: 2 }))).toHaveLength(2);
    const oldest = keys(await admin.listDeadLetters({ group: 'g', order: 'oldest' }));
    expect(oldest.toSorted()).toEqual(['key-a', 'key-b', 'key-c', 'key-d', 'key-e']);
    using raw = new BrokerClient(cluster.broker.address);
    const list = BrokerService.method.listDeadLetters;
    for (const newestFirst of [false, true]) {
      const found: string[] = [];
      let pageToken = '';
      do {
        const page = await raw.call(list, { group: 'g', pageSize: 2, pageToken, newestFirst });
        found.push(...page.deadLetters.map((letter) => letter.keys[0] ?? ''));
        pageToken = page.nextPageToken;
      } while (pageToken !== '');
      expect(found).toEqual(newestFirst ? oldest.toReversed() : oldest);
    }
    await expect(raw.call(list, { group: 'g', pageSize: 2, pageToken: 'x' })).rejects.toMatchObject(
      { details: expect.stringContaining('page_token') },
    );
  });

  test('are nowhere for a group that never had one, and an unknown group is said to be so', async () => {
    const { admin } = cluster.client();
    await admin.createGroup('g');
    expect(await admin.listDeadLetters({ group: 'g' })).toEqual([]);
    expect(await admin.resendDeadLetters({ group: 'g' })).toEqual({
      resent: 0,
      before: 0,
      refused: 0,
    });
    for (const call of [
      admin.listDeadLetters({ group: 'h' }),
      admin.resendDeadLetters({ group: 'h' }),
      admin.resendDeadLetters({ group: 'h', max: 1 }),
    ]) {
      await expect(call).rejects.toMatchObject({ code: 'GROUP_NOT_FOUND' });
    }
  });
});

describe('sending dead letters again', () => {
  test('brings one back to its queue once, whatever is repeated, also after a restart', async () => {
    await dead(['a', 'b'], (body) => body === 'a');
    const { admin } = cluster.client();
    const [letter] = await admin.listDeadLetters({ group: 'g' });
    const ids = [letter?.messageId ?? ''];
    const told: DeadLetter[] = [];
    const resend = { group: 'g', ids, onLetter: (one: DeadLetter) => void told.push(one) };
    expect(await admin.resendDeadLetters({ ...resend, dryRun: true })).toEqual({
      resent: 1,
      before: 0,
      refused: 0,
    });
    expect(texts(await contentOf('t'))).toEqual(['a', 'b']);
    expect(await admin.resendDeadLetters(resend)).toEqual({ resent: 1, before: 0, refused: 0 });
    const resent = told.at(-1)?.resentMessageId ?? '';
    for (let round = 0; round < 2; round++) {
      expect(await admin.resendDeadLetters(resend)).toEqual({ resent: 0, before: 1, refused: 0 });
      expect(await admin.resendDeadLetters({ group: 'g' })).toMatchObject({ resent: 0 });
      expect((await admin.listDeadLetters({ group: 'g' }))[0]).toMatchObject({ resent: true });
      if (round === 0) await cluster.restartBroker();
    }
    const found = await contentOf('t');
    expect(texts(found)).toEqual(['a', 'b', 'a']);
    expect(found[2]).toMatchObject({ queueId: 0, messageId: resent, keys: ['key-a'] });
    expect(found[2]?.origin).toMatchObject({
      topic: '%DLQ%g',
      messageId: letter?.messageId,
      group: 'g',
      reason: 'sent again',
    });
    const consumer = cluster.client().consumer('g').subscribe('t');
    expect(texts(await consumer.receive())).toEqual(['a']);
  });

  test('takes the oldest or the newest of those that were not sent again, as many as wanted', async () => {
    await dead(['a', 'b', 'c', 'd', 'e', 'f']);
    const { admin } = cluster.client();
    const order = (await contentOf('%DLQ%g')).map((message) => message.text());
    const resend = async (choice: { max: number; order?: 'newest' }): Promise<string[]> => {
      const before = (await contentOf('t')).length;
      await admin.resendDeadLetters({ group: 'g', ...choice });
      return texts((await contentOf('t')).slice(before));
    };
    expect(await resend({ max: 2 })).toEqual(order.slice(0, 2));
    expect(await resend({ max: 2 })).toEqual(order.slice(2, 4));
    expect(await resend({ max: 1, order: 'newest' })).toEqual(order.slice(5));
    expect(await resend({ max: 100 })).toEqual(order.slice(4, 5));
    expect(await resend({ max: 100 })).toEqual([]);
    await expect(admin.resendDeadLetters({ group: 'g', max: 0 })).rejects.toMatchObject({
      code: 'INVALID_OPTION',
    });
  });

  test('sends very many once each, also when two do it at the same time', async () => {
    const bodies = Array.from({ length: 2300 }, (_, i) => `m${i}`);
    await dead(bodies);
    const seen = [0, 0];
    const results = await Promise.all(
      seen.map((_, index) =>
        cluster.client().admin.resendDeadLetters({
          group: 'g',
          order: index === 0 ? 'oldest' : 'newest',
          onLetter: () => {
            seen[index] = (seen[index] ?? 0) + 1;
          },
        }),
      ),
    );
    expect(results.reduce((sum, { resent }) => sum + resent, 0)).toBe(2300);
    expect(seen.every((count) => count > 0)).toBe(true);
    const all = texts(await contentOf('t'));
    expect(all.slice(2300).sort()).toEqual(bodies.toSorted());
  });

  test('does not go round with those that fail again meanwhile', async () => {
    const bodies = Array.from({ length: 50 }, (_, i) => `m${i}`);
    await dead(bodies);
    const run = cluster
      .client()
      .consumer('g')
      .subscribe('t')
      .run(() => {
        throw new Reject('again');
      });
    using raw = new BrokerClient(cluster.broker.address);
    let pageToken = '';
    let resent = 0;
    do {
      const request = { group: 'g', messagesMax: 10, pageToken };
      const page = await raw.call(BrokerService.method.resendDeadLetters, request);
      resent += page.deadLetters.length;
      pageToken = page.nextPageToken;
      expect(page.left).toBe(BigInt(50 - resent));
      const letters = 50 + resent;
      await eventually(
        'those fail again',
        async () => {
          const { queues } = await cluster.client().admin.describeTopic('%DLQ%g');
          return queues[0]?.endOffset === letters ? true : undefined;
        },
        within,
      );
    } while (pageToken !== '');
    expect(resent).toBe(50);
    await run.close();
    expect(await cluster.client().admin.resendDeadLetters({ group: 'g' })).toMatchObject({
      resent: 50,
    });
  });

  test('tells of those that it cannot send, and sends the others', async () => {
    await dead(['a', 'b']);
    const { admin } = cluster.client();
    const [letter] = await admin.listDeadLetters({ group: 'g' });
    const { messageId } = await cluster.client().producer().send('other', { body: 'x' });
    const told: (string | undefined)[] = [];
    const ids = [letter?.messageId ?? '', messageId, `${letter?.messageId.slice(0, -4)}0099`];
    const onLetter = ({ refusal }: DeadLetter) => void told.push(refusal);
    expect(await admin.resendDeadLetters({ group: 'g', ids, onLetter })).toEqual({
      resent: 1,
      before: 0,
      refused: 2,
    });
    expect(told).toEqual([undefined, 'MESSAGE_NOT_FOUND', 'MESSAGE_NOT_FOUND']);
    await expect(admin.resendDeadLetters({ group: 'g', ids: ['x'] })).rejects.toMatchObject({
      code: 'INVALID_MESSAGE_ID',
    });
    await admin.deleteTopic('t');
    expect(await admin.resendDeadLetters({ group: 'g', onLetter })).toEqual({
      resent: 0,
      before: 0,
      refused: 1,
    });
    expect(told.at(-1)).toBe('TOPIC_NOT_FOUND');
    // A topic of that name takes it again, with fewer queues as well.
    await admin.createTopic('t', { queues: 1 });
    expect(await admin.resendDeadLetters({ group: 'g' })).toMatchObject({ resent: 1 });
    expect(await contentOf('t')).toHaveLength(1);
  });

  test('of who consumed dead letters brings them back among those, as messages and not as letters', async () => {
    await dead(['a']);
    const { admin } = cluster.client();
    const run = cluster
      .client()
      .consumer('undertaker', { from: 'first' })
      .subscribe('%DLQ%g')
      .run(() => {
        throw new Reject('not today');
      });
    await eventually(
      'the letter of a letter',
      async () => {
        const letters = await admin.listDeadLetters({ group: 'undertaker' }).catch(() => []);
        return letters.length === 1 ? true : undefined;
      },
      within,
    );
    await run.close();
    expect(await admin.resendDeadLetters({ group: 'undertaker' })).toMatchObject({ resent: 1 });
    expect(await contentOf('%DLQ%g')).toHaveLength(2);
    expect(await admin.listDeadLetters({ group: 'g' })).toHaveLength(1);
    expect(await admin.resendDeadLetters({ group: 'g' })).toMatchObject({ resent: 1 });
    expect(texts(await contentOf('t'))).toEqual(['a', 'a']);
  });
});
