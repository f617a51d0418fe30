import { ManualClock, nodeDisk } from '@ternmq/runtime';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { TempDir } from '../../../../test/support/temp-dir.ts';
import type { GroupView } from './coordinator.ts';
import { FixedCoordinator } from './fixed-coordinator.ts';
import type { KnownMember } from './stand-in-choice.ts';

const clock = new ManualClock(0);
let dir: TempDir;
let known: KnownMember[] | undefined;

beforeEach(async () => {
  dir = await TempDir.create('fixed');
  known = [];
});
afterEach(() => dir[Symbol.asyncDispose]());

async function join(id: number): Promise<{ coordinator: FixedCoordinator; views: GroupView[] }> {
  const findGroup = () =>
    known === undefined ? Promise.reject(new Error('out of reach')) : Promise.resolve(known);
  const coordinator = new FixedCoordinator(dir.path, 5000, { disk: nodeDisk, clock, findGroup });
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
  known = [master(true)];
  await pass(1000);
  expect(views.at(-1)?.master).toMatchObject({ id: 0, address: 'host-0:1' });
  await expect(coordinator.resign()).rejects.toMatchObject({ reason: 'FIXED_ROLES' });
  await coordinator.close();
  expect(clock.pending).toBe(0);
});

test('a slave keeps to its master while no name server can tell', async () => {
  const { coordinator, views } = await join(1);
  known = [master(true)];
  await pass(1000);
  known = undefined;
  for (let i = 0; i < 20; i++) await pass(1000);
  expect(views.at(-1)).toMatchObject({ master: { address: 'host-0:1' }, standsIn: false });
  await coordinator.close();
});

test('a slave stands in for a master that is gone for the time, until it lives again', async () => {
  const { coordinator, views } = await join(1);
  known = [master(true)];
  await pass(1000);
  known = [master(false)];
  for (let i = 0; i < 5; i++) await pass(1000);
  expect(views.at(-1)?.standsIn).toBe(false);
  await pass(1000);
  expect(views.at(-1)).toMatchObject({ standsIn: true, master: { address: 'host-0:1' } });
  known = [];
  await pass(1000);
  expect(views.at(-1)).toMatchObject({ standsIn: true, master: undefined });
  known = [master(true)];
  await pass(1000);
  expect(views.at(-1)).toMatchObject({ standsIn: false, master: { address: 'host-0:1' } });
  await coordinator.close();
});

function master(lives: boolean): KnownMember {
  return { id: 0, address: 'host-0:1', role: 'master', epoch: 1, lives };
}

async function pass(ms: number): Promise<void> {
  clock.advance(ms);
  await new Promise((resolve) => setImmediate(resolve));
}
