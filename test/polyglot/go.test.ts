import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { ChildBroker } from '../support/child-broker.ts';
import { skipWhen } from '../support/skip.ts';
import { TempDir } from '../support/temp-dir.ts';
import { expectExchange } from './exchange.ts';
import {
  copyProgram,
  generateStubs,
  goEnvironment,
  goTools,
  run,
  type Toolchain,
} from './toolchain.ts';

let toolchain: Toolchain;
let program: TempDir;

beforeAll(async () => {
  toolchain = goTools('protoc-gen-go', 'protoc-gen-go-grpc');
  program = await TempDir.create('go');
  return () => program[Symbol.asyncDispose]();
});

test('a Go program with generated stubs sends and receives', {
  timeout: 600_000,
}, async (context) => {
  if ('missing' in toolchain) return skipWhen(context, toolchain.missing);
  const env = goEnvironment(toolchain.folder);
  copyProgram('go', program.path);
  generateStubs('go', program.path, env);
  run('go', ['build', '-o', 'client', '.'], { cwd: program.path, env });
  await using data = await TempDir.create('data');
  await using broker = await ChildBroker.start({ command: 'start', data: data.path });
  await expectExchange('go', broker.address, (...args) =>
    run(join(program.path, 'client'), args, { withinMs: 60_000 }),
  );
  expect(await broker.stop()).toEqual({ code: 0, signal: null });
});
