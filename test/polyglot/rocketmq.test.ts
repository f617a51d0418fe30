// The official clients of RocketMQ 5, unmodified, against a server in a process of its own: what every language must be able
// to do, and what one sends the others and the own SDK get.

import { join } from 'node:path';
import { Client } from '@ternmq/sdk';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ChildBroker, ROOT } from '../support/child-broker.ts';
import { eventually } from '../support/eventually.ts';
import { freePorts } from '../support/free-ports.ts';
import { skipWhen } from '../support/skip.ts';
import { TempDir } from '../support/temp-dir.ts';
import { ALL, OfficialClient } from './rocketmq/official-client.ts';
import { goProgram, javaProgram, python, type Toolchain } from './toolchain.ts';

const SOURCES = join(ROOT, 'test/polyglot/rocketmq');
const START_MS_MAX = 600_000;
const TEST_MS_MAX = 120_000;

/** How a language's program is made ready, and run. */
const LANGUAGES: Readonly<
  Record<
    string,
    {
      ready(): Toolchain;
      command(folder: string): [string, string[]];
      /** It encrypts unless it is told otherwise, and does not ask who signed. */
      readonly encrypts?: boolean;
    }
  >
> = {
  Node: {
    ready: () => ({ folder: join(SOURCES, 'node') }),
    command: (folder) => [process.execPath, [join(folder, 'client.mjs')]],
  },
  Python: {
    ready: () => python('rocketmq/python'),
    command: (folder) => [join(folder, 'python'), [join(SOURCES, 'python/client.py')]],
  },
  Go: {
    ready: () => goProgram('rocketmq/go'),
    command: (folder) => [join(folder, 'client'), []],
    encrypts: true,
  },
  Java: {
    ready: () => javaProgram('rocketmq/java'),
    command: (folder) => ['java', ['-cp', `${folder}:${folder}/*`, 'Main']],
    encrypts: true,
  },
};

let data: TempDir;
let server: ChildBroker;
let own: Client;
let endpoint: string;
let home: TempDir;

beforeAll(async () => {
  data = await TempDir.create('data');
  home = await TempDir.create('home');
  const [port] = await freePorts(1);
  endpoint = `127.0.0.1:${port}`;
  server = await ChildBroker.start({
    command: 'start',
    data: data.path,
    args: ['--rocketmq-port', `${port}`, '--transaction-first-check', '1s'],
  });
  own = new Client({ nameservers: server.nameserver });
});
afterAll(async () => {
  await own.close();
  await server[Symbol.asyncDispose]();
  await data[Symbol.asyncDispose]();
  await home[Symbol.asyncDispose]();
});

describe.each(Object.entries(LANGUAGES))('the official client for %s', (language, how) => {
  const name = language.toLowerCase();
  let toolchain: Toolchain;
  beforeAll(() => {
    toolchain = how.ready();
  }, START_MS_MAX);

  // Tests that do not close it end its process: shutting a push consumer down takes as long as its long poll, and after a
  // restart of the server Java takes a minute.
  const client = (folder: string, tls = false): OfficialClient => {
    const [command, args] = how.command(folder);
    // Clients write their logs into the home folder, and Java takes it from a setting.
    const env = {
      ...process.env,
      HOME: home.path,
      ROCKETMQ_TLS: `${tls}`,
      JAVA_TOOL_OPTIONS: `-Duser.home=${home.path} -Xmx256m`,
    };
    return new OfficialClient(command, [...args, endpoint], env);
  };

  test('sends what the own SDK gets as it was sent', { timeout: TEST_MS_MAX }, async (context) => {
    if ('missing' in toolchain) return skipWhen(context, toolchain.missing);
    const topic = `${name}-send`;
    await own.admin.createTopic(topic, { queues: 2 });
    await using official = client(toolchain.folder);
    await official.producer([topic], 'commit');
    const plain = { topic, tag: 'a', keys: ['k1', 'k2'], properties: { region: 'eu' } };
    await official.send({ ...plain, body: 'plain' });
    for (let i = 0; i < 5; i++) {
      await official.send({ topic, body: `ordered ${i}`, messageGroup: 'one' });
    }
    await official.send({ topic, body: 'later', delayMs: 3000 });
    const { messageId, recallHandle } = await official.send({
      topic,
      body: 'recalled',
      delayMs: 3000,
    });
    expect(await official.recall(topic, recallHandle)).toMatchObject({ messageId });
    for (const transaction of ['commit', 'rollback', 'leave'] as const) {
      await official.send({ topic, body: transaction, transaction });
    }
    const consumer = own.consumer(`${name}-own`, { from: 'first' }).subscribe(topic);
    const got: {
      body: string;
      tag: string;
      keys: readonly string[];
      region: string;
      key: string;
    }[] = [];
    await eventually(
      'all is there',
      async () => {
        for (const message of await consumer.receive({ max: 32, waitMs: 100 })) {
          const { tag, keys, properties, orderingKey: key } = message;
          const region = properties.region ?? '';
          // Some clients keep keys in a set.
          got.push({ body: message.text(), tag, keys: [...keys].sort(), region, key });
          await message.ack();
        }
        return got.length === 9 || undefined;
      },
      { withinMs: 30_000 },
    );
    expect(got.map(({ body }) => body).toSorted()).toEqual([
      'commit',
      'later',
      'leave',
      ...[0, 1, 2, 3, 4].map((i) => `ordered ${i}`),
      'plain',
    ]);
    expect(got.find(({ body }) => body === 'plain')).toEqual({
      body: 'plain',
      tag: 'a',
      keys: ['k1', 'k2'],
      region: 'eu',
      key: '',
    });
    expect(got.filter(({ key }) => key === 'one').map(({ body }) => body)).toEqual(
      [0, 1, 2, 3, 4].map((i) => `ordered ${i}`),
    );
    await official.close();
  });

  if (how.encrypts === true) {
    test('sends over an encrypted connection', {
      timeout: TEST_MS_MAX,
    }, async (context) => {
      if ('missing' in toolchain) return skipWhen(context, toolchain.missing);
      const topic = `${name}-tls`;
      await own.admin.createTopic(topic, { queues: 1 });
      await using official = client(toolchain.folder, true);
      await official.producer([topic]);
      await official.send({ topic, body: 'encrypted' });
      const consumer = own.consumer(`${name}-tls`, { from: 'first' }).subscribe(topic);
      const [message] = await consumer.receive({ max: 1, waitMs: 1000 });
      expect(message?.text()).toBe('encrypted');
      await official.close();
    });
  }

  test('receives, acknowledges, and sets when a message comes again', {
    timeout: TEST_MS_MAX,
  }, async (context) => {
    if ('missing' in toolchain) return skipWhen(context, toolchain.missing);
    const topic = `${name}-simple`;
    await own.admin.createTopic(topic, { queues: 1 });
    const producer = own.producer();
    await producer.send(topic, { body: 'b1', tag: 'a', keys: ['k'], properties: { x: 'y' } });
    for (const body of ['b2', 'b3']) await producer.send(topic, { body, orderingKey: body });
    await using official = client(toolchain.folder);
    await official.simple(`${name}-group`, topic, ALL, 2000);
    const first = await official.receive(16, 10_000);
    expect(first.map(({ body, attempt }) => [body, attempt])).toEqual([
      ['b1', 1],
      ['b2', 1],
      ['b3', 1],
    ]);
    expect(first[0]).toMatchObject({ tag: 'a', keys: ['k'] });
    expect(first[0]?.properties).toMatchObject({ x: 'y' });
    expect(first[1]?.messageGroup).toBe('b2');
    const [b1, b2, b3] = first;
    if (b1 === undefined || b2 === undefined || b3 === undefined) throw new Error('three came');
    await official.ack(b1);
    await official.change(b2, 30_000);
    // b3 comes again when its ten seconds are over, and b2 does not yet.
    const again = await eventually(
      'the message comes again',
      async () => {
        const messages = await official.receive(16, 10_000);
        return messages.length > 0 ? messages : undefined;
      },
      { withinMs: 20_000, everyMs: 10 },
    );
    expect(again.map(({ body, attempt }) => [body, attempt])).toEqual([['b3', 2]]);
    await official.ack(again[0] as (typeof again)[0]);
    await official.close();
  });

  test('is pushed to, by tags, and what fails goes to the dead letters', {
    timeout: TEST_MS_MAX,
  }, async (context) => {
    if ('missing' in toolchain) return skipWhen(context, toolchain.missing);
    const topic = `${name}-push`;
    const group = `${name}-pushed`;
    await own.admin.createTopic(topic, { queues: 2 });
    await own.admin.createGroup(group, { attemptsMax: 2, retryDelaysMs: [1000] });
    await using official = client(toolchain.folder);
    await official.push(group, topic, { type: 'tag', expression: 'a || b' });
    const producer = own.producer();
    for (const [body, tag] of [
      ['m1', 'a'],
      ['m2', 'c'],
      ['fail', 'b'],
    ] as const) {
      await producer.send(topic, { body, tag });
    }
    const pushed = await official.pushed(3, 40_000);
    expect(pushed.map(({ body, attempt }) => [body, attempt]).toSorted()).toEqual([
      ['fail', 1],
      ['fail', 2],
      ['m1', 1],
    ]);
    const dead = await eventually(
      'it is dead',
      async () => {
        const letters = await own.admin.listDeadLetters({ group });
        return letters.length > 0 ? letters : undefined;
      },
      { withinMs: 20_000 },
    );
    expect(dead.map(({ origin }) => origin?.topic)).toEqual([topic]);
  });

  test('gets what an SQL condition says, of what another language could have sent', {
    timeout: TEST_MS_MAX,
  }, async (context) => {
    if ('missing' in toolchain) return skipWhen(context, toolchain.missing);
    const topic = `${name}-sql`;
    await own.admin.createTopic(topic, { queues: 1 });
    const producer = own.producer();
    for (const amount of ['5', '15', '25']) {
      await producer.send(topic, { body: amount, tag: 't', properties: { amount } });
    }
    await using official = client(toolchain.folder);
    const sql = { type: 'sql', expression: "TAGS = 't' AND amount > 10" } as const;
    await official.simple(`${name}-sql`, topic, sql, 2000);
    const messages = await official.receive(16, 10_000);
    expect(messages.map(({ body }) => body)).toEqual(['15', '25']);
    for (const message of messages) await official.ack(message);
    await official.close();
  });

  test('goes on within five seconds of a restart of the server', {
    timeout: TEST_MS_MAX,
  }, async (context) => {
    if ('missing' in toolchain) return skipWhen(context, toolchain.missing);
    const topic = `${name}-restart`;
    await own.admin.createTopic(topic, { queues: 1 });
    await using official = client(toolchain.folder);
    await official.producer([topic]);
    await official.simple(`${name}-restart`, topic, ALL, 2000);
    await official.send({ topic, body: 'before' });
    const [held] = await official.receive(16, 60_000);
    await server.kill();
    await server.restart();
    await eventually(
      'it sends again',
      () => official.send({ topic, body: 'after' }).catch(() => undefined),
      { withinMs: 5000, everyMs: 50 },
    );
    if (held === undefined) throw new Error('one came');
    // Its connection for that may be another one, which comes back by itself.
    await eventually('it acknowledges again', () => official.ack(held).catch(() => undefined), {
      withinMs: 5000,
      everyMs: 50,
    });
    const again = await eventually(
      'it receives again',
      async () => {
        const messages = await official.receive(16, 60_000).catch(() => []);
        return messages.length > 0 ? messages : undefined;
      },
      { withinMs: 5000, everyMs: 50 },
    );
    expect(again[0]?.body).toBe('after');
  });
});
