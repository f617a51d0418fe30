import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { eventually } from './eventually.ts';
import { skipWhen } from './skip.ts';
import { whileStopped } from './stopped-process.ts';
import { TempDir } from './temp-dir.ts';

const NO_PROC = process.platform === 'linux' ? undefined : 'seeing threads stop needs Linux';
const LOOK_MS = 50;
const WITHIN = { withinMs: 5000, everyMs: 5 };

test('a process writes nothing while it is stopped, and goes on afterwards', async (context) => {
  skipWhen(context, NO_PROC);
  await using folder = await TempDir.create('stopped-process');
  const path = join(folder.path, 'file');
  const size = (): number => statSync(path).size;
  const writing = `for (;;) require('node:fs').appendFileSync(${JSON.stringify(path)}, '.')`;
  const child = spawn(process.execPath, ['-e', writing]);
  try {
    await eventually('it writes', () => size() || undefined, WITHIN);
    let sizes: number[] = [];
    await whileStopped(child.pid as number, () => {
      const before = size();
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LOOK_MS);
      sizes = [before, size()];
    });
    const [before = 0, after] = sizes;
    expect(after).toBe(before);
    await eventually('it goes on', () => size() > before || undefined, WITHIN);
  } finally {
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
});
