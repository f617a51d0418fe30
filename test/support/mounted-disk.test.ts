import { execFileSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  fdatasyncSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readFileSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { MountedDisk, whyNoLoopDisk, whyNoMounts } from './mounted-disk.ts';
import { skipWhen } from './skip.ts';

describe('a mounted disk', () => {
  test('loses what was not synced when its power is cut, and keeps the rest', async (context) => {
    skipWhen(context, whyNoLoopDisk());
    using disk = await MountedDisk.ext4(64);
    const path = join(disk.path, 'file');
    const file = openSync(path, 'w');
    ftruncateSync(file, 1024 * 1024);
    writeSync(file, 'synced', 0);
    fdatasyncSync(file);
    execFileSync('sync', [disk.path]);
    writeSync(file, 'not synced', 512 * 1024);
    disk.cutPower();
    expect(() => fdatasyncSync(file)).toThrow('EIO');
    closeSync(file);
    disk.powerOn();
    const content = readFileSync(path);
    expect(content.subarray(0, 6).toString()).toBe('synced');
    expect(content.subarray(512 * 1024, 512 * 1024 + 10)).toEqual(Buffer.alloc(10));
  });

  test('is full when its size is used', async (context) => {
    skipWhen(context, whyNoMounts());
    using disk = await MountedDisk.tmpfs(1);
    const file = openSync(join(disk.path, 'file'), 'w');
    const fill = () => {
      while (fstatSync(file).size <= 1024 * 1024) writeSync(file, Buffer.alloc(65_536));
    };
    expect(fill).toThrow('ENOSPC');
    closeSync(file);
  });

  test('is gone after the test, also while a file on it is open', async (context) => {
    skipWhen(context, whyNoMounts());
    const disk = await MountedDisk.tmpfs(1);
    const file = openSync(join(disk.path, 'file'), 'w');
    disk[Symbol.dispose]();
    closeSync(file);
    expect(existsSync(dirname(disk.path))).toBe(false);
    expect(readFileSync('/proc/mounts', 'utf8')).not.toContain(dirname(disk.path));
  });
});
