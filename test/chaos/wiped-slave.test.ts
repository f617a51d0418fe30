// A slave that has lost its disk, and comes back under load: how fast it has everything again.

import { createHash } from 'node:crypto';
import { closeSync, fdatasyncSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Etcd } from '../support/etcd.ts';
import { eventually } from '../support/eventually.ts';
import { skipWhen } from '../support/skip.ts';
import { TempDir } from '../support/temp-dir.ts';
import { GroupProcesses } from './group-processes.ts';
import { LoadOnGroup } from './load-on-group.ts';

const SHORT = process.env.CRASH_ROUNDS !== undefined;
const LOG_MIB = SHORT ? 64 : 1024;
const FILL_MS_MAX = 300_000;
const MIB = 1 << 20;
/** What the disk has to do is written in pieces of this size, each followed by a sync, as the log is. */
const PIECE_BYTES = 4 * MIB;
const CATCH_UP_MIB_MAX = 100;

/** How fast a folder's disk takes bytes, each piece of them synced; in MiB a second. */
function diskSpeed(folder: string): number {
  const path = join(folder, 'speed');
  const file = openSync(path, 'w');
  const piece = Buffer.alloc(PIECE_BYTES, 7);
  const pieces = (LOG_MIB * MIB) / PIECE_BYTES;
  const begin = performance.now();
  for (let i = 0; i < pieces; i++) {
    writeSync(file, piece);
    fdatasyncSync(file);
  }
  const seconds = (performance.now() - begin) / 1000;
  closeSync(file);
  rmSync(path);
  return LOG_MIB / seconds;
}

test('a wiped slave has everything again, byte by byte, while messages are sent', async (context) => {
  skipWhen(context, Etcd.missing());
  await using folder = await TempDir.create('wiped');
  await using etcd = await Etcd.start(join(folder.path, 'etcd'));
  await using group = await GroupProcesses.start({
    folder: folder.path,
    etcd,
    members: 3,
    lease: '2s',
  });
  const { admin } = group.client;
  const leader = await group.leader();
  const written = async () => {
    const { writtenPosition, logStartPosition } = await admin.describeBroker('b1', { id: leader });
    return writtenPosition - logStartPosition;
  };
  {
    await using fill = await LoadOnGroup.start(group, 'fill', folder.path, { bytes: 32 * 1024 });
    await eventually(
      `there are ${LOG_MIB} MiB`,
      async () => (await written()) >= LOG_MIB * MIB || undefined,
      { withinMs: FILL_MS_MAX, everyMs: 200 },
    );
    await fill.judge();
  }
  const speed = diskSpeed(folder.path);
  await using load = await LoadOnGroup.start(group, 'load', folder.path, { perSecond: 1000 });
  const slave = (leader + 1) % 3;
  await group.members[slave]?.kill();
  rmSync(group.folders[slave] as string, { recursive: true });
  group.members[slave]?.relaunch();
  const begin = performance.now();
  await eventually(
    'the slave begins to follow',
    async () =>
      (await admin.describeBroker('b1', { id: leader })).inSync.includes(slave) ? undefined : true,
    { withinMs: 10_000, everyMs: 10 },
  );
  await group.inSync([0, 1, 2]);
  const seconds = (performance.now() - begin) / 1000;
  const mib = (await written()) / MIB;
  expect((await load.judge()).ack).toBeGreaterThan(0);
  const digests = await group.sameLogs();
  const digest = createHash('sha256').update(digests.join()).digest('hex');
  const rate = mib / seconds;
  console.log(
    `${mib.toFixed(0)} MiB in ${seconds.toFixed(1)} s, the start of the process included: ${rate.toFixed(0)} MiB/s; ` +
      `the disk takes ${speed.toFixed(0)} MiB/s; ${digests.length} segments are the same on all members: ${digest}`,
  );
  // In the short run the start of the process is most of the time.
  if (!SHORT) expect(rate).toBeGreaterThan(Math.min(CATCH_UP_MIB_MAX, speed / 2));
});
