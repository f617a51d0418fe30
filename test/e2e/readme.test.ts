// The commands of the README do what it says: its blocks are taken from the file and run in a shell, against a server
// on other ports.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ChildBroker, ROOT, ternCommand } from '../support/child-broker.ts';
import { Child } from '../support/child-process.ts';
import { skipWhen } from '../support/skip.ts';
import { TempDir } from '../support/temp-dir.ts';

const BLOCK = /<!-- run: ([a-z-]+) -->\n```(sh|ts)\n([\s\S]*?)```/g;

/** The blocks of a README in a language by their ids. */
function blocksOf(file: string, language: 'sh' | 'ts' = 'sh'): Map<string, string> {
  const text = readFileSync(join(ROOT, file), 'utf8');
  const blocks = [...text.matchAll(BLOCK)].filter(([, , written]) => written === language);
  return new Map(blocks.map(([, id = '', , block = '']) => [id, block]));
}

const BLOCKS = blocksOf('README.md');
const PROGRAMS = blocksOf('README.md', 'ts');
let folder: TempDir;
let server: ChildBroker;

/** A folder with an `npx` that is the clone's command, and the process itself: what is sent to it in the background arrives. */
function binaries(): string {
  const path = join(folder.path, 'bin');
  const file = join(path, 'npx');
  if (!existsSync(file)) {
    mkdirSync(path);
    const [command, args] = ternCommand();
    const tern = [command, ...args].map((word) => `'${word}'`).join(' ');
    writeFileSync(file, `#!/bin/sh\nshift\nexec ${tern} "$@"\n`, { mode: 0o755 });
  }
  return path;
}

/** Runs a block in the test's folder, with the clone's command as `npx tern`. Throws when a command fails. */
async function run(id: string, on: ChildBroker = server): Promise<string> {
  const block = BLOCKS.get(id);
  if (block === undefined) throw new Error(`the README has no block ${id}`);
  const commands = block
    .replaceAll('127.0.0.1:10911', on.address)
    .replaceAll('127.0.0.1:5557', new URL(on.page('/')).host);
  const script = `set -euo pipefail\n${commands}`;
  await using shell = new Child('bash', ['-c', script], {
    cwd: folder.path,
    env: { TERN_NAMESERVER: on.nameserver, PATH: `${binaries()}:${process.env.PATH}` },
  });
  shell.endInput();
  const { code } = await shell.exited;
  if (code !== 0) throw new Error(`block ${id} ended with ${code}\n${shell.stdout}${shell.stderr}`);
  return shell.stdout;
}

/** Runs a program of the README with the clone's SDK; returns what it prints. Throws when it fails. */
async function runProgram(id: string): Promise<string> {
  const block = PROGRAMS.get(id);
  if (block === undefined) throw new Error(`the README has no program ${id}`);
  const program = block.replaceAll('127.0.0.1:9876', server.nameserver);
  const flags = ['--conditions=source', '--input-type=module-typescript', '-e', program];
  await using child = new Child(process.execPath, flags, { cwd: ROOT });
  const { code } = await child.exited;
  if (code !== 0) throw new Error(`program ${id} ended with ${code}\n${child.stderr}`);
  return child.stdout;
}

beforeAll(async () => {
  folder = await TempDir.create('readme');
  server = await ChildBroker.start({ command: 'start', data: join(folder.path, 'data') });
});

afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

describe('the README', () => {
  test('starts and tests with the scripts that there are', () => {
    const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
    expect(BLOCKS.get('start')).toBe('npm start\n');
    expect(BLOCKS.get('test')).toBe('npm test\n');
    expect(Object.keys(scripts)).toEqual(expect.arrayContaining(['start', 'test', 'bench']));
  });

  test('leads to the first message', async () => {
    const shown = await run('first');
    expect(shown).toContain('"keys":["greeting-1"],"tag":"english"');
    expect(shown).toMatch(/^broker-a .* ok /m);
  });

  test('proves with a file of 100,000 lines that every line arrives once', async () => {
    expect(await run('walk-file')).toMatch(/^\s*100000 orders\.txt$/m);
    expect(await run('walk-send')).toContain('sent 100000 messages');
    const [sent, received, ...rest] = (await run('walk-proof')).trim().split('\n');
    expect(sent).toMatch(/^[0-9a-f]{64} /);
    expect(received).toBe(sent);
    expect(rest).toEqual([]);
  }, 60_000);

  test('shows topics and groups at work', async () => {
    expect(await run('topics')).toMatch(/first\n.*second\n/);
    expect(await run('groups')).toMatch(/^workers +broker-a +5 +30s +1s,10s,1m /m);
  });

  test('gives a message up, and sends it again once', async () => {
    expect(await runProgram('dead-letter')).toBe('scans 2 cannot be read\n');
    const shown = await run('dead-letters');
    expect(shown).toMatch(/ 500ms times 2 up to 10m /);
    expect(shown.match(/not readable/g)).toHaveLength(2);
  });

  test('broadcasts, with progress on the broker or in the application', async () => {
    expect(await runProgram('broadcast')).toBe('12.50\n12.50\n');
  });

  test('delays a message and takes it back', async () => {
    expect(await run('delay')).toMatch(/"recalled":"[0-9a-f]{32}"/);
    expect(await runProgram('delay-sdk')).toBe('later\n');
  });

  test('delivers the most urgent message first', async () => {
    await run('priority');
    expect(await runProgram('priority-sdk')).toBe('9 the shop is down\n1 change a colour\n');
  });

  test('asks for an answer', async () => {
    expect(await runProgram('request')).toBe('3.20\n');
  });

  test('sends many at once, and compressed', async () => {
    const [first, second, third, ...read] = (await runProgram('compression')).trim().split('\n');
    expect([first, second]).toEqual(['stored', 'stored']);
    expect(third).toMatch(/empty body/);
    expect(read.sort()).toEqual(['long 120000', 'short 11']);
  });

  test('drops repeats by key', async () => {
    const shown = await run('deduplication');
    expect(shown).toContain('not stored: it repeats this message');
    expect(shown.match(/charge-7 {2}charge customer 42\n/g)).toHaveLength(1);
  });

  test('retains values', async () => {
    expect(await run('compaction')).toMatch(/^flags +broker-a +any, compacted /m);
    expect(await runProgram('compaction-sdk')).toBe("{ 'dark-mode': 'on' }\n");
  });

  test('filters by SQL', async () => {
    expect(await runProgram('filter')).toBe('large\n');
  });

  test('keeps the order of keys', async () => {
    const lines = 'account-7 opened, account-7 paid, account-7 closed\n';
    expect(await runProgram('ordered')).toBe(lines);
    expect(await run('rocketmq')).toContain('shippers');
    expect(await run('ordered-group')).toMatch(/^strict +broker-a +5 .* yes, stops /m);
  });

  test('runs transactions, and lists them', async () => {
    expect(await runProgram('transaction')).toBe('the card was refused\norder 7 is paid\n');
    expect(await run('transactions')).toMatch(/ committed .*"cause":"the card was refused"/s);
  });

  test('finds messages by key, and traces them', async () => {
    expect(await run('find')).toMatch(/ order-7 customer-42 {2}bill of order 7\n$/);
    expect(await run('trace')).toMatch(/ stored +bills .* from 127\.0\.0\.1\n$/);
  });

  test('shares queues among the members of a group that pull', async () => {
    const lines = ['reads 4 queues', '12 apples', 'leaves 4 queues', ''];
    expect(await runProgram('pull-group')).toBe(lines.join('\n'));
  });

  test('shows metrics and readiness', async () => {
    expect(await run('metrics')).toMatch(/rocketmq_messages_in_total\{.*\nready\n$/);
  });

  test('has a slave that follows, and lets go of it', async () => {
    await using master = await ChildBroker.start({
      command: 'start',
      data: join(folder.path, 'master'),
    });
    const output = await run('slave', master);
    expect(output).toMatch(/^broker-a +0 +master +1 +0 1 .*\nbroker-a +1 +slave /m);
    expect(output).toMatch(/^in sync: +0\n$/m);
    expect(await run('repair', master)).toBe('');
    expect(await run('acknowledge', master)).toMatch(/ async .*\n(.|\n)* local /);
    const [command, args] = ternCommand('cluster', 'health', '--nameserver', master.nameserver);
    await using health = new Child(command, args);
    expect((await health.exited).code).toBe(0);
    expect(health.stdout).toBe('healthy: 1 broker\n');
  });

  test('checks the log', async () => {
    expect(await run('log')).toMatch(/damaged ranges: 0\n\{"position":0,/);
  });

  test('sends and receives with grpcurl', async (context) => {
    const installed = spawnSync('grpcurl', ['-version']).error === undefined;
    skipWhen(context, installed ? undefined : 'grpcurl is not installed');
    expect(await run('grpcurl')).toContain('"body": "aGVsbG8="');
  });
});

describe('every README', () => {
  const FILES = ['README.md', 'README.zh-CN.md'];

  test('has the same commands', () => {
    for (const language of ['sh', 'ts'] as const) {
      const [english, chinese] = FILES.map((file) => blocksOf(file, language));
      expect(chinese).toEqual(english);
    }
  });

  test.each(FILES)('%s links to files that exist', (file) => {
    const text = readFileSync(join(ROOT, file), 'utf8');
    const links = [...text.matchAll(/\]\((?!https?:)([^)#]+)\)/g)].map(([, path = '']) => path);
    expect(links.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
  });
});
