import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { seededRandom } from '@ternmq/runtime';
import { expect, test } from 'vitest';
import { BrokerClient } from '../support/broker-client.ts';
import { Checker } from '../support/checker.ts';
import { Etcd } from '../support/etcd.ts';
import { eventually } from '../support/eventually.ts';
import { fullScan } from '../support/full-scan.ts';
import { readLedger } from '../support/ledger-event.ts';
import { LoadProcess } from '../support/load-process.ts';
import { faultsFound, formatReport } from '../support/report.ts';
import { roundsOr, seedFor } from '../support/seed.ts';
import { hasSettled } from '../support/settled.ts';
import { skipWhen } from '../support/skip.ts';
import { TempDir } from '../support/temp-dir.ts';
import { GroupProcesses } from './group-processes.ts';
import { RoleWatch } from './role-watch.ts';
import { SendProbe } from './send-probe.ts';

const TOPIC = 'failover';
const GROUP = 'failover-group';
const QUEUES = 4;
const PRODUCERS = 2;
const DRAIN_MS_MAX = 60_000;
const RESUME_MS_MAX = 10_000;
const RESUME_MS_P95 = 5000;
/** How long a paused master sleeps: in the full run far longer than any lease. */
const PAUSED_MS = process.env.CRASH_ROUNDS === undefined ? 30_000 : 5000;

/** What is done to the member that leads, and how it is brought back. */
interface Blow {
  readonly strike: (group: GroupProcesses, leader: number) => Promise<void>;
  readonly mend: (group: GroupProcesses, leader: number) => Promise<void>;
  /** How long the member is left like that, in milliseconds. */
  readonly lastsMs: number;
}

const BLOWS: Readonly<Record<string, Blow>> = {
  'is killed': {
    strike: (group, leader) => group.members[leader]?.kill() ?? Promise.resolve(),
    mend: async (group, leader) => void (await group.members[leader]?.restart()),
    lastsMs: 0,
  },
  'is paused for longer than its lease, and wakes': {
    strike: async (group, leader) => {
      process.kill(group.members[leader]?.pid ?? 0, 'SIGSTOP');
    },
    mend: async (group, leader) => {
      process.kill(group.members[leader]?.pid ?? 0, 'SIGCONT');
    },
    lastsMs: PAUSED_MS,
  },
};

test.for(Object.entries(BLOWS))(
  'nothing acknowledged is lost when the master of three %s under load, and sending goes on',
  { timeout: 1_800_000 },
  async ([name, { strike, mend, lastsMs }], context) => {
    skipWhen(context, Etcd.missing());
    await using folder = await TempDir.create('chaos');
    await using etcd = await Etcd.start(join(folder.path, 'etcd'));
    await using group = await GroupProcesses.start({
      folder: folder.path,
      etcd,
      members: 3,
      lease: '2s',
    });
    const { nameserver } = group.nameServer;
    await group.client.admin.createTopic(TOPIC, { queues: QUEUES });
    await group.client.admin.createGroup(GROUP, {
      leaseMs: 2000,
      retryDelaysMs: [100],
      attemptsMax: 1000,
    });
    const ledgers = ['producers', 'consumer'].map((one) => join(folder.path, one));
    const [producersLedger = '', consumerLedger = ''] = ledgers;
    const where = { nameserver, topic: TOPIC };
    await using producers = await LoadProcess.start({
      ...where,
      role: 'produce',
      ledger: producersLedger,
      producers: PRODUCERS,
      perSecond: 4000,
    });
    await using consumer = await LoadProcess.start({
      ...where,
      role: 'consume',
      ledger: consumerLedger,
      group: GROUP,
      reader: 1,
    });
    await group.client.admin.createTopic('probe', { queues: 1 });
    await using probe = new SendProbe(nameserver, 'probe');
    await using watch = new RoleWatch(group.addresses);

    const checker = new Checker({ producers: PRODUCERS, readers: 2 });
    const random = seededRandom(seedFor(`failover: ${name}`));
    const rounds = roundsOr(20);
    const resumeMs: number[] = [];
    const epochs: number[] = [];
    const strikesMs: number[] = [];
    for (let round = 0; round < rounds; round++) {
      await sleep(200 + random.integer(800));
      producers.expectRunning();
      consumer.expectRunning();
      const leader = await group.leader();
      checker.ledger.note(`round ${round + 1} of ${rounds}: member ${leader}`);
      const struckMs = performance.now();
      strikesMs.push(struckMs);
      await strike(group, leader);
      resumeMs.push(await probe.firstSince(struckMs, RESUME_MS_MAX));
      const next = await group.leader();
      expect(next).not.toBe(leader);
      const { epoch } = await group.client.admin.describeBroker('b1', { id: next });
      epochs.push(epoch);
      checker.ledger.note(`member ${next} leads after ${resumeMs.at(-1)} ms`);
      await sleep(Math.max(0, struckMs + lastsMs - performance.now()));
      await mend(group, leader);
      await group.inSync([0, 1, 2]);
    }
    console.log(`first successful send after ${resumeMs.map(Math.round).join(', ')} ms`);
    await producers.finish();
    using client = new BrokerClient(group.members[await group.leader()]?.address ?? '');
    await eventually(
      'the group has settled everything',
      async () => (await hasSettled(client, GROUP, TOPIC, QUEUES)) || undefined,
      { withinMs: DRAIN_MS_MAX, everyMs: 200 },
    );
    await consumer.finish();
    for (const ledger of ledgers) checker.apply(readLedger(ledger));
    for await (const event of fullScan(client, TOPIC)) checker.apply([event]);
    const report = checker.check();
    console.log(formatReport(report));
    expect(faultsFound(report), formatReport(report)).toEqual([]);
    expect(report.counts.ack).toBeGreaterThan(rounds * 100);
    // Every change of the master has an epoch of its own.
    expect(new Set(epochs).size).toBe(rounds);
    expect(watch.doubleMasters).toEqual([]);
    expect(watch.restless(strikesMs)).toEqual([]);
    const sorted = resumeMs.toSorted((a, b) => a - b);
    expect(sorted[Math.ceil(0.95 * rounds) - 1]).toBeLessThan(RESUME_MS_P95);
    expect(probe.failures).toEqual([]);
  },
);
