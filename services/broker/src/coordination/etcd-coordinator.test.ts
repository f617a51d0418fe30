import { join } from 'node:path';
import { createLogger, systemClock } from '@ternmq/runtime';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Etcd } from '../../../../test/support/etcd.ts';
import { eventually } from '../../../../test/support/eventually.ts';
import { skipWhen } from '../../../../test/support/skip.ts';
import { TempDir } from '../../../../test/support/temp-dir.ts';
import type { GroupView } from './coordinator.ts';
import { EtcdCoordinator } from './etcd-coordinator.ts';

const LEASE_MS = 1000;
const SOON = { withinMs: 8000, everyMs: 10 };
let dir: TempDir;
let etcd: Etcd;
let joined: Member[];

interface Member {
  readonly id: number;
  readonly coordinator: EtcdCoordinator;
  view: GroupView;
}

beforeEach(async (context) => {
  skipWhen(context, Etcd.missing());
  dir = await TempDir.create('etcd');
  etcd = await Etcd.start(join(dir.path, 'etcd'));
  joined = [];
});
afterEach(async () => {
  for (const { coordinator } of joined ?? []) await coordinator.close();
  await etcd?.[Symbol.asyncDispose]();
  await dir?.[Symbol.asyncDispose]();
});

async function joinGroup(id: number, folder = `folder-${id}`): Promise<Member> {
  const coordinator = new EtcdCoordinator(
    { endpoints: [etcd.address], cluster: 'test', group: 'b1', leaseMs: LEASE_MS, folder },
    { clock: systemClock, logger: createLogger({ level: 'silent' }) },
  );
  const member: Member = {
    id,
    coordinator,
    view: { epoch: 0, master: undefined, inSync: [], members: [] },
  };
  joined.push(member);
  await coordinator.start({ id, address: `host-${id}:1` }, (view) => {
    member.view = view;
  });
  return member;
}

test('of members that try at once one leads, and each leadership has a higher epoch', async () => {
  const members = await Promise.all([joinGroup(0), joinGroup(1), joinGroup(2)]);
  const epochs = await Promise.all(members.map(({ coordinator }) => coordinator.campaign(5)));
  expect(epochs.filter((epoch) => epoch !== undefined)).toEqual([6]);
  const leader = members[epochs.indexOf(6)] as Member;
  for (const member of members) {
    await eventually(
      'all know who leads',
      () => member.view.master?.id === leader.id || undefined,
      SOON,
    );
    expect(member.view).toMatchObject({ epoch: 6, inSync: [leader.id] });
    expect(member.view.members.map(({ id, alive }) => [id, alive])).toEqual([
      [0, true],
      [1, true],
      [2, true],
    ]);
  }
  expect(leader.coordinator.leadsUntilMs).toBeGreaterThan(systemClock.monotonicMs());
});

test('when the leader is gone an in-sync member follows it, and no other', async () => {
  const [a, b, c] = [await joinGroup(0), await joinGroup(1), await joinGroup(2)];
  const epoch = (await a.coordinator.campaign(0)) ?? 0;
  await a.coordinator.setInSync(epoch, [0], [0, 1]);
  await a.coordinator.close();
  await eventually(
    'nobody leads',
    () => (b.view.master === undefined && c.view.master === undefined) || undefined,
    SOON,
  );
  expect(await c.coordinator.campaign(100)).toBeUndefined();
  expect(await b.coordinator.campaign(0)).toBe(epoch + 1);
  // Who is gone is not waited for any more.
  await eventually('the set is told', () => c.view.inSync.join() === '1' || undefined, SOON);
});

test('a leader that comes back with another data folder, before its leadership has ended, neither leads nor is in sync', async () => {
  const [a, b] = [await joinGroup(0), await joinGroup(1)];
  const epoch = (await a.coordinator.campaign(0)) ?? 0;
  await a.coordinator.setInSync(epoch, [0], [0, 1]);
  const wiped = await joinGroup(0, 'empty');
  expect(wiped.view).toMatchObject({ epoch, inSync: [1] });
  await a.coordinator.close();
  await eventually('nobody leads', () => wiped.view.master === undefined || undefined, SOON);
  expect(await wiped.coordinator.campaign(0)).toBeUndefined();
  expect(await b.coordinator.campaign(0)).toBe(epoch + 1);
});

test('a member that is about to lose what it has leaves the set first', async () => {
  const [a, b] = [await joinGroup(0), await joinGroup(1)];
  const epoch = (await a.coordinator.campaign(0)) ?? 0;
  await a.coordinator.setInSync(epoch, [0], [0, 1]);
  await b.coordinator.leaveInSync();
  await b.coordinator.leaveInSync();
  await a.coordinator.resign();
  expect(await b.coordinator.campaign(0)).toBeUndefined();
  expect(await a.coordinator.campaign(0)).toBe(epoch + 1);
});

test('a member that comes back with its own data folder is still in sync', async () => {
  const [a, b] = [await joinGroup(0), await joinGroup(1)];
  const epoch = (await a.coordinator.campaign(0)) ?? 0;
  await a.coordinator.setInSync(epoch, [0], [0, 1]);
  await b.coordinator.close();
  expect((await joinGroup(1)).view.inSync).toEqual([0, 1]);
});

test('the set changes only under the epoch that leads, and from what it is', async () => {
  const [a, b] = [await joinGroup(0), await joinGroup(1)];
  const epoch = (await a.coordinator.campaign(0)) ?? 0;
  await expect(a.coordinator.setInSync(epoch - 1, [0], [0, 1])).rejects.toMatchObject({
    reason: 'STALE_EPOCH',
  });
  await expect(b.coordinator.setInSync(epoch, [0], [0, 1])).rejects.toMatchObject({
    reason: 'STALE_EPOCH',
  });
  await expect(a.coordinator.setInSync(epoch, [0, 1], [0])).rejects.toMatchObject({
    reason: 'IN_SYNC_SET_CHANGED',
  });
  await a.coordinator.setInSync(epoch, [0], [0, 1]);
  await eventually('others learn of it', () => b.view.inSync.join() === '0,1' || undefined, SOON);
});

test('a leader that etcd cannot hear knows that before anybody else can lead', async () => {
  const [a, b] = [await joinGroup(0), await joinGroup(1)];
  const epoch = (await a.coordinator.campaign(0)) ?? 0;
  await a.coordinator.setInSync(epoch, [0], [0, 1]);
  etcd.signal('SIGSTOP');
  const until = a.coordinator.leadsUntilMs;
  await eventually(
    'its time is up',
    () => systemClock.monotonicMs() >= a.coordinator.leadsUntilMs || undefined,
    SOON,
  );
  expect(a.coordinator.leadsUntilMs - until).toBeLessThan(4 * LEASE_MS);
  const deposedMs = systemClock.monotonicMs();
  etcd.signal('SIGCONT');
  // Whoever leads next does so later, by one clock.
  const won = await eventually(
    'somebody leads',
    async () =>
      (await a.coordinator.campaign(0).catch(() => undefined)) ??
      (await b.coordinator.campaign(0).catch(() => undefined)),
    SOON,
  );
  expect(won).toBeGreaterThan(epoch);
  expect(systemClock.monotonicMs()).toBeGreaterThan(deposedMs);
});

test('goes on when etcd was restarted', async () => {
  const [a, b] = [await joinGroup(0), await joinGroup(1)];
  const epoch = (await a.coordinator.campaign(0)) ?? 0;
  await etcd.kill();
  await etcd.restart();
  await eventually(
    'the set can be changed, or another leadership has begun',
    async () => {
      const leads = systemClock.monotonicMs() < a.coordinator.leadsUntilMs;
      const now = leads ? a.view.epoch : ((await a.coordinator.campaign(0)) ?? 0);
      await a.coordinator.setInSync(now, [0], [0, 1]);
      return true;
    },
    SOON,
  );
  await eventually('others learn of it', () => b.view.inSync.join() === '0,1' || undefined, SOON);
  expect(b.view.epoch).toBeGreaterThanOrEqual(epoch);
});

test('a planned move lets only the named member lead', async () => {
  const [a, b, c] = [await joinGroup(0), await joinGroup(1), await joinGroup(2)];
  const epoch = (await a.coordinator.campaign(0)) ?? 0;
  await a.coordinator.setInSync(epoch, [0], [0, 1, 2]);
  await a.coordinator.resign(2);
  expect(a.coordinator.leadsUntilMs).toBe(0);
  expect(await b.coordinator.campaign(0)).toBeUndefined();
  expect(await a.coordinator.campaign(0)).toBeUndefined();
  expect(await c.coordinator.campaign(0)).toBe(epoch + 1);
});

test('a member that was not in sync leads only when an operator lets it', async () => {
  const [a, b] = [await joinGroup(0), await joinGroup(1)];
  const epoch = (await a.coordinator.campaign(0)) ?? 0;
  await expect(b.coordinator.allowUnclean(1)).rejects.toMatchObject({ reason: 'GROUP_HAS_MASTER' });
  await a.coordinator.close();
  await eventually('nobody leads', () => b.view.master === undefined || undefined, SOON);
  expect(await b.coordinator.campaign(0)).toBeUndefined();
  await b.coordinator.allowUnclean(1);
  expect(await b.coordinator.campaign(0)).toBe(epoch + 1);
});
