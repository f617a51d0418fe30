import { ManualClock, nodeDisk } from '@ternmq/runtime';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { TempDir } from '../../../../test/support/temp-dir.ts';
import type { GroupView } from './coordinator.ts';
import { FixedCoordinator } from './fixed-coordinator.ts';

const clock = new ManualClock(0);
let dir: TempDir;
let masterAt: string | undefined;

beforeEach(async () => {
  dir = await TempDir.create('fixed');
  masterAt = undefined;
});
afterEach(() => dir[Symbol.asyncDispose]());

async function join(id: number): Promise<{ coordinator: FixedCoordinator; views: GroupView[] }> {
  const findMaster = () => Promise.resolve(masterAt);
  const coordinator = new FixedCoordinator(dir.path, { disk: nodeDisk, clock, findMaster });
  const views: GroupView[] = [];
  await coordinator.start({ id, address: `host-${id}:1` }, (view) => views.push(view));
  return { coordinator, views };
}

test('member 0 leads, with an epoch above all in its log, and nothing takes that away', async () => {
  const { coordinator, views } = await join(0);
  expect(await coordinator.campaign(7)).toBe(8);
  expect(views.at(-1)).toMatchObject({ epoch: 8, master: { id: 0 }, inSync: [0] });
  expect(coordinator.leadsUntilMs).toBe(Number.POSITIVE_INFINITY);
  await coordinator.close();
});

test('the in-sync set is kept over restarts, and changes only under its epoch and from what it is', async () => {
  const first = await join(0);
  const epoch = (await first.coordinator.campaign(0)) ?? 0;
  await expect(first.coordinator.setInSync(epoch - 1, [0], [0, 1])).rejects.toMatchObject({
    reason: 'STALE_EPOCH',
  });
  await expect(first.coordinator.setInSync(epoch, [0, 2], [0, 1])).rejects.toMatchObject({
    reason: 'IN_SYNC_SET_CHANGED',
  });
  await first.coordinator.setInSync(epoch, [0], [0, 1]);
  await first.coordinator.close();
  const second = await join(0);
  expect(second.views.at(-1)).toMatchObject({ inSync: [0, 1] });
  expect(second.views.at(-1)?.members.map(({ id }) => id)).toEqual([0, 1]);
  await second.coordinator.close();
});

test('a slave never leads, and learns where its master is from the name servers', async () => {
  const { coordinator, views } = await join(2);
  expect(await coordinator.campaign(0)).toBeUndefined();
  expect(views.at(-1)?.master).toBeUndefined();
  masterAt = 'host-0:1';
  clock.advance(1000);
  await new Promise((resolve) => setImmediate(resolve));
  expect(views.at(-1)?.master).toMatchObject({ id: 0, address: 'host-0:1' });
  await expect(coordinator.resign()).rejects.toMatchObject({ reason: 'FIXED_ROLES' });
  await coordinator.close();
  expect(clock.pending).toBe(0);
});
