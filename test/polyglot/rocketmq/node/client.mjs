// The official client of RocketMQ 5 for Node, driven by commands: one JSON object a line in, one out. See ../official-client.ts
// for what they are.

import { createInterface } from 'node:readline';
import {
  ConsumeResult,
  FilterExpression,
  Producer,
  PushConsumer,
  SimpleConsumer,
} from 'rocketmq-client-nodejs';

const [, , endpoints, accessKey, accessSecret] = process.argv;
const quiet = { debug() {}, info() {}, warn() {}, error() {}, close() {} };
const base = {
  endpoints,
  namespace: '',
  logger: quiet,
  ...(accessKey ? { sessionCredentials: { accessKey, accessSecret } } : {}),
};
const RESOLUTIONS = { commit: 1, rollback: 2 };
const FILTER_TYPES = { tag: 1, sql: 2 };

let producer;
let simple;
let push;
const received = new Map();
const pushed = [];
let handles = 0;

function told(message) {
  return {
    messageId: message.messageId,
    body: message.body.toString(),
    tag: message.tag ?? '',
    keys: message.keys,
    properties: Object.fromEntries(message.properties),
    messageGroup: message.messageGroup ?? '',
    attempt: message.deliveryAttempt ?? 0,
  };
}

function subscriptionsOf({ topic, filter }) {
  const expression = new FilterExpression(filter.expression, FILTER_TYPES[filter.type]);
  return new Map([[topic, expression]]);
}

const commands = {
  async producer({ topics, checker }) {
    const check = { check: async () => RESOLUTIONS[checker] ?? 0 };
    producer = new Producer({ ...base, topics, ...(checker ? { checker: check } : {}) });
    await producer.startup();
  },

  async send({ topic, body, tag, keys, properties, messageGroup, delayMs, transaction }) {
    const message = {
      topic,
      body: Buffer.from(body),
      ...(tag ? { tag } : {}),
      ...(keys ? { keys } : {}),
      ...(properties ? { properties: new Map(Object.entries(properties)) } : {}),
      ...(messageGroup ? { messageGroup } : {}),
      ...(delayMs ? { delay: delayMs } : {}),
    };
    const begun = transaction ? producer.beginTransaction() : undefined;
    const receipt = await producer.send(message, begun);
    if (transaction === 'commit') await begun.commit();
    if (transaction === 'rollback') await begun.rollback();
    return { messageId: receipt.messageId, recallHandle: receipt.recallHandle ?? '' };
  },

  async recall({ topic, recallHandle }) {
    const { messageId } = await producer.recallMessage(topic, recallHandle);
    return { messageId };
  },

  async simple({ group, topic, filter, awaitMs }) {
    const subscriptions = subscriptionsOf({ topic, filter });
    const options = { ...base, consumerGroup: group, subscriptions, awaitDuration: awaitMs };
    simple = new SimpleConsumer(options);
    await simple.startup();
  },

  async receive({ max, invisibleMs }) {
    const messages = await simple.receive(max, invisibleMs);
    return {
      messages: messages.map((message) => {
        handles++;
        received.set(handles, message);
        return { ...told(message), handle: handles };
      }),
    };
  },

  async ack({ handle }) {
    await simple.ack(received.get(handle));
  },

  async change({ handle, invisibleMs }) {
    await simple.changeInvisibleDuration(received.get(handle), invisibleMs);
  },

  async push({ group, topic, filter }) {
    const messageListener = {
      async consume(message) {
        const fails = message.body.toString().startsWith('fail');
        pushed.push({ ...told(message), failed: fails });
        return fails ? ConsumeResult.FAILURE : ConsumeResult.SUCCESS;
      },
    };
    const subscriptions = subscriptionsOf({ topic, filter });
    push = new PushConsumer({ ...base, consumerGroup: group, subscriptions, messageListener });
    await push.startup();
  },

  async pushed({ count, withinMs }) {
    const untilMs = Date.now() + withinMs;
    while (pushed.length < count && Date.now() < untilMs) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return { messages: pushed };
  },

  async close() {
    await Promise.all([producer, simple, push].map((client) => client?.shutdown()));
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { do: name, ...command } = JSON.parse(line);
  let answer;
  try {
    answer = { ok: true, ...(await commands[name](command)) };
  } catch (error) {
    answer = { ok: false, code: error?.code ?? 0, error: `${error?.message ?? error}` };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
  if (name === 'close') process.exit(0);
}
