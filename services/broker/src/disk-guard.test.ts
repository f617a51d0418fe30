import { join } from 'node:path';
import { createLogger, ManualClock, nodeDisk } from '@ternmq/runtime';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { diskError, FaultyDisk } from '../../../test/support/faulty-disk.ts';
import { TempDir } from '../../../test/support/temp-dir.ts';
import { DiskGuard } from './disk-guard.ts';
import { CommitLog } from './log/commit-log.ts';
import { LOG_DEFAULTS } from './log/log-options.ts';
import { RecordTag } from './log/record.ts';

const GIB = 2 ** 30;

let temp: TempDir;
let disk: FaultyDisk;
let clock: ManualClock;
let log: CommitLog;
let guard: DiskGuard;

beforeEach(async () => {
  temp = await TempDir.create('disk-guard');
  disk = new FaultyDisk();
  clock = new ManualClock();
  ({ log } = await CommitLog.open(
    { ...LOG_DEFAULTS, folder: temp.path, segmentBytes: 16 << 20 },
    { disk, clock },
    undefined,
    () => {},
  ));
});

afterEach(async () => {
  guard.close();
  await log.close();
  await temp[Symbol.asyncDispose]();
});

async function guarded(totalBytes: number, freeBytes: number): Promise<void> {
  disk.totalBytes = totalBytes;
  disk.freeBytes = freeBytes;
  guard = await DiskGuard.create(temp.path, {
    disk,
    clock,
    log,
    logger: createLogger({ level: 'silent' }),
  });
}

async function measure(freeBytes: number): Promise<void> {
  disk.freeBytes = freeBytes;
  clock.advance(1000);
  // One turn for the measurement.
  await guard.check();
  await new Promise(setImmediate);
}

const hasBallast = (): boolean => nodeDisk.exists(join(temp.path, 'ballast'));

test.each([
  // Below 10 GiB the ratio counts, above it the bytes.
  [1 * GIB, 0.3, 'none', false],
  [1 * GIB, 0.2, 'expire', false],
  [1 * GIB, 0.14, 'clean', false],
  [1 * GIB, 0.09, 'clean', true],
  [1000 * GIB, 0.2, 'expire', false],
  [1000 * GIB, 0.05, 'expire', false],
  [1000 * GIB, 0.0039, 'clean', false],
  [1000 * GIB, 0.0009, 'clean', true],
] as const)(
  'of %d bytes, with a part of %d free: pressure %s, refuses %s',
  async (total, part, pressure, refuses) => {
    await guarded(total, Math.floor(total * part));
    expect(guard.pressure).toBe(pressure);
    expect(guard.refusing).toBe(refuses);
    expect(guard.refusal()?.reason).toBe(refuses ? 'DISK_FULL' : undefined);
  },
);

test('refuses while little space is left, and accepts again by itself', async () => {
  await guarded(GIB, 0.5 * GIB);
  expect(guard.refusal()).toBeUndefined();
  await measure(0.05 * GIB);
  expect(guard.refusal()?.reason).toBe('DISK_FULL');
  await measure(0.5 * GIB);
  expect(guard.refusal()).toBeUndefined();
});

test('counts what was written since the last measurement', async () => {
  await guarded(GIB, 0.1 * GIB + 100_000);
  expect(guard.refusal()).toBeUndefined();
  log.append(RecordTag.MESSAGE, Buffer.alloc(200_000));
  expect(guard.refusal()?.reason).toBe('DISK_FULL');
  await log.durableAt(log.next);
});

test('a log that finds the disk full has messages refused at once, and gets the ballast', async () => {
  await guarded(GIB, 0.5 * GIB);
  expect(hasBallast()).toBe(true);
  disk.faults = (operation, path) =>
    operation === 'write' && path.includes('/log/') && hasBallast()
      ? diskError('ENOSPC')
      : undefined;
  log.append(RecordTag.STATE, Buffer.alloc(100));
  log.flush();
  expect(log.full).toBe(true);
  expect(guard.refusal()?.reason).toBe('DISK_FULL');
  expect(hasBallast()).toBe(false);
  clock.advance(100);
  await log.durableAt(log.next);
  expect(log.full).toBe(false);
  await measure(0.5 * GIB);
  expect(guard.refusal()).toBeUndefined();
  expect(hasBallast()).toBe(true);
});

test('no ballast is laid down where there is hardly room for it, and none is half there', async () => {
  await guarded(GIB, 0.11 * GIB);
  expect(hasBallast()).toBe(false);
  disk.faults = (operation, path) =>
    operation === 'write' && path.endsWith('ballast') ? diskError('ENOSPC') : undefined;
  await measure(0.5 * GIB);
  expect(hasBallast()).toBe(false);
  expect(guard.refusal()).toBeUndefined();
});

test('a disk that cannot be measured changes nothing', async () => {
  await guarded(GIB, 0.5 * GIB);
  disk.space = () => Promise.reject(diskError('EIO'));
  await guard.check();
  expect(guard.refusal()).toBeUndefined();
});
