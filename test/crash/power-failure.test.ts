// The power of the disk is cut under full load: what was not synced is gone, and every later write and
// sync fails with EIO. The broker is stopped for that moment: an fdatasync that is under way while ext4 is shut
// down may report success for data that is gone (10 of 60 times with nothing but write and fdatasync in a loop, and
// none when stopped), which no disk that loses its power does.

import { expect, test } from 'vitest';
import { eventually } from '../support/eventually.ts';
import { MountedDisk, whyNoLoopDisk } from '../support/mounted-disk.ts';
import { roundsOr, seedFor } from '../support/seed.ts';
import { skipWhen } from '../support/skip.ts';
import { whileStopped } from '../support/stopped-process.ts';
import { crashRounds } from './rounds.ts';

const DISK_MIB = 4096;
const EXIT_MS_MAX = 5000;

test('a power failure loses nothing that was acknowledged after a sync', async (context) => {
  skipWhen(context, whyNoLoopDisk());
  using disk = await MountedDisk.ext4(DISK_MIB);
  await crashRounds({
    flush: 'sync',
    rounds: roundsOr(10),
    seed: seedFor('power failure'),
    data: disk.path,
    aliveMs: [50, 2000],
    crash: async (broker, round) => {
      await whileStopped(broker.pid, () => disk.cutPower());
      if (round % 2 === 0) {
        // A failed sync is final: the broker must end by itself rather than go on without a disk.
        const exit = await eventually('the broker ends after the disk failed', () => broker.exit, {
          withinMs: EXIT_MS_MAX,
        });
        expect(exit).toMatchObject({ signal: null });
        expect(exit.code).not.toBe(0);
      }
      await broker.kill();
      disk.powerOn();
    },
  });
});

test('the same failure without syncs is seen to lose messages', async (context) => {
  skipWhen(context, whyNoLoopDisk());
  using disk = await MountedDisk.ext4(DISK_MIB);
  const { report } = await crashRounds({
    flush: 'async',
    // One alone may fall right behind a flush.
    rounds: 3,
    seed: seedFor('power failure without syncs'),
    data: disk.path,
    aliveMs: [1000, 1200],
    crash: async (broker) => {
      await whileStopped(broker.pid, () => disk.cutPower());
      await broker.kill();
      disk.powerOn();
    },
    lossExpected: true,
  });
  // Gone, or replaced by others that came later.
  expect(report.faults.lost.count + report.faults.moved.count).toBeGreaterThan(0);
});
