import { execFileSync } from 'node:child_process';
import { closeSync, fdatasyncSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { MountedDisk, whyNoLoopDisk } from './mounted-disk.ts';
import { skipWhen } from './skip.ts';
import { SlowDevice, whyNoSlowDevice } from './slow-device.ts';

test('a slowed device writes as fast as its limit says, and at full speed afterwards', async (context) => {
  skipWhen(context, whyNoLoopDisk() ?? whyNoSlowDevice());
  using disk = await MountedDisk.ext4(64);
  const file = openSync(join(disk.path, 'file'), 'w');
  const writeMiB = () => {
    const begin = performance.now();
    writeSync(file, Buffer.alloc(1024 * 1024, 1));
    fdatasyncSync(file);
    return performance.now() - begin;
  };
  execFileSync('sync', [disk.path]);
  {
    using slow = new SlowDevice(disk.device);
    slow.add(process.pid);
    slow.limit(4 * 1024 * 1024);
    expect(writeMiB() + writeMiB()).toBeGreaterThan(300);
  }
  expect(Math.min(writeMiB(), writeMiB(), writeMiB())).toBeLessThan(200);
  closeSync(file);
});
