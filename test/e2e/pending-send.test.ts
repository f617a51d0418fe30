import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ChildBroker, ROOT } from '../support/child-broker.ts';
import { Child, expectSuccess } from '../support/child-process.ts';
import { eventually } from '../support/eventually.ts';
import { TempDir } from '../support/temp-dir.ts';

const WITHIN_MS = 30_000;

// Sends once while the broker is there, and once, when it is told to, while it is not.
const PROGRAM = `
  import { once } from 'node:events';
  import { Client } from '@ternmq/sdk';
  const client = new Client({ nameservers: process.argv[1] });
  const producer = client.producer();
  await producer.send('pending', { body: 'first' }, { deadlineMs: 60_000 });
  console.log('first');
  await once(process.stdin.resume(), 'end');
  await producer.send('pending', { body: 'second' }, { deadlineMs: 60_000 });
  console.log('second');
  await client.close();
`;

test('a program that waits for a send lives until the broker is back and the outcome there', async () => {
  await using data = await TempDir.create('data');
  await using broker = await ChildBroker.start({ command: 'start', data: data.path });
  const args = ['--conditions=source', '--input-type=module', '-e', PROGRAM, broker.nameserver];
  await using program = new Child(process.execPath, args, { cwd: join(ROOT, 'test') });
  const printed = (text: string) => program.stdout.includes(text) || undefined;
  await eventually('the first message is sent', () => printed('first'), { withinMs: WITHIN_MS });
  await broker.kill();
  program.endInput();
  await broker.restart();
  await expectSuccess(program, 'the program', WITHIN_MS);
  expect(program.stdout).toBe('first\nsecond\n');
});
