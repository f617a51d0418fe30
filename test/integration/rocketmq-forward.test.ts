// Several broker groups behind one access point: any broker answers for any other.

import { FilterType, type Message } from '@ternmq/proto/gen/apache/rocketmq/v2/definition_pb';
import { MessagingService } from '@ternmq/proto/gen/apache/rocketmq/v2/service_pb';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { BrokerClient } from '../support/broker-client.ts';
import { eventually } from '../support/eventually.ts';
import { BrokerGroup } from '../support/group.ts';
import { codeName, RocketmqClient } from '../support/rocketmq-client.ts';

const { method } = MessagingService;
const ENDPOINTS = { addresses: [{ host: '127.0.0.1', port: 1 }] };

let cluster: BrokerGroup;
let client: RocketmqClient;
beforeEach(async () => {
  cluster = await BrokerGroup.create({ autoCreateTopics: false, rocketmq: true, rocketmqPort: 0 });
  await cluster.start(0, 'b1');
  await cluster.start(0, 'b2');
  await cluster.ready();
  // The access point is a broker that may serve nothing of what is asked for.
  client = new RocketmqClient(cluster.broker(0, 'b1').rocketmqPort ?? 0);
});
afterEach(async () => {
  client[Symbol.dispose]();
  expect(cluster.fatal).toBeUndefined();
  await cluster[Symbol.asyncDispose]();
});

function receiving(topic: string, broker = '') {
  return {
    group: { name: 'g' },
    messageQueue: { topic: { name: topic }, id: -1, broker: { name: broker } },
    filterExpression: { type: FilterType.TAG, expression: '*' },
    batchSize: 32,
    invisibleDuration: { seconds: 60n },
    longPollingTimeout: { seconds: 0n },
  };
}

const textOf = ({ body }: Message) => Buffer.from(body).toString();
const handleOf = ({ systemProperties }: Message) => systemProperties?.receiptHandle ?? '';

test('what another broker has is routed to, received, and settled through this one', async () => {
  await cluster.client().admin.createTopic('t', { queues: 1 });
  const sent = await client.send('t', { messageId: 'one' }, 'hello');
  expect(codeName(sent.status)).toBe('OK');
  const { messageQueues } = await client.call(method.queryRoute, {
    topic: { name: 't' },
    endpoints: ENDPOINTS,
  });
  const names = messageQueues.map(({ broker }) => broker?.name).sort();
  expect(names).toEqual(['b1', 'b2']);
  // The own broker's address is what was dialled, the other's what it has registered.
  const other = messageQueues.find(({ broker }) => broker?.name === 'b2')?.broker;
  expect(other?.endpoints?.addresses[0]?.port).toBe(cluster.broker(0, 'b2').rocketmqPort);

  // Sent at the other broker, received and settled here.
  using second = new RocketmqClient(cluster.broker(0, 'b2').rocketmqPort ?? 0, 'second');
  await second.send('t', { messageId: 'two' }, 'there');
  const { status, messages } = await client.receive(receiving('t', 'b2'));
  expect(codeName(status)).toBe('OK');
  expect(messages.map(textOf)).toEqual(['there']);
  const [there] = messages;
  if (there === undefined) throw new Error('one came');
  const settling = { group: { name: 'g' }, topic: { name: 't' } };
  const changed = await client.call(method.changeInvisibleDuration, {
    ...settling,
    receiptHandle: handleOf(there),
    invisibleDuration: { seconds: 90n },
  });
  expect(codeName(changed.status)).toBe('OK');
  // Any broker takes any handle.
  const acked = await second.call(method.ackMessage, {
    ...settling,
    entries: [{ messageId: 'two', receiptHandle: changed.receiptHandle }],
  });
  expect(codeName(acked.status)).toBe('OK');
});

test('a client that names no broker gets what all of them have', async () => {
  await cluster.client().admin.createTopic('t', { queues: 1 });
  using second = new RocketmqClient(cluster.broker(0, 'b2').rocketmqPort ?? 0, 'second');
  for (let i = 0; i < 3; i++) {
    await client.send('t', {}, `first ${i}`);
    await second.send('t', {}, `second ${i}`);
  }
  const got: string[] = [];
  await eventually(
    'all has come',
    async () => {
      const { messages } = await client.receive(receiving('t'));
      got.push(...messages.map(textOf));
      return got.length === 6 || undefined;
    },
    { withinMs: 5000, everyMs: 5 },
  );
  expect(got.toSorted()).toEqual([
    ...[0, 1, 2].map((i) => `first ${i}`),
    ...[0, 1, 2].map((i) => `second ${i}`),
  ]);
});

test('messages of a group are in one queue of one broker, wherever they are sent', async () => {
  await cluster.client().admin.createTopic('t', { queues: 2 });
  using second = new RocketmqClient(cluster.broker(0, 'b2').rocketmqPort ?? 0, 'second');
  const own = cluster.client().producer();
  for (const key of ['a', 'b', 'c', 'd']) {
    const { broker, queueId } = await own.send('t', { body: 'own', orderingKey: key });
    await client.send('t', { messageGroup: key }, 'first');
    await second.send('t', { messageGroup: key }, 'second');
    const { messages } = await client.receive({
      ...receiving('t', broker),
      group: { name: `g-${key}` },
    });
    const ofKey = messages.filter((one) => one.systemProperties?.messageGroup === key);
    expect(ofKey.map((one) => [textOf(one), one.systemProperties?.queueId])).toEqual([
      ['own', queueId],
      ['first', queueId],
      ['second', queueId],
    ]);
  }
});

test('a delayed message is recalled, and a transaction decided, through a broker that does not have it', async () => {
  await cluster.client().admin.createTopic('t', { queues: 1 });
  using second = new RocketmqClient(cluster.broker(0, 'b2').rocketmqPort ?? 0, 'second');
  const deliveryTimestamp = { seconds: BigInt(Math.floor(Date.now() / 1000) + 3600) };
  const delayed = await second.send('t', {
    messageId: 'late',
    deliveryTimestamp: deliveryTimestamp as never,
  });
  const recallHandle = delayed.entries[0]?.recallHandle ?? '';
  const recalled = await client.call(method.recallMessage, { topic: { name: 't' }, recallHandle });
  expect([codeName(recalled.status), recalled.messageId]).toEqual(['OK', 'late']);
  const begun = await second.send('t', { messageId: 'half', messageType: 4 }, 'half');
  const transactionId = begun.entries[0]?.transactionId ?? '';
  for (let times = 0; times < 2; times++) {
    const ended = await client.call(method.endTransaction, {
      topic: { name: 't' },
      messageId: 'half',
      transactionId,
      resolution: 1,
    });
    expect(codeName(ended.status)).toBe('OK');
  }
  const half = await eventually(
    'it is there',
    async () => (await client.receive(receiving('t', 'b2'))).messages[0],
    { withinMs: 5000, everyMs: 5 },
  );
  expect(textOf(half)).toBe('half');
});

test('a topic that only another broker has is sent to through this one', async () => {
  using there = new BrokerClient(cluster.broker(0, 'b2').address);
  await there.ensureTopic({ name: 'only', settings: { queues: 1 } });
  await eventually(
    'it is in the routes',
    async () => codeName((await client.send('only')).status) === 'OK' || undefined,
    { withinMs: 5000, everyMs: 20 },
  );
  const { messages } = await client.receive(receiving('only'));
  expect(messages.map(textOf)).toEqual(['body']);
  const acked = await client.call(method.ackMessage, {
    group: { name: 'g' },
    topic: { name: 'only' },
    entries: messages.map((one) => ({ receiptHandle: handleOf(one) })),
  });
  expect(codeName(acked.status)).toBe('OK');
});
