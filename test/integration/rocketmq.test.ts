// The endpoint for clients of RocketMQ 5 on the wire: order of frames, statuses, bounds, and what some language's client
// would fall over.

import { createHash } from 'node:crypto';
import {
  AddressScheme,
  ClientType,
  DigestType,
  Encoding,
  FilterType,
  Language,
  MessageType,
  Permission,
} from '@ternmq/proto/gen/apache/rocketmq/v2/definition_pb';
import {
  MessagingService,
  QueryOffsetPolicy,
} from '@ternmq/proto/gen/apache/rocketmq/v2/service_pb';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Cluster } from '../support/cluster.ts';
import { eventually } from '../support/eventually.ts';
import { codeName, RocketmqClient } from '../support/rocketmq-client.ts';

const { method } = MessagingService;
const within = { withinMs: 5000, everyMs: 5 };

let cluster: Cluster;
let client: RocketmqClient;
beforeEach(async () => {
  cluster = await Cluster.start({ broker: { rocketmq: true } });
  client = new RocketmqClient(cluster.broker.rocketmqPort ?? 0);
  await cluster.client().admin.createTopic('t', { queues: 2 });
});
afterEach(async () => {
  client[Symbol.dispose]();
  await cluster[Symbol.asyncDispose]();
});

const ENDPOINTS = {
  scheme: AddressScheme.DOMAIN_NAME,
  addresses: [{ host: 'mapped.example', port: 18081 }],
};
const T = { name: 't' };
const G = { name: 'g' };
const ten = { seconds: 10n };

function receiving(more: object = {}) {
  return {
    group: G,
    messageQueue: { topic: T, id: -1 },
    filterExpression: { type: FilterType.TAG, expression: '*' },
    batchSize: 32,
    invisibleDuration: ten,
    longPollingTimeout: { seconds: 0n },
    ...more,
  };
}

async function sendOwn(count: number, more: object = {}): Promise<void> {
  const producer = cluster.client().producer();
  for (let i = 0; i < count; i++) await producer.send('t', { body: `m${i}`, ...more });
}

const bodies = (messages: readonly { body: Uint8Array }[]) =>
  messages.map(({ body }) => Buffer.from(body).toString()).sort();

describe('a route', () => {
  test('leads to the address that the client has dialled, and leaves nothing unspecified', async () => {
    const { status, messageQueues } = await client.call(method.queryRoute, {
      topic: T,
      endpoints: ENDPOINTS,
    });
    expect(codeName(status)).toBe('OK');
    expect(messageQueues.map(({ id }) => id)).toEqual([0, 1]);
    for (const { permission, broker, acceptMessageTypes, topic } of messageQueues) {
      expect(topic?.name).toBe('t');
      expect(permission).toBe(Permission.READ_WRITE);
      expect(broker).toMatchObject({ name: 'broker-a', id: 0, endpoints: ENDPOINTS });
      expect(acceptMessageTypes).toEqual([
        MessageType.NORMAL,
        MessageType.FIFO,
        MessageType.DELAY,
        MessageType.TRANSACTION,
      ]);
    }
  });

  test.each([
    ['a missing topic', { topic: { name: 'missing' }, endpoints: ENDPOINTS }, 'TOPIC_NOT_FOUND'],
    ['no address', { topic: T }, 'ILLEGAL_ACCESS_POINT'],
    ['no topic', { endpoints: ENDPOINTS }, 'ILLEGAL_TOPIC'],
    ['a name of its own', { topic: { name: 'TBW102' }, endpoints: ENDPOINTS }, 'ILLEGAL_TOPIC'],
  ])('is refused: %s', async (_, request, code) => {
    const { status } = await client.call(method.queryRoute, request);
    expect(codeName(status)).toBe(code);
    expect(status?.message).toContain(code);
  });

  test('tells what a topic of a kind takes', async () => {
    await cluster.client().admin.createTopic('fifo', { queues: 1, kind: 'fifo' });
    const request = { topic: { name: 'fifo' }, endpoints: ENDPOINTS };
    const { messageQueues } = await client.call(method.queryRoute, request);
    expect(messageQueues[0]?.acceptMessageTypes).toEqual([MessageType.FIFO]);
  });

  test('an assignment names a broker of an ordinary group, and each queue of an ordered one', async () => {
    const request = { topic: T, group: G, endpoints: ENDPOINTS };
    const ids = async () => {
      const { assignments } = await client.call(method.queryAssignment, request);
      return assignments.map(({ messageQueue }) => messageQueue?.id);
    };
    expect(await ids()).toEqual([-1]);
    await cluster.client().admin.createGroup('g', { ordered: true });
    expect(await ids()).toEqual([0, 1]);
  });
});

describe('telemetry', () => {
  test('sends headers at once, answers every settings, and ends when the client does', async () => {
    const telemetry = client.telemetry();
    await telemetry.headers;
    const settings = {
      clientType: ClientType.PUSH_CONSUMER,
      userAgent: { language: Language.JAVA },
      pubSub: { case: 'subscription' as const, value: { group: G, subscriptions: [{ topic: T }] } },
    };
    telemetry.settings(settings);
    telemetry.settings(settings);
    await eventually('two answers', () => telemetry.answers.length === 2 || undefined, within);
    expect(telemetry.commands.map(({ status }) => codeName(status))).toEqual(['OK', 'OK']);
    telemetry.end();
    expect(await telemetry.ended).toBe(0);
  });

  test('tells a client in Node its settings once more after a second', async () => {
    const telemetry = client.telemetry();
    telemetry.settings({
      clientType: ClientType.PRODUCER,
      userAgent: { language: Language.NODE_JS },
      pubSub: { case: 'publishing', value: { topics: [T] } },
    });
    await eventually('an answer', () => telemetry.answers.length === 1 || undefined, within);
    await cluster.pass(1100);
    await eventually('another', () => telemetry.answers.length === 2 || undefined, within);
    telemetry.end();
    await telemetry.ended;
  });

  test('refuses a client without an id with a status, and settings that say nothing with an error', async () => {
    using nobody = new RocketmqClient(cluster.broker.rocketmqPort ?? 0, '');
    const unnamed = nobody.telemetry();
    expect(await unnamed.ended).toBe(0);
    expect(codeName(unnamed.commands[0]?.status)).toBe('CLIENT_ID_REQUIRED');
    const telemetry = client.telemetry();
    telemetry.settings({});
    expect(await telemetry.ended).toBe(3);
  });

  test('is what heartbeats and the end of a client need, and nothing else', async () => {
    const beat = () => client.call(method.heartbeat, { clientType: ClientType.PRODUCER });
    expect(codeName((await beat()).status)).toBe('UNRECOGNIZED_CLIENT_TYPE');
    expect(codeName((await client.send('t')).status)).toBe('OK');
    const telemetry = client.telemetry();
    telemetry.settings({ pubSub: { case: 'publishing', value: { topics: [T] } } });
    await eventually('an answer', () => telemetry.answers.length === 1 || undefined, within);
    expect(codeName((await beat()).status)).toBe('OK');
    const end = () => client.call(method.notifyClientTermination, { group: { name: '' } });
    expect(codeName((await end()).status)).toBe('OK');
    expect(codeName((await end()).status)).toBe('UNRECOGNIZED_CLIENT_TYPE');
    telemetry.end();
  });

  test('a heartbeat without any metadata is refused, and nothing else happens', async () => {
    using nobody = new RocketmqClient(cluster.broker.rocketmqPort ?? 0, '');
    const { status } = await nobody.call(method.heartbeat, {});
    expect(codeName(status)).toBe('CLIENT_ID_REQUIRED');
  });
});

describe('sending', () => {
  test('answers with the id that the client gave, as that of the transaction too', async () => {
    const { status, entries } = await client.send('t', { messageId: 'mine' });
    expect(codeName(status)).toBe('OK');
    expect(entries).toMatchObject([{ messageId: 'mine', transactionId: 'mine', recallHandle: '' }]);
  });

  test('says of each message of a batch what became of it', async () => {
    const message = (id: string, more: object = {}) => ({
      topic: T,
      body: Buffer.from(id),
      systemProperties: { messageId: id, ...more },
    });
    const { status, entries } = await client.call(method.sendMessage, {
      messages: [message('1'), message('2', { tag: 'a|b' }), message('3')],
    });
    expect(codeName(status)).toBe('MULTIPLE_RESULTS');
    expect(entries.map((entry) => codeName(entry.status))).toEqual([
      'OK',
      'ILLEGAL_MESSAGE_TAG',
      'OK',
    ]);
    const { messages } = await client.receive(receiving());
    expect(bodies(messages)).toEqual(['1', '3']);
  });

  test('a message whose kind the topic does not take is refused', async () => {
    await cluster.client().admin.createTopic('plain', { queues: 1, kind: 'normal' });
    const { status } = await client.send('plain', { messageGroup: 'g' });
    expect(codeName(status)).toBe('MESSAGE_PROPERTY_CONFLICT_WITH_TYPE');
  });

  test('a message group and an ordering key of the own SDK are in one queue', async () => {
    const own = cluster.client().producer();
    for (const key of ['a', 'b', 'c', 'd', 'e']) {
      const { queueId } = await own.send('t', { body: key, orderingKey: key });
      await client.send('t', { messageGroup: key });
      const { messages } = await client.receive(receiving({ group: { name: `g-${key}` } }));
      const ofKey = messages.filter((one) => one.systemProperties?.messageGroup === key);
      expect(ofKey.map((one) => one.systemProperties?.queueId)).toEqual([queueId, queueId]);
    }
  });
});

describe('a trace context', () => {
  const traceContext = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';

  test('goes from the own SDK to clients of RocketMQ', async () => {
    await sendOwn(1, { traceContext });
    const { messages } = await client.receive(receiving());
    expect(messages[0]?.systemProperties?.traceContext).toBe(traceContext);
  });

  test('comes from them to the own SDK, with the id that they gave the message', async () => {
    await client.send('t', { messageId: 'mine', traceContext });
    const consumer = cluster.client().consumer('g', { from: 'first' }).subscribe('t');
    const [message] = await consumer.receive({ max: 1, waitMs: 1000 });
    expect(message).toMatchObject({ traceContext, producerMessageId: 'mine' });
  });
});

describe('receiving', () => {
  test('sends the status, the messages, and the time, and fills in every field', async () => {
    const properties = { region: 'eu' };
    await sendOwn(1, { tag: 'a', keys: ['k'], properties, orderingKey: 'one' });
    const { frames, status, messages } = await client.receive(receiving());
    expect(frames).toEqual(['status', 'message', 'deliveryTimestamp']);
    expect(codeName(status)).toBe('OK');
    const [message] = messages;
    expect(message?.userProperties).toEqual(properties);
    expect(message?.topic?.name).toBe('t');
    expect(message?.systemProperties).toMatchObject({
      tag: 'a',
      keys: ['k'],
      messageGroup: 'one',
      bodyDigest: {
        type: DigestType.MD5,
        checksum: createHash('md5').update('m0').digest('hex').toUpperCase(),
      },
      bodyEncoding: Encoding.IDENTITY,
      messageType: MessageType.FIFO,
      deliveryAttempt: 1,
      invisibleDuration: ten,
      bornTimestamp: expect.anything(),
      storeTimestamp: expect.anything(),
      bornHost: '127.0.0.1',
    });
    expect(message?.systemProperties?.messageId).toMatch(/^[0-9a-f]{32}$/);
  });

  test('nothing is a status of its own, and the stream never ends without one', async () => {
    const { frames, status } = await client.receive(receiving());
    expect(codeName(status)).toBe('MESSAGE_NOT_FOUND');
    expect(frames).toEqual(['status', 'deliveryTimestamp']);
  });

  test('is at most 32 messages, whatever is asked for', async () => {
    await sendOwn(40);
    const { messages } = await client.receive(receiving({ batchSize: 50 }));
    expect(messages).toHaveLength(32);
  });

  test('waits for messages, on another broker name and an unknown queue too', async () => {
    const waiting = client.receive(
      receiving({
        messageQueue: { topic: T, id: 77, broker: { name: 'virtual-broker' } },
        longPollingTimeout: { seconds: 20n },
      }),
    );
    await sendOwn(1);
    expect(bodies((await waiting).messages)).toEqual(['m0']);
  });

  test.each([
    [
      { invisibleDuration: { seconds: 9n } },
      'ILLEGAL_INVISIBLE_TIME',
      'the invisibleTime is too small',
    ],
    [
      { invisibleDuration: { seconds: 43_201n } },
      'ILLEGAL_INVISIBLE_TIME',
      'the invisibleTime is too large',
    ],
    [{ group: { name: 'DEFAULT_CONSUMER' } }, 'ILLEGAL_CONSUMER_GROUP', ''],
    [{ messageQueue: { topic: { name: 'missing' }, id: -1 } }, 'TOPIC_NOT_FOUND', ''],
    [
      { filterExpression: { type: FilterType.SQL, expression: 'a = = b' } },
      'ILLEGAL_FILTER_EXPRESSION',
      '',
    ],
  ])('is refused: %o', async (more, code, text) => {
    const { status } = await client.receive(receiving(more));
    expect(codeName(status)).toBe(code);
    expect(status.message).toContain(text);
  });

  test.each([
    [{ type: FilterType.TAG, expression: 'a || c' }, ['m0']],
    [{ type: FilterType.SQL, expression: "TAGS = 'a' AND x > 1" }, ['m0']],
    [{ type: FilterType.SQL, expression: 'x BETWEEN 3 AND 4' }, []],
  ])('gives what a filter wants: %o', async (filterExpression, wanted) => {
    await sendOwn(1, { tag: 'a', properties: { x: '2' } });
    await sendOwn(1, { tag: 'b' });
    const { messages } = await client.receive(receiving({ filterExpression }));
    expect(bodies(messages)).toEqual(wanted);
  });

  test('members share what there is, and every group gets all of it', async () => {
    await sendOwn(10);
    using other = new RocketmqClient(cluster.broker.rocketmqPort ?? 0, 'other');
    const one = await client.receive(receiving({ batchSize: 4 }));
    const two = await other.receive(receiving());
    expect(one.messages.length + two.messages.length).toBe(10);
    const all = await other.receive(receiving({ group: { name: 'h' } }));
    expect(all.messages).toHaveLength(10);
  });

  test('a client that goes away before its messages come leaves them to others at once', async () => {
    await client.abort(receiving({ longPollingTimeout: { seconds: 20n } }));
    await sendOwn(1);
    using other = new RocketmqClient(cluster.broker.rocketmqPort ?? 0, 'other');
    const { messages } = await other.receive(receiving());
    expect(messages.map((one) => one.systemProperties?.deliveryAttempt)).toEqual([1]);
  });
});

describe('a handle', () => {
  const one = async (from = client, more: object = {}) => {
    const { messages } = await from.receive(receiving(more));
    const {
      receiptHandle = '',
      messageId = '',
      deliveryAttempt,
    } = messages[0]?.systemProperties ?? {};
    return { receiptHandle, messageId, deliveryAttempt };
  };
  const ack = async (receiptHandle: string) => {
    const entries = [{ messageId: 'x', receiptHandle }];
    const {
      status,
      entries: [entry],
    } = await client.call(method.ackMessage, {
      group: G,
      topic: T,
      entries,
    });
    expect(codeName(entry?.status)).toBe(codeName(status));
    return codeName(status);
  };
  const change = async (receiptHandle: string, seconds: bigint) =>
    client.call(method.changeInvisibleDuration, {
      group: G,
      topic: T,
      receiptHandle,
      invisibleDuration: { seconds },
    });

  test('acknowledges, and then nothing comes again', async () => {
    await sendOwn(1);
    const { receiptHandle } = await one();
    expect(await ack(receiptHandle)).toBe('OK');
    await cluster.pass(11_000);
    expect(codeName((await client.receive(receiving())).status)).toBe('MESSAGE_NOT_FOUND');
    expect(await ack(receiptHandle)).toBe('INVALID_RECEIPT_HANDLE');
    expect(codeName((await change(receiptHandle, 10n)).status)).toBe('INVALID_RECEIPT_HANDLE');
  });

  test('is void when its time is over, and the message comes again at once with attempt 2', async () => {
    await sendOwn(1);
    const { receiptHandle } = await one();
    await cluster.pass(10_200);
    expect(await ack(receiptHandle)).toBe('INVALID_RECEIPT_HANDLE');
    const again = await one();
    expect(again.deliveryAttempt).toBe(2);
    expect(await ack(again.receiptHandle)).toBe('OK');
  });

  test('is replaced by every change of its time; the last one counts', async () => {
    await sendOwn(1);
    const first = await one();
    let handle = first.receiptHandle;
    for (const seconds of [20n, 30n, 15n]) {
      const changed = await change(handle, seconds);
      expect(codeName(changed.status)).toBe('OK');
      expect(changed.receiptHandle).not.toBe(handle);
      expect(await ack(handle)).toBe('INVALID_RECEIPT_HANDLE');
      handle = changed.receiptHandle;
    }
    await cluster.pass(14_000);
    expect(codeName((await client.receive(receiving())).status)).toBe('MESSAGE_NOT_FOUND');
    await cluster.pass(1500);
    expect((await one()).deliveryAttempt).toBe(2);
  });

  test('may set the time to nothing', async () => {
    await sendOwn(1);
    const { receiptHandle } = await one();
    expect(codeName((await change(receiptHandle, 0n)).status)).toBe('OK');
    await cluster.pass(300);
    expect((await one()).deliveryAttempt).toBe(2);
  });

  test('out of the air is refused, and told so per message', async () => {
    await sendOwn(1);
    const { receiptHandle } = await one();
    const { status, entries } = await client.call(method.ackMessage, {
      group: G,
      topic: T,
      entries: [{ receiptHandle }, { receiptHandle: 'garbage' }],
    });
    expect(codeName(status)).toBe('MULTIPLE_RESULTS');
    expect(entries.map((entry) => codeName(entry.status))).toEqual([
      'OK',
      'INVALID_RECEIPT_HANDLE',
    ]);
  });

  test('still acknowledges after a restart of the broker', async () => {
    await sendOwn(1);
    const { receiptHandle } = await one(client, { invisibleDuration: { seconds: 600n } });
    await cluster.restartBroker();
    expect(await ack(receiptHandle)).toBe('OK');
  });

  test('sends a message to the dead letters, which tell where they came from', async () => {
    await client.send('t', { messageId: 'mine' }, 'bad');
    const { receiptHandle } = await one();
    const { status } = await client.call(method.forwardMessageToDeadLetterQueue, {
      group: G,
      topic: T,
      receiptHandle,
    });
    expect(codeName(status)).toBe('OK');
    const letters = receiving({
      group: { name: 'h' },
      messageQueue: { topic: { name: '%DLQ%g' }, id: -1 },
    });
    const found = await eventually(
      'the letter is there',
      async () => (await client.receive(letters)).messages[0],
      within,
    );
    expect(found.systemProperties).toMatchObject({
      messageId: 'mine',
      deadLetterQueue: { topic: 't', messageId: 'mine' },
    });
  });

  test('of a push consumer is renewed while the client lives, and freed at its end', async () => {
    await sendOwn(1);
    const telemetry = client.telemetry();
    telemetry.settings({
      clientType: ClientType.PUSH_CONSUMER,
      pubSub: { case: 'subscription', value: { group: G } },
    });
    await eventually('an answer', () => telemetry.answers.length === 1 || undefined, within);
    const { deliveryAttempt } = await one(client, { autoRenew: true });
    expect(deliveryAttempt).toBe(1);
    for (let minute = 0; minute < 4; minute++) {
      for (let step = 0; step < 12; step++) {
        await cluster.pass(5000);
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
    using other = new RocketmqClient(cluster.broker.rocketmqPort ?? 0, 'other');
    expect(codeName((await other.receive(receiving())).status)).toBe('MESSAGE_NOT_FOUND');
    await client.call(method.notifyClientTermination, { group: G });
    const freed = await eventually(
      'it is free',
      async () => (await other.receive(receiving())).messages[0],
      within,
    );
    expect(freed.systemProperties?.deliveryAttempt).toBe(1);
    telemetry.end();
  });
});

describe('offsets', () => {
  const messageQueue = { topic: T, id: 0, broker: { name: 'broker-a' } };

  test('are asked for and set, and messages are read from them', async () => {
    const producer = cluster.client().producer();
    for (let i = 0; i < 5; i++) await producer.send('t', { body: `m${i}` });
    const end = await client.call(method.queryOffset, {
      messageQueue,
      queryOffsetPolicy: QueryOffsetPolicy.END,
    });
    const begin = await client.call(method.queryOffset, { messageQueue });
    expect([codeName(end.status), begin.offset]).toEqual(['OK', 0n]);
    const none = await client.call(method.getOffset, { group: G, messageQueue });
    expect(codeName(none.status)).toBe('OFFSET_NOT_FOUND');
    await client.call(method.updateOffset, { group: G, messageQueue, offset: end.offset });
    const set = await client.call(method.getOffset, { group: G, messageQueue });
    expect(set.offset).toBe(end.offset);
  });
});
