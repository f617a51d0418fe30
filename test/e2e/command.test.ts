// The command `tern` as people and scripts run it: processes of its own, exit codes, what is on standard output.

import { spawnSync } from 'node:child_process';
import { closeSync, cpSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { Client } from '@ternmq/sdk';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ROOT, ternCommand } from '../support/child-broker.ts';
import { Child } from '../support/child-process.ts';
import { eventually } from '../support/eventually.ts';
import { skipWhen } from '../support/skip.ts';
import { TempDir } from '../support/temp-dir.ts';

const ANY_PORTS = [
  '--nameserver-port',
  '0',
  '--broker-port',
  '0',
  '--rocketmq-port',
  '0',
  '--metrics-port',
  '0',
];
const READY_MS_MAX = 15_000;
const STOP_MS_MAX = 10_000;

interface Places {
  readonly nameserver: string;
  readonly broker: string;
  readonly metrics: string;
}

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

let folder: TempDir;
let server: Child;
let places: Places;

/** The JSON line that a service prints when it is ready. */
function announced(child: Child): Promise<Places> {
  return eventually(
    'the service is ready',
    () => {
      if (child.exit !== undefined) throw new Error(child.stderr);
      return child.stdout.includes('\n') ? (JSON.parse(child.stdout) as Places) : undefined;
    },
    { withinMs: READY_MS_MAX, everyMs: 10 },
  );
}

async function run(args: readonly string[], env: Record<string, string> = {}): Promise<Ended> {
  await using child = new Child(...ternCommand(...args), { env });
  child.endInput();
  const { code } = await child.exited;
  return { code, stdout: child.stdout, stderr: child.stderr };
}

/** Runs a client command on the cluster of this file. */
function tern(...args: string[]): Promise<Ended> {
  return run(args, { TERN_NAMESERVER: places.nameserver });
}

/** As `tern`, and reads the one JSON line that it prints. */
async function ternJson<Answer>(...args: string[]): Promise<Answer> {
  const { code, stdout, stderr } = await tern(...args, '-o', 'json');
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return JSON.parse(stdout);
}

beforeAll(async () => {
  folder = await TempDir.create('command');
  const data = join(folder.path, 'data');
  server = new Child(...ternCommand('start', '--data', data, ...ANY_PORTS, '-o', 'json'));
  places = await announced(server);
});

afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

test('waiting for a cluster that is not there ends when the time is up, and says what is missing', async () => {
  const wait = ['--exit-when-healthy', '--within', '1s', '--timeout', '200ms'];
  const nobody = ['--nameserver', '127.0.0.1:1'];
  const { code, stdout, stderr } = await run(['cluster', 'health', ...wait, ...nobody]);
  expect(code).toBe(1);
  expect(stdout).toMatch(/127\.0\.0\.1:1/);
  expect(stderr).toMatch(/ \[UNHEALTHY\]\n$/);
});

describe('tern start', () => {
  test('is ready exactly when clients can send, and shows the metrics of both services', async () => {
    const page = async (path: string) => fetch(`http://${places.metrics}${path}`);
    expect((await page('/readyz')).status).toBe(200);
    expect((await page('/healthz')).status).toBe(200);
    const metrics = await (await page('/metrics')).text();
    expect(metrics).toMatch(/^rocketmq_/m);
    expect(metrics).toMatch(/nameserver/);
    expect(metrics).toMatch(/^process_cpu_seconds_total /m);
    const { code } = await tern('message', 'send', '--topic', 'ready', '--body', 'x');
    expect(code).toBe(0);
  });

  test('stops with exit code 0 within ten seconds of SIGTERM, and starts again on its data', async () => {
    const data = join(folder.path, 'again');
    for (const expected of [0, 1]) {
      await using child = new Child(
        ...ternCommand('start', '--data', data, ...ANY_PORTS, '-o', 'json'),
      );
      const { nameserver } = await announced(child);
      const env = { TERN_NAMESERVER: nameserver };
      if (expected === 0) await run(['topic', 'create', 't', '--queues', '1'], env);
      const sent = await run(['message', 'send', '--topic', 't', '--body', 'x', '-o', 'json'], env);
      expect(JSON.parse(sent.stdout).offset).toBe(expected);
      child.signal('SIGTERM');
      const exit = await eventually('the end', () => child.exit, { withinMs: STOP_MS_MAX });
      expect(exit).toEqual({ code: 0, signal: null });
    }
  });

  test('refuses an option that it does not know, and a value that makes no sense', async () => {
    expect(await run(['start', '--brokr-port', '1'])).toMatchObject({ code: 2 });
    const value = await run(['start', '--broker-port', 'x']);
    expect(value.code).toBe(2);
    expect(value.stderr).toMatch(/--broker-port .*whole number.*\[BAD_OPTION\]\n$/);
    const variable = await run(['start', ...ANY_PORTS], { TERN_BROKR_PORT: '1' });
    expect(variable.code).toBe(2);
    expect(variable.stderr).toContain('TERN_BROKER_PORT');
  });

  test('says that another broker uses the data', async () => {
    const data = join(folder.path, 'data');
    const second = await run(['start', '--data', data, ...ANY_PORTS]);
    expect(second.code).toBe(1);
    expect(second.stderr).toContain('another broker uses');
  });

  test('never outlives the process that an older Node started it with', async (context) => {
    const path = (process.env.PATH ?? '')
      .split(delimiter)
      .filter((one) => !one.includes('node_modules'))
      .join(delimiter);
    const env = { ...process.env, PATH: path };
    const version = spawnSync('node', ['--version'], { env, encoding: 'utf8' }).stdout ?? '';
    const older = Number(/^v(\d+)/.exec(version)?.[1] ?? 99) < 24;
    skipWhen(context, older ? undefined : 'there is no older Node on this machine');
    const script = join(ROOT, 'sdk/cli/bin/tern.js');
    const data = join(folder.path, 'wrapped');
    await using child = new Child(
      'node',
      [script, 'start', '--data', data, ...ANY_PORTS, '-o', 'json'],
      { env: { PATH: path } },
    );
    const { metrics } = await announced(child);
    await child.kill();
    await eventually(
      'the service is gone',
      () =>
        fetch(`http://${metrics}/healthz`).then(
          () => undefined,
          () => true,
        ),
      { withinMs: 2000, everyMs: 10 },
    );
  });
});

describe('tern nameserver and tern broker', () => {
  const brokerArgs = (name: string, nameserver: string): string[] => [
    ...['broker', '--name', name, '--data', join(folder.path, name), '--nameserver', nameserver],
    ...['--broker-port', '0', '--rocketmq-port', '0', '--metrics-port', '0', '-o', 'json'],
  ];

  test('work together; topics are not created by themselves', async () => {
    await using nameserver = new Child(
      ...ternCommand(
        ...['nameserver', '--nameserver-port', '0', '--metrics-port', '0', '-o', 'json'],
        // A name server says that a topic does not exist only when it must have heard of all brokers.
        ...['--broker-timeout', '1s'],
      ),
    );
    const { nameserver: address } = await announced(nameserver);
    await using broker = new Child(...ternCommand(...brokerArgs('split', address)));
    await announced(broker);
    const env = { TERN_NAMESERVER: address };
    const send = ['message', 'send', '--topic', 'new', '--body', 'x'];
    const refused = await run(send, env);
    expect(refused.code).toBe(4);
    expect(refused.stderr).toMatch(/topic create new.*\[TOPIC_NOT_FOUND\]\n$/);
    expect((await run(['topic', 'create', 'new'], env)).code).toBe(0);
    expect((await run(send, env)).code).toBe(0);
  });

  test('a broker whose address clients cannot use says so, with the setting that mends it', async () => {
    await using broker = new Child(
      ...ternCommand(
        ...brokerArgs('lost', '127.0.0.1:1'),
        ...['--advertise', 'no-such-host.invalid'],
      ),
    );
    await eventually(
      'the warning',
      () => /no-such-host\.invalid does not resolve.*--advertise/.test(broker.stderr) || undefined,
      { withinMs: READY_MS_MAX },
    );
  });
});

describe('tern message', () => {
  test('sends a message with everything, and gets, queries and follows it', async () => {
    const { duplicate, ...receipt } = await ternJson<{
      messageId: string;
      broker: string;
      duplicate: boolean;
    }>(
      ...['message', 'send', '--topic', 'single', '--body', 'größer', '--key', 'k1', '--key', 'k2'],
      ...['--tag', 'G', '--property', 'a=b', '--property', 'c=d=e', '--ordering-key', 'O'],
    );
    expect(duplicate).toBe(false);
    expect(receipt).toEqual({
      messageId: expect.stringMatching(/^[0-9a-f]{32}$/),
      broker: 'broker-a',
      queueId: expect.any(Number),
      offset: 0,
    });
    const message = {
      ...receipt,
      topic: 'single',
      keys: ['k1', 'k2'],
      tag: 'G',
      properties: { a: 'b', c: 'd=e' },
      orderingKey: 'O',
      body: 'größer',
    };
    expect(await ternJson('message', 'get', receipt.messageId)).toMatchObject(message);
    expect(await ternJson('message', 'query', '--topic', 'single')).toMatchObject(message);
    const tail = ['message', 'tail', '--topic', 'single', '--from', 'begin', '--max', '1'];
    expect(await ternJson(...tail)).toMatchObject(message);
  });

  test('asks for an answer, and answers', async () => {
    await ternJson('topic', 'create', 'asked');
    const asked = ternJson('message', 'request', '--topic', 'asked', '--body', 'tea?');
    const tail = ['message', 'tail', '--topic', 'asked', '--from', 'begin', '--max', '1'];
    const { replyTo } = await ternJson<{ replyTo: string }>(...tail);
    const reply = ['message', 'reply', '--to', replyTo, '--body', '3.20', '--property', 'a=b'];
    expect(await ternJson(...reply)).toEqual({ answered: replyTo });
    expect(await asked).toMatchObject({ body: '3.20', properties: { a: 'b' }, tag: '' });
    const late = await tern(...reply);
    expect(late).toMatchObject({ code: 4, stderr: expect.stringContaining('REPLY_NOT_AWAITED') });
  });

  test('sends a file line by line; bytes that are no text stay what they are', async () => {
    const file = join(folder.path, 'lines.bin');
    const text = Array.from({ length: 2000 }, (_, index) => `line ${index}\n`).join('');
    writeFileSync(file, Buffer.concat([Buffer.from(text), Buffer.from([0xff, 0x00, 0x0a, 0x0a])]));
    expect(await ternJson('message', 'send', '--topic', 'lines', '--file', file)).toEqual({
      messages: 2001,
      failed: 0,
      skipped: 1,
      seconds: expect.any(Number),
    });
    const { stdout } = await tern(
      ...['message', 'query', '--topic', 'lines', '--limit', '5000', '-o', 'json'],
    );
    // The test keeps the end of what was printed.
    const lines = stdout.trimEnd().split('\n');
    const last = lines
      .map((line) => (line.endsWith('}') ? line : ''))
      .filter((line) => line !== '');
    expect(last.some((line) => line.includes('"bodyBase64":"/wA="'))).toBe(true);
  });

  test('does what it can of a file and says what it could not', async () => {
    const file = join(folder.path, 'some.jsonl');
    writeFileSync(file, '{"body":"a","tag":"t"}\nno json\n{"body":""}\n{"body":"b"}\n');
    const args = ['--topic', 'some', '--file', file, '--format', 'json', '-o', 'json'];
    const { code, stdout, stderr } = await tern('message', 'send', ...args);
    expect(code).toBe(3);
    expect(JSON.parse(stdout)).toMatchObject({ messages: 2, failed: 2 });
    expect(stderr).toMatch(/^line 2: .*JSON/);
    expect(stderr).toMatch(/tern: 2 of 4 lines were not sent \[PARTIAL\]\n$/);
  });

  test.each([
    [['get', '00'.repeat(16)], 4],
    [['tail', '--topic', 'nowhere'], 4],
    [['send', '--topic', 'x'], 2],
    [['send', '--topic', 'x', '--body', ''], 1],
    [['send', '--topic', '../x', '--body', 'x'], 1],
    [['tail', '--topic', 'x', '--from', 'yesterday'], 2],
  ])('%j ends with exit code %i', async (args, expected) => {
    const { code, stdout, stderr } = await tern('message', ...args);
    expect({ code, stdout }).toEqual({ code: expected, stdout: '' });
    expect(stderr).not.toBe('');
  });
});

describe('tern topic, group and cluster', () => {
  test('create, change, show and remove a topic', async () => {
    await ternJson('topic', 'create', 'made', '--queues', '2', '--retention', '1h');
    expect((await tern('topic', 'create', 'made')).code).toBe(1);
    await ternJson('topic', 'update', 'made', '--queues', '3');
    const { topics, queues } = await ternJson<{ topics: object[]; queues: object[] }>(
      ...['topic', 'show', 'made'],
    );
    expect(topics).toMatchObject([
      { name: 'made', broker: 'broker-a', settings: { queues: 3, retentionMs: 3_600_000 } },
    ]);
    expect(queues).toHaveLength(3);
    expect((await tern('topic', 'rm', 'made')).code).toBe(2);
    expect((await tern('topic', 'rm', 'made', '--yes')).code).toBe(0);
    expect((await tern('topic', 'show', 'made')).code).toBe(4);
    expect(await ternJson('topic', 'ls')).not.toContainEqual(
      expect.objectContaining({ name: 'made' }),
    );
  });

  test('a group is shown with its members that pull and the queues that they read', async () => {
    await ternJson('topic', 'create', 'stock', '--queues', '3');
    await using client = new Client({ nameservers: places.nameserver });
    const member = client.pullConsumer('stocktaking', { consumerId: 'shelf-1' });
    member.subscribe('stock', { strategy: 'machineRoom', room: 'broker' });
    await eventually('assigned', () => (member.assigned.length === 3 ? true : undefined), {
      withinMs: 5000,
    });
    const { stdout } = await tern('group', 'show', 'stocktaking');
    expect(stdout).toMatch(
      /^stock +shelf-1 +127\.0\.0\.1:\d+ +broker-a +machineRoom broker +0,1,2$/m,
    );
    const { pullMembers } = await ternJson<{ pullMembers: object[] }>(
      ...['group', 'show', 'stocktaking'],
    );
    expect(pullMembers).toMatchObject([{ consumerId: 'shelf-1', queueIds: [0, 1, 2] }]);
  });

  test('a group is reset to a place, tried first, and its lag follows', async () => {
    const topic = ['--topic', 'progress'];
    await ternJson('topic', 'create', 'progress', '--queues', '1');
    for (let count = 0; count < 3; count++)
      await ternJson('message', 'send', ...topic, '--body', 'x');
    const consumed = await ternJson<{ messages: number }>(
      ...['bench', 'consume', ...topic, '--group', 'readers', '--messages', '3'],
    );
    expect(consumed.messages).toBe(3);
    const lag = async () =>
      (await ternJson<{ lag: number }>('group', 'lag', 'readers', ...topic)).lag;
    await eventually('all is acknowledged', async () => ((await lag()) === 0 ? true : undefined), {
      withinMs: 5000,
    });
    const reset = ['group', 'reset', 'readers', ...topic, '--to'];
    await ternJson(...reset, 'begin', '--dry-run');
    expect(await lag()).toBe(0);
    await ternJson(...reset, '-2');
    expect(await lag()).toBe(2);
    await ternJson(...reset, 'begin');
    expect(await lag()).toBe(3);
    await ternJson(...reset, '1m');
    expect(await lag()).toBe(3);
    await ternJson(...reset, 'end');
    expect(await lag()).toBe(0);
    expect((await tern('group', 'rm', 'readers', '--yes')).code).toBe(0);
    expect((await tern('group', 'show', 'readers')).code).toBe(4);
  });

  test('dead letters are listed and sent again, a group is copied, and a member is forgotten', async () => {
    await using client = new Client({ nameservers: places.nameserver });
    await client.admin.createTopic('mixed', { queues: 1 });
    for (const body of ['a', 'b', 'c']) await client.producer().send('mixed', { body });
    const consumer = client.consumer('sorters', { from: 'first' }).subscribe('mixed');
    const [a, b] = await consumer.receive({ max: 3 });
    for (const message of [a, b]) message?.reject('neither');
    interface Letter {
      readonly messageId: string;
      readonly origin: { readonly offset: number; readonly reason: string };
    }
    const letters = async (...flags: string[]): Promise<Letter[]> =>
      ternJson('group', 'dead-letters', 'sorters', ...flags);
    await eventually(
      'the dead letters',
      async () => {
        const listed = await client.admin.listDeadLetters({ group: 'sorters' });
        return listed.length === 2 ? true : undefined;
      },
      { withinMs: 5000 },
    );
    const [first, second] = await letters('--oldest');
    expect(await letters('--max', '1')).toEqual([second]);
    expect(first?.origin.reason).toBe('neither');
    const table = (await tern('group', 'dead-letters', 'sorters')).stdout;
    expect(table).toMatch(/^DEAD LETTER +FROM +MESSAGE .* REASON$/m);
    expect(table).toContain(first?.messageId);
    const resend = (...flags: string[]): Promise<Ended> =>
      tern('group', 'resend', 'sorters', ...flags);
    expect((await resend()).code).toBe(2);
    expect((await resend('--all', '--max', '1')).code).toBe(2);
    expect((await resend('--all', '--dry-run')).stderr).toBe('2 would be sent again\n');
    const one = await resend('--id', first?.messageId ?? '', '-o', 'json');
    expect(JSON.parse(one.stdout)).toMatchObject({ resent: 1, before: 0, refused: 0 });
    expect((await resend('--all')).stderr).toBe('1 sent again\n');
    expect((await resend('--id', first?.messageId ?? '')).stderr).toBe(
      '0 sent again; 1 were sent again before\n',
    );
    expect((await resend('--id', a?.messageId ?? '')).code).toBe(3);

    const lag = await ternJson<{ lag: number; lagMs: number }>('group', 'lag', 'sorters');
    expect(lag.lag).toBe(3);
    expect(lag.lagMs).toBeGreaterThan(0);
    const copied = await ternJson('group', 'copy', 'sorters', 'sorters-2', '--topic', 'mixed');
    expect(copied).toMatchObject({ dryRun: false, queues: [{ queueId: 0, after: 2 }] });
    expect((await tern('group', 'copy', 'sorters', 'sorters')).stderr).toContain('SAME_GROUP');

    const run = client
      .consumer('radio', { mode: 'broadcasting', consumerId: 'listener' })
      .subscribe('mixed')
      .run(() => {});
    await eventually(
      'the member',
      async () =>
        (await tern('group', 'show', 'radio')).stdout.includes('listener') ? true : undefined,
      { withinMs: 5000 },
    );
    await run.close();
    expect((await tern('group', 'show', 'radio')).stdout).toMatch(
      /^mixed +listener +broker-a +20/m,
    );
    await ternJson('group', 'forget', 'radio', 'listener');
    expect((await tern('group', 'forget', 'radio', 'listener')).code).toBe(4);
  });

  test('a stopped message is listed, and goes on when it is released', async () => {
    await using client = new Client({ nameservers: places.nameserver });
    await client.admin.createTopic('accounts', { queues: 1 });
    const flags = ['--ordered', '--attempts', '1', '--exhausted', 'stop'];
    expect((await tern('group', 'create', 'ledger', ...flags)).stdout).toContain('yes, stops');
    const release = ['group', 'release', 'ledger', '--topic', 'accounts', '--queue', '0'];
    expect((await tern(...release, '--offset', '0')).code).toBe(2);
    const sent = { body: 'x', orderingKey: 'k' };
    await client.producer().send('accounts', sent);
    const attempts: number[] = [];
    client
      .consumer('ledger', { from: 'first', ordered: true })
      .subscribe('accounts')
      .run(({ attempt }) => {
        attempts.push(attempt);
        if (attempt === 1) throw new Error('not yet');
      });
    const stopped = await eventually(
      'it is stopped',
      async () => {
        const listed = await ternJson<unknown[]>('group', 'stopped', 'ledger');
        return listed.length > 0 ? listed : undefined;
      },
      { withinMs: 5000 },
    );
    const place = { topic: 'accounts', broker: 'broker-a', queueId: 0, offset: 0 };
    expect(stopped).toEqual([{ ...place, attempts: 1 }]);
    expect((await tern('group', 'show', 'ledger')).stdout).toMatch(
      /^accounts +broker-a +0 +0 +1$/m,
    );
    const released = await ternJson(...release, '--offset', '0');
    expect(released).toEqual({ released: place, deadLetter: false });
    await eventually('it goes on', () => attempts[1], { withinMs: 5000 });
    expect((await tern('group', 'stopped', 'ledger')).stdout).not.toContain('accounts');
  });

  test('the cluster shows its brokers', async () => {
    const { brokers } = await ternJson<{ brokers: object[] }>('cluster', 'info');
    expect(brokers).toMatchObject([
      { name: 'broker-a', master: true, address: places.broker, details: { flushMode: 'sync' } },
    ]);
    expect((await tern('cluster', 'info')).stdout).toMatch(/^BROKER .*\nbroker-a .* ok /);
  });

  test('no name server is exit code 6, and says which flag and variable are wrong', async () => {
    const { code, stderr } = await run(
      ['topic', 'ls', '--nameserver', '127.0.0.1:1', '--timeout', '300ms'],
      {},
    );
    expect(code).toBe(6);
    expect(stderr).toMatch(/--nameserver.*TERN_NAMESERVER.*\[NAMESERVER_UNREACHABLE\]\n$/);
  });
});

describe('tern bench', () => {
  const KEYS = [
    ...['messages', 'seconds', 'messagesPerSecond', 'megabytesPerSecond'],
    ...['p50Ms', 'p99Ms', 'maxMs', 'errors', 'cpuSeconds'],
  ];

  test.each([
    ['produce', ['--messages', '5000', '--batch', '50'], 5000],
    ['consume', [], 5000],
    ['produce', ['--messages', '300', '--rate', '1000', '--batch', '1'], 300],
    ['e2e', ['--messages', '200', '--rate', '1000', '--size', '64'], 200],
    ['e2e', ['--messages', '6400', '--batch', '64'], 6400],
  ])('%s %j counts every message once', async (what, args, messages) => {
    const result = await ternJson<Record<string, number>>(
      ...['bench', what, '--topic', 'bench', ...args],
    );
    expect(Object.keys(result)).toEqual(KEYS);
    expect(result).toMatchObject({ messages, errors: 0 });
    expect(result.p50Ms).toBeLessThanOrEqual(result.p99Ms ?? 0);
    expect(result.p99Ms).toBeLessThanOrEqual(result.maxMs ?? 0);
  });
});

describe('tern log', () => {
  test('checks and prints a log without changing it, and finds damage', async () => {
    await ternJson('message', 'send', '--topic', 'logged', '--body', 'in the log');
    const copy = join(folder.path, 'copy');
    cpSync(join(folder.path, 'data'), copy, { recursive: true });
    const verify = () => run(['log', 'verify', copy, '-o', 'json']);
    const before = await verify();
    expect(before.code).toBe(0);
    const check = JSON.parse(before.stdout);
    expect(check).toMatchObject({ start: 0, corrupt: [] });
    expect(check.records).toBe(check.messages + check.states);

    const dump = await run(['log', 'dump', copy, '--limit', '1']);
    expect(JSON.parse(dump.stdout)).toMatchObject({ position: 0, state: { epochBegun: {} } });
    expect((await run(['log', 'dump', copy])).stdout).toContain('"body":"in the log"');

    const segment = openSync(join(copy, 'log', '0'.repeat(20)), 'r+');
    writeSync(segment, Buffer.from([0xff]), 0, 1, 30);
    closeSync(segment);
    const after = await verify();
    expect(after.code).toBe(1);
    expect(JSON.parse(after.stdout).corrupt).toMatchObject([{ start: 0 }]);
    expect(after.stderr).toMatch(/\[LOG_DAMAGED\]\n$/);
  });

  test('a folder without a log is exit code 4', async () => {
    expect((await run(['log', 'verify', join(folder.path, 'nothing')])).code).toBe(4);
  });
});
