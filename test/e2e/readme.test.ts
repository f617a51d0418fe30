// The commands of the README do what it says: its blocks are taken from the file and run in a shell, against a server
// on other ports. Blocks that start or test the whole project are what runs this test.

import { existsSync, readFileSync, symlinkSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ChildBroker, ROOT, ternCommand } from '../support/child-broker.ts';
import { Child } from '../support/child-process.ts';
import { skipWhen } from '../support/skip.ts';
import { TempDir } from '../support/temp-dir.ts';

const BLOCK = /<!-- run: ([a-z-]+) -->\n```sh\n([\s\S]*?)```/g;
const RUN_MS_MAX = 60_000;

/** The blocks of a README by their ids. */
function blocksOf(file: string): Map<string, string> {
  const text = readFileSync(join(ROOT, file), 'utf8');
  return new Map([...text.matchAll(BLOCK)].map(([, id = '', commands = '']) => [id, commands]));
}

const BLOCKS = blocksOf('README.md');
let folder: TempDir;
let server: ChildBroker;

/** Runs a block in the test's folder; `npx tern` is the clone's command. */
async function run(id: string): Promise<string> {
  const block = BLOCKS.get(id);
  if (block === undefined) throw new Error(`the README has no block ${id}`);
  const metrics = new URL(server.page('/')).host;
  const commands = block
    .replaceAll('127.0.0.1:10911', server.address)
    .replaceAll('127.0.0.1:5557', metrics);
  const [command, args] = ternCommand();
  const npx = `npx() { shift; ${[command, ...args].map((word) => `'${word}'`).join(' ')} "$@"; }`;
  await using shell = new Child('bash', ['-c', `set -euo pipefail\n${npx}\n${commands}`], {
    cwd: folder.path,
    env: { TERN_NAMESERVER: server.nameserver },
  });
  shell.endInput();
  const { code } = await shell.exited;
  if (code !== 0) throw new Error(`block ${id} ended with ${code}\n${shell.stdout}${shell.stderr}`);
  return shell.stdout;
}

beforeAll(async () => {
  folder = await TempDir.create('readme');
  server = await ChildBroker.start({ command: 'start', data: join(folder.path, 'data') });
});

afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});
