import { afterEach, beforeEach, expect, test } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { BrokerGroup } from '../support/group.ts';

const MESSAGES = 120;
const BODY = 'x'.repeat(10_000);

let group: BrokerGroup;

beforeEach(async () => {
  group = await BrokerGroup.create({ pullFromSlaveBytes: '256KiB' });
  await group.start(0);
  await group.start(1);
  await group.ready();
  await group.inSync([0, 1]);
});
afterEach(async () => {
  await group[Symbol.asyncDispose]();
  expect(group.fatal).toBeUndefined();
});

/** Messages that a member has handed out of a topic. */
function given(id: number): number {
  return group.broker(id).roles.replica?.state.topics.find('orders')?.messagesOut ?? 0;
}

async function sendAll(): Promise<void> {
  const client = group.client();
  await client.admin.createTopic('orders', { queues: 1 });
  await using producer = client.producer();
  await Promise.all(
    Array.from({ length: MESSAGES }, (_, i) => producer.send('orders', { body: `${i} ${BODY}` })),
  );
  const end = group.broker(0).roles.replica?.log.visible ?? 0;
  await eventually(
    'the slave shows everything',
    () => ((group.broker(1).roles.replica?.log.visible ?? 0) >= end ? true : undefined),
    { withinMs: 5000, everyMs: 5 },
  );
}

const offsets = Array.from({ length: MESSAGES }, (_, i) => i);

test('a reader that is far behind reads from a slave, and at its master again when it has caught up', async () => {
  await sendAll();
  await using consumer = group.client().pullConsumer();
  await consumer.assignTopic('orders');
  const read: number[] = [];
  while (read.length < MESSAGES) {
    for (const { offset } of await consumer.poll({ max: 10 })) read.push(offset);
  }
  expect(read).toEqual(offsets);
  expect(given(1)).toBeGreaterThan(50);
  const before = given(1);
  expect(given(0)).toBe(MESSAGES - before);
  expect(given(0)).toBeGreaterThan(10);
  await using producer = group.client().producer();
  await producer.send('orders', { body: 'newest' });
  expect(await consumer.poll()).toHaveLength(1);
  expect(given(1)).toBe(before);
});

test('a reader goes on at the master when the slave that it reads from is lost, and commits there', async () => {
  await sendAll();
  await using consumer = group.client().pullConsumer();
  await consumer.assignTopic('orders');
  const read: number[] = [];
  for (let polls = 0; read.length < MESSAGES; polls++) {
    if (polls === 4) {
      expect(given(1)).toBeGreaterThan(0);
      await group.stop(1);
    }
    for (const { offset } of await consumer.poll({ max: 10 })) read.push(offset);
    if (polls === 2) await consumer.commit('g');
  }
  expect(read).toEqual(offsets);
});
