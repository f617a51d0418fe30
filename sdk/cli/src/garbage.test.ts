import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

test('V8 knows the flag that is set at start', () => {
  const source = readFileSync(new URL('garbage.ts', import.meta.url), 'utf8');
  const [, flag] = /setFlagsFromString\(`(--[a-z-]+)=/.exec(source) ?? [];
  expect(flag).toBeDefined();
  const { status, stderr } = spawnSync(process.execPath, [`${flag}=4`, '-e', ''], {
    encoding: 'utf8',
  });
  expect(stderr).toBe('');
  expect(status).toBe(0);
});
