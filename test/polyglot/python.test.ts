import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { ChildBroker } from '../support/child-broker.ts';
import { skipWhen } from '../support/skip.ts';
import { TempDir } from '../support/temp-dir.ts';
import { expectExchange } from './exchange.ts';
import { copyProgram, generateStubs, python, run, type Toolchain, withPath } from './toolchain.ts';

let toolchain: Toolchain;

beforeAll(() => {
  toolchain = python();
});

test('a Python program with generated stubs sends and receives', async (context) => {
  if ('missing' in toolchain) return skipWhen(context, toolchain.missing);
  await using folder = await TempDir.create('python');
  copyProgram('python', folder.path);
  const env = withPath(toolchain.folder);
  generateStubs('python', folder.path, env);
  await using data = await TempDir.create('data');
  await using broker = await ChildBroker.start({ command: 'start', data: data.path });
  const interpreter = join(toolchain.folder, 'python');
  await expectExchange('python', broker.address, (...args) =>
    run(interpreter, [join(folder.path, 'client.py'), ...args], { env, withinMs: 60_000 }),
  );
  expect(await broker.stop()).toEqual({ code: 0, signal: null });
});
