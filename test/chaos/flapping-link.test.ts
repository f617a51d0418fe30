import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { seededRandom } from '@ternmq/runtime';
import { expect, test } from 'vitest';
import { Etcd } from '../support/etcd.ts';
import { roundsOr, seedFor } from '../support/seed.ts';
import { skipWhen } from '../support/skip.ts';
import { TempDir } from '../support/temp-dir.ts';
import { GroupProcesses } from './group-processes.ts';
import { LoadOnGroup } from './load-on-group.ts';
import { RoleWatch } from './role-watch.ts';

const TOPIC = 'flapping';
/** How long the links flap for each round: two minutes in the full run. */
const ROUND_MS = 6000;
const PAUSE_MS_MAX = 600;

test('links between members, and to their clients, that break all the time lose nothing and move no leadership', async (context) => {
  skipWhen(context, Etcd.missing());
  await using folder = await TempDir.create('flapping');
  await using etcd = await Etcd.start(join(folder.path, 'etcd'));
  await using group = await GroupProcesses.start({
    folder: folder.path,
    etcd,
    members: 3,
    lease: '2s',
    linkHost: '127.0.0.2',
  });
  const { admin } = group.client;
  await using load = await LoadOnGroup.start(group, TOPIC, folder.path, { perSecond: 4000 });
  const leader = await group.leader();
  const { epoch } = await admin.describeBroker('b1', { id: leader });
  await using watch = new RoleWatch(group.addresses);
  const random = seededRandom(seedFor('flapping link'));
  let cuts = 0;
  const untilMs = performance.now() + roundsOr(20) * ROUND_MS;
  while (performance.now() < untilMs) {
    await sleep(random.integer(PAUSE_MS_MAX));
    group.links[random.integer(group.links.length)]?.cut();
    cuts++;
    load.expectRunning();
  }
  const counts = await load.judge();
  await group.inSync([0, 1, 2]);
  const after = await admin.describeBroker('b1', { id: leader });
  expect({ leading: after.leading, epoch: after.epoch }).toEqual({ leading: true, epoch });
  expect(watch.doubleMasters).toEqual([]);
  expect(watch.restless([])).toEqual([]);
  console.log(`${cuts} cuts`);
  expect(counts.ack).toBeGreaterThan(cuts);
  await group.sameLogs();
});
