import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { seededRandom } from '@ternmq/runtime';
import { expect, test } from 'vitest';
import { BrokerClient } from '../support/broker-client.ts';
import { Checker } from '../support/checker.ts';
import { Etcd } from '../support/etcd.ts';
import { fullScan } from '../support/full-scan.ts';
import { readLedger } from '../support/ledger-event.ts';
import { LoadProcess } from '../support/load-process.ts';
import { faultsFound, formatReport } from '../support/report.ts';
import { roundsOr, seedFor } from '../support/seed.ts';
import { skipWhen } from '../support/skip.ts';
import { TempDir } from '../support/temp-dir.ts';
import { GroupProcesses } from './group-processes.ts';
import { RoleWatch } from './role-watch.ts';

const TOPIC = 'flapping';
const PRODUCERS = 2;
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
  const { nameserver } = group.nameServer;
  const { admin } = group.client;
  await admin.createTopic(TOPIC, { queues: 4 });
  const ledger = join(folder.path, 'producers');
  await using producers = await LoadProcess.start({
    nameserver,
    topic: TOPIC,
    role: 'produce',
    ledger,
    producers: PRODUCERS,
    perSecond: 4000,
  });
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
    producers.expectRunning();
  }
  await producers.finish();
  await group.inSync([0, 1, 2]);
  const after = await admin.describeBroker('b1', { id: leader });
  expect({ leading: after.leading, epoch: after.epoch }).toEqual({ leading: true, epoch });
  expect(watch.doubleMasters).toEqual([]);
  expect(watch.restless([])).toEqual([]);

  const checker = new Checker({ producers: PRODUCERS, readers: 1 });
  checker.apply(readLedger(ledger));
  using client = new BrokerClient(group.members[leader]?.address ?? '');
  for await (const event of fullScan(client, TOPIC)) checker.apply([event]);
  const report = checker.check();
  console.log(`${cuts} cuts\n${formatReport(report)}`);
  expect(faultsFound(report), formatReport(report)).toEqual([]);
  expect(report.counts.ack).toBeGreaterThan(cuts);
  await group.sameLogs();
});
