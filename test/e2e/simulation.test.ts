import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { CANARIES } from '../simulation/canaries.ts';
import { ROOT } from '../support/child-broker.ts';
import { Child, expectSuccess } from '../support/child-process.ts';

const FOLDER = join(ROOT, 'test', 'simulation');

async function simulate(...options: string[]): Promise<string> {
  await using run = new Child(process.execPath, [
    '--conditions=source',
    ...['--import', join(FOLDER, 'modules.ts')],
    join(FOLDER, 'main.ts'),
    ...options,
  ]);
  await expectSuccess(run, 'the simulation', 60_000);
  return run.stdout;
}

test('a seed is one run, whatever ran before it in the same process', async () => {
  const run = ['--seed', '7', '--minutes', '0.05'];
  const [first, again, more] = await Promise.all([
    simulate(...run),
    simulate(...run),
    simulate('--seed', '6', '--minutes', '0.05', '--runs', '2'),
  ]);
  const traces = (text: string) => text.match(/(?<=^trace )[0-9a-f]+$/gm);
  expect(traces(first)).toHaveLength(1);
  expect(traces(again)).toEqual(traces(first));
  expect(traces(more)?.[1]).toBe(traces(first)?.[0]);
});

test.each(Object.entries(CANARIES))('the known bug %s can be planted', (_, { file, find }) => {
  expect(readFileSync(join(ROOT, file), 'utf8').split(find)).toHaveLength(2);
});
