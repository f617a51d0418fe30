import { join } from 'node:path';
import { ManualClock, seededRandom } from '@ternmq/runtime';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { diskError } from '../../../../test/support/faulty-disk.ts';
import { StateDriver } from '../../../../test/support/state-driver.ts';
import { StateRig } from '../../../../test/support/state-rig.ts';
import { TempDir } from '../../../../test/support/temp-dir.ts';
import { openMemoryStore } from './memory-store.ts';
import type { StateStore } from './store.ts';

let temp: TempDir;
let clock: ManualClock;
let store: StateStore;
let rig: StateRig;
let full = false;

beforeEach(async () => {
  temp = await TempDir.create('state-writer');
  clock = new ManualClock();
  full = false;
  const memory = openMemoryStore();
  store = {
    ...memory,
    commit: (batch) => (full ? Promise.reject(diskError('ENOSPC')) : memory.commit(batch)),
  };
  rig = await StateRig.open({ folder: join(temp.path, 'data'), clock, openStore: () => store });
  const driver = new StateDriver(rig, seededRandom(5), clock);
  for (let i = 0; i < 200; i++) driver.step();
});

afterEach(async () => {
  await rig.crash();
  await temp[Symbol.asyncDispose]();
});

const turns = async (): Promise<void> => {
  for (let i = 0; i < 20; i++) await new Promise(setImmediate);
};

test('a store whose disk is full gets its batch when there is room, and nothing is missing in it', async () => {
  await rig.log.durableAt(rig.log.next);
  full = true;
  const writing = rig.writer.write();
  for (let i = 0; i < 3; i++) {
    await turns();
    expect(rig.writer.position).toBe(0);
    clock.advance(1000);
  }
  full = false;
  await turns();
  clock.advance(1000);
  await writing;
  expect(rig.writer.position).toBe(rig.log.next);
  const live = await rig.dump();
  const again = await StateRig.open({
    folder: join(temp.path, 'data'),
    clock,
    openStore: () => store,
  });
  expect(again.opened.rebuilt).toBe(false);
  expect(await again.dump()).toEqual(live);
  await again.crash();
});

test('closing does not wait for room: the log has what the store lacks', async () => {
  full = true;
  const writing = expect(rig.writer.write()).rejects.toMatchObject({ code: 'ENOSPC' });
  await turns();
  const closing = rig.writer.close();
  await turns();
  clock.advance(1000);
  await Promise.all([writing, closing]);
});

test('the store never holds anything that the log could still lose', async () => {
  const position = rig.writer.position;
  const writing = rig.writer.write();
  expect(rig.log.durable).toBe(position);
  await writing;
  expect(rig.log.durable).toBeGreaterThanOrEqual(rig.writer.position);
});
