import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client } from '@ternmq/sdk';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { SendProbe } from '../chaos/send-probe.ts';
import { ROOT, ternCommand } from '../support/child-broker.ts';
import { Child } from '../support/child-process.ts';
import { Etcd } from '../support/etcd.ts';
import { eventually } from '../support/eventually.ts';
import { skipWhen } from '../support/skip.ts';
import { TempDir } from '../support/temp-dir.ts';
import { Loopback } from './loopback.ts';
import { Machine, readUnit } from './systemd.ts';

const UNITS = readdirSync(join(ROOT, 'deploy/systemd')).filter((file) => file.endsWith('.service'));
const GRACE_SECONDS = 10;

/** The commands of deploy/README.md by their ids. */
function blocks(): Map<string, string> {
  const text = readFileSync(join(ROOT, 'deploy/README.md'), 'utf8');
  const found = text.matchAll(/<!-- run: ([a-z-]+) -->\n```sh\n([\s\S]*?)```/g);
  return new Map([...found].map(([, id = '', block = '']) => [id, block]));
}

let folder: TempDir;
beforeAll(async () => {
  folder = await TempDir.create('systemd');
});
afterAll(() => folder[Symbol.asyncDispose]());

describe.each(UNITS)('%s', (file) => {
  const text = readFileSync(join(ROOT, 'deploy/systemd', file), 'utf8');

  test('passes the check of systemd', (context) => {
    const missing = spawnSync('systemd-analyze', ['--version']).error !== undefined;
    skipWhen(context, missing ? 'systemd-analyze is not installed' : undefined);
    const path = join(folder.path, 'units', file);
    mkdirSync(join(folder.path, 'units'), { recursive: true });
    const verify = (unit: string) => {
      writeFileSync(path, unit.replaceAll('/usr/bin/node', process.execPath));
      const { stdout, stderr } = spawnSync('systemd-analyze', ['verify', path], {
        encoding: 'utf8',
      });
      // It also judges the units of this machine that the unit comes after.
      return `${stdout}${stderr}`
        .split('\n')
        .filter(
          (line) =>
            line.includes(file.replace('@', '')) || line.includes(file.split('.')[0] as string),
        );
    };
    expect(verify(text)).toEqual([]);
    expect(verify(text.replace('LimitNOFILE=', 'LimitFiles='))).not.toEqual([]);
  });

  test('stops a service no sooner than it stops by itself', () => {
    const [stop = ''] = readUnit(text).get('TimeoutStopSec') ?? [];
    expect(Number(/^(\d+)s$/.exec(stop)?.[1])).toBeGreaterThan(GRACE_SECONDS);
  });
});

const RECEIVER = `
import socket, sys
receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind(sys.argv[1])
print('bound', flush=True)
while True: print(receiver.recv(4096).decode(), flush=True)
`;

test('a service tells systemd that it is ready once clients can use it', async (context) => {
  for (const tool of ['systemd-notify', 'python3']) {
    const missing = spawnSync(tool, ['--version']).error !== undefined;
    skipWhen(context, missing ? `${tool} is not installed` : undefined);
  }
  const socket = join(folder.path, 'notify');
  await using receiver = new Child('python3', ['-c', RECEIVER, socket]);
  const received = (text: string) =>
    eventually(text, () => receiver.stdout.includes(text) || undefined, { withinMs: 20_000 });
  await received('bound');
  const args = ['nameserver', '--nameserver-port', '0', '--metrics-port', '0', '-o', 'json'];
  await using service = new Child(...ternCommand(...args), { env: { NOTIFY_SOCKET: socket } });
  await received('READY=1');
  expect(service.stdout).toMatch(/^\{"nameserver"/);
  service.signal('SIGTERM');
  expect(await service.exited).toEqual({ code: 0, signal: null });
});

test('wrong options end a service with the code that its unit does not start it again for', async () => {
  const text = readFileSync(join(ROOT, 'deploy/systemd/ternmq-broker@.service'), 'utf8');
  const [code] = readUnit(text).get('RestartPreventExitStatus') ?? [];
  await using service = new Child(...ternCommand('broker', '--election', 'nobody'));
  expect((await service.exited).code).toBe(Number(code));
});

describe('the README', () => {
  const BLOCKS = blocks();
  const done = new Set<string>();
  const loopback = new Loopback();
  const machines: Machine[] = [];
  let client: Client;
  let probe: SendProbe;
  let address: (member: number) => string;

  /** Runs a block on a machine. */
  function run(id: string, member: number, edit = (block: string) => block): Promise<string> {
    const block = BLOCKS.get(id);
    if (block === undefined) throw new Error(`the README has no block ${id}`);
    done.add(id);
    const nameservers = [0, 1, 2].map((one) => `${address(one)}:9876`).join();
    const env = { MEMBER: `${member}`, TERN_NAMESERVER: nameservers };
    return (machines[member] as Machine).run(edit(block), env);
  }

  async function install(member: number): Promise<void> {
    await run('install', member);
    const own = (block: string) =>
      block.replace('MEMBER=0 HOST=mq0.', `MEMBER=${member} HOST=mq${member}.`);
    await run('configure', member, own);
  }

  async function machine(member: number, name = `machine-${member}`): Promise<void> {
    const path = join(folder.path, name);
    machines[member] = await Machine.create(`mq${member}.example.com`, path, image, loopback);
  }

  const image = inject('image');

  beforeAll(async () => {
    address = (member) => loopback.address(`mq${member}.example.com`);
    for (const member of [0, 1, 2, 3]) address(member);
    for (const member of [0, 1, 2, 3]) await machine(member);
  });

  afterAll(async () => {
    await probe?.[Symbol.asyncDispose]();
    await client?.close();
    for (const one of machines) await one[Symbol.asyncDispose]();
  });

  const stored = async () => {
    const { queues } = await client.admin.describeTopic('orders');
    return queues.reduce((sum, { endOffset }) => sum + endOffset, 0);
  };

  test('installs three machines that elect who leads', async (context) => {
    skipWhen(context, Etcd.missing());
    await Promise.all([0, 1, 2].map((member) => install(member)));
    await Promise.all([0, 1, 2].map((member) => run('start', member)));
    expect(await run('first', 0)).toMatch(/healthy: \d brokers?\n[\s\S]*^broker-a +\d +master /m);
    client = new Client({ nameservers: `${address(0)}:9876` });
    probe = new SendProbe(`${address(0)}:9876,${address(1)}:9876,${address(2)}:9876`, 'orders');
    await probe.firstSince(performance.now(), 5000);
  });

  test('upgrades one machine after the other, and no send fails', async (context) => {
    skipWhen(context, Etcd.missing());
    for (const member of [2, 1, 0])
      expect(await run('upgrade', member)).toMatch(/healthy: 3 brokers\n$/);
    await probe.firstSince(performance.now(), 5000);
    expect(probe.failures).toEqual([]);
  });

  test('adds a member and removes it, and no send fails', async (context) => {
    skipWhen(context, Etcd.missing());
    await install(3);
    expect(await run('add', 3)).toMatch(/healthy: 4 brokers\n$/);
    expect(await run('remove', 3)).toMatch(/healthy: 3 brokers\n$/);
    await probe.firstSince(performance.now(), 5000);
    expect(probe.failures).toEqual([]);
  });

  test('replaces a machine, and no send fails', async (context) => {
    skipWhen(context, Etcd.missing());
    const missing = spawnSync('etcdctl', ['version']).error !== undefined;
    skipWhen(
      context,
      missing ? 'etcdctl is not installed (Debian: apt-get install etcd-client)' : undefined,
    );
    await machines[1]?.[Symbol.asyncDispose]();
    await machine(1, 'machine-1-new');
    // What etcd was asked while it had no leader, it never answers.
    await eventually('etcd has a leader', () => machines[0]?.run('etcdctl endpoint health'), {
      withinMs: 20_000,
    });
    await run('replace-etcd', 0);
    await install(1);
    await run('replace-configure', 1);
    await run('start', 1);
    expect(await run('replace-wait', 0)).toMatch(/healthy: 3 brokers\n$/);
    expect(probe.failures).toEqual([]);
  });

  test('backs up a member, and restores a group that has lost everything', async (context) => {
    skipWhen(context, Etcd.missing());
    const before = await stored();
    expect(before).toBeGreaterThan(0);
    expect(await run('back-up', 2)).toMatch(/healthy: 3 brokers\n$/);
    const checked = await run('check-back-up', 2);
    expect(checked).toMatch(/^damaged ranges: +0$/m);
    expect(Number(/^messages: +(\d+)$/m.exec(checked)?.[1])).toBeGreaterThanOrEqual(before);
    await probe[Symbol.asyncDispose]();
    for (const member of [0, 1, 2]) await run('restore-stop', member);
    await run('restore-first', 2);
    const [first, second] = await Promise.all(
      [0, 1].map((member) => run('restore-others', member)),
    );
    expect([first, second].join('')).toMatch(/healthy: \d brokers\n$/);
    expect(await stored()).toBeGreaterThanOrEqual(before);
    expect((await client.producer().send('orders', { body: 'after' })).broker).toBe('broker-a');
  });

  test('has no other commands', (context) => {
    skipWhen(context, Etcd.missing());
    expect([...BLOCKS.keys()].filter((id) => !done.has(id) && id !== 'compose')).toEqual([]);
  });
});
