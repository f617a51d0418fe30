import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { ManualClock, seededRandom } from '@ternmq/runtime';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { seedFor } from '../../../../test/support/seed.ts';
import { StateDriver, StateRig } from '../../../../test/support/state-rig.ts';
import { TempDir } from '../../../../test/support/temp-dir.ts';
import { openLmdbStore } from './lmdb-store.ts';

let temp: TempDir;
let folder: string;
let clock: ManualClock;

beforeEach(async () => {
  temp = await TempDir.create('open-state');
  folder = join(temp.path, 'data');
  clock = new ManualClock();
});

afterEach(async () => {
  await temp[Symbol.asyncDispose]();
});

const open = (): Promise<StateRig> => StateRig.open({ folder, clock, openStore: openLmdbStore });

describe('a state store that is lost or old', () => {
  const seed = seedFor('open state');

  test.each([0, 1, 2, 3])(
    'gives the same state from the log, after a random life of a broker (%i)',
    async (round) => {
      const random = seededRandom(seed + round);
      let rig = await open();
      const driver = new StateDriver(rig, random, clock);
      const copies: string[] = [];
      for (let i = 0; i < 1200; i++) {
        driver.step();
        if (random.integer(60) === 0) {
          await rig.writer.write();
          if (copies.length < 6) {
            const copy = join(temp.path, `state-${copies.length}`);
            cpSync(join(folder, 'state'), copy, { recursive: true });
            copies.push(copy);
          }
        }
        if (random.integer(20) === 0) await rig.log.durableAt(rig.log.next);
        if (random.integer(400) === 0) {
          await (random.integer(2) === 0 ? rig.close() : rig.crash());
          rig = await open();
          driver.rig = rig;
        }
      }
      await rig.log.durableAt(rig.log.next);
      const live = await rig.dump();
      expect(await driver.wrong()).toBeUndefined();
      await rig.close();

      const reopened = await open();
      expect(reopened.opened.rebuilt).toBe(false);
      expect(await reopened.dump()).toEqual(live);
      await reopened.close();

      for (const copy of copies) {
        rmSync(join(folder, 'state'), { recursive: true });
        cpSync(copy, join(folder, 'state'), { recursive: true });
        const older = await open();
        expect(older.opened.rebuilt).toBe(false);
        expect(await older.dump(), copy).toEqual(live);
        await older.close();
      }

      rmSync(join(folder, 'state'), { recursive: true });
      const rebuilt = await open();
      expect(rebuilt.opened.rebuilt).toBe(true);
      expect(await rebuilt.dump()).toEqual(live);
      driver.rig = rebuilt;
      expect(await driver.wrong()).toBeUndefined();
      await rebuilt.close();
    },
  );

  test.each([0, 1, 2, 3])(
    'gives the same state also after retention has removed old segments (%i)',
    async (round) => {
      const random = seededRandom(seed + 100 + round);
      let rig = await open();
      const driver = new StateDriver(rig, random, clock);
      let copy: string | undefined;
      for (let i = 0; i < 2500; i++) {
        driver.step();
        if (random.integer(50) === 0) await rig.writer.write();
        if (random.integer(100) === 0) {
          await rig.log.durableAt(rig.log.next);
          await rig.retention.run();
          expect(await driver.wrong()).toBeUndefined();
          copy = join(temp.path, 'copy');
          rmSync(copy, { recursive: true, force: true });
          cpSync(join(folder, 'state'), copy, { recursive: true });
        }
        if (random.integer(500) === 0) {
          await (random.integer(2) === 0 ? rig.close() : rig.crash());
          if (random.integer(2) === 0) rmSync(join(folder, 'state'), { recursive: true });
          rig = await open();
          driver.rig = rig;
        }
      }
      await rig.log.durableAt(rig.log.next);
      expect(rig.log.start).toBeGreaterThan(0);
      const live = await rig.dump();
      expect(await driver.wrong()).toBeUndefined();
      await rig.close();

      for (const from of ['nothing', copy as string]) {
        rmSync(join(folder, 'state'), { recursive: true });
        if (from !== 'nothing') cpSync(from, join(folder, 'state'), { recursive: true });
        const again = await open();
        expect(again.opened.rebuilt).toBe(from === 'nothing');
        expect(await again.dump(), from).toEqual(live);
        driver.rig = again;
        expect(await driver.wrong()).toBeUndefined();
        await again.close();
      }
    },
  );
});
