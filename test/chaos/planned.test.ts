import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Etcd } from '../support/etcd.ts';
import { skipWhen } from '../support/skip.ts';
import { TempDir } from '../support/temp-dir.ts';
import { GroupProcesses } from './group-processes.ts';
import { LoadOnGroup } from './load-on-group.ts';
import { SendProbe } from './send-probe.ts';

const TOPIC = 'planned';

test('all members are restarted one after the other, and one is wiped, under load: no send fails, and all logs are the same', async (context) => {
  skipWhen(context, Etcd.missing());
  await using folder = await TempDir.create('planned');
  await using etcd = await Etcd.start(join(folder.path, 'etcd'));
  await using group = await GroupProcesses.start({
    folder: folder.path,
    etcd,
    members: 3,
    lease: '2s',
  });
  const { nameserver } = group.nameServer;
  const { admin } = group.client;
  await admin.createTopic('probe', { queues: 1 });
  await using load = await LoadOnGroup.start(group, TOPIC, folder.path, { perSecond: 4000 });
  await using probe = new SendProbe(nameserver, 'probe');

  for (const [id, member] of group.members.entries()) {
    if ((await group.leader()) === id) {
      const to = await admin.moveLeadership('b1');
      expect(to).not.toBe(id);
      while ((await group.leader()) !== to);
    }
    expect(await member.stop()).toEqual({ code: 0, signal: null });
    await member.restart();
    await group.inSync([0, 1, 2]);
  }
  const wiped = ((await group.leader()) + 1) % 3;
  await group.members[wiped]?.kill();
  rmSync(group.folders[wiped] as string, { recursive: true });
  const begin = performance.now();
  await group.members[wiped]?.restart();
  await group.inSync([0, 1, 2]);
  console.log(`the wiped member is in sync after ${Math.round(performance.now() - begin)} ms`);

  const counts = await load.judge();
  expect(probe.failures).toEqual([]);
  expect([counts.unknown ?? 0, counts.fail ?? 0]).toEqual([0, 0]);
  await group.sameLogs();
});
