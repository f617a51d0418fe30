// Plants every canary in a process of its own, and expects that some seed finds it.

import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { CANARIES } from './canaries.ts';

/** How long seeds are tried for each, in seconds: enough for the slowest machine. */
const SECONDS_MAX = 150;
const AT_ONCE = 2;

/** Returns how many were not found. */
export async function expectCanaries(): Promise<number> {
  const names = Object.keys(CANARIES);
  const missed: string[] = [];
  const next = async (): Promise<void> => {
    for (let name = names.shift(); name !== undefined; name = names.shift()) {
      const begunMs = performance.now();
      const found = await isFound(name);
      const seconds = ((performance.now() - begunMs) / 1000).toFixed(1);
      console.log(`${found ? 'found ' : 'MISSED'} ${name} (${CANARIES[name]?.what}), ${seconds} s`);
      if (!found) missed.push(name);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, next));
  const count = Object.keys(CANARIES).length;
  console.log(`${count - missed.length} passed, ${missed.length} failed`);
  return missed.length;
}

function isFound(canary: string): Promise<boolean> {
  const folder = import.meta.dirname;
  const options = ['--conditions=source', '--import', join(folder, 'modules.ts')];
  const run = ['--canary', canary, '--seed', '1', '--seconds', String(SECONDS_MAX)];
  const child = spawn(process.execPath, [...options, join(folder, 'main.ts'), ...run], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let last = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    last = (last + text).slice(-200);
  });
  // A run that ends otherwise, because its canary could not be planted, has found nothing.
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve(code === 1 && / 1 failed\n$/.test(last)));
  });
}
