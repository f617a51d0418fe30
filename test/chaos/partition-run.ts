// A group of three whose network is parted again and again, under load: `node partition-run.ts OPTIONS`, on the clients' host.
// Prints what it found as one line of JSON. The test that starts it makes the hosts, and removes them with all that runs.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { seededRandom } from '@ternmq/runtime';
import { Client } from '@ternmq/sdk';
import { BrokerClient } from '../support/broker-client.ts';
import { Checker } from '../support/checker.ts';
import { ternCommand } from '../support/child-broker.ts';
import { Child } from '../support/child-process.ts';
import { eventually } from '../support/eventually.ts';
import { fullScan } from '../support/full-scan.ts';
import { readLedger } from '../support/ledger-event.ts';
import { LoadProcess } from '../support/load-process.ts';
import { faultsFound, formatReport } from '../support/report.ts';
import { NetworkHosts } from '../support/test-network.ts';
import { CLIENT_HOST, ETCD_PORT, hostOf, PARTITIONS } from './partition.ts';
import { type Leadership, RoleWatch } from './role-watch.ts';
import { SendProbe } from './send-probe.ts';

/** What the program is told. */
export interface PartitionRunOptions {
  /** Process that made the hosts. */
  readonly owner: number;
  readonly hosts: readonly string[];
  readonly folder: string;
  readonly rounds: number;
  readonly seed: number;
}

/** One partition. */
export interface PartitionRound {
  readonly name: string;
  /** How long sending stood still in it; where it cannot go on, from its end to the first message that is acknowledged. */
  readonly resumeMs: number;
  /** Another member led afterwards. */
  readonly moved: boolean;
}

/** What the program prints. */
export interface PartitionResult {
  readonly rounds: readonly PartitionRound[];
  readonly doubleMasters: readonly number[];
  /** Leaderships that began although nothing was done to the master. */
  readonly restless: readonly Leadership[];
  readonly failures: readonly string[];
  readonly faults: readonly string[];
  readonly acknowledged: number;
  readonly report: string;
}

const MEMBERS = [0, 1, 2];
const NAME = 'b1';
const TOPIC = 'partitions';
const PRODUCERS = 2;
const READY_MS_MAX = 60_000;
const RESUME_MS_MAX = 30_000;
/** A partition lasts for so long, which is longer than a lease, and up to as much longer. */
const PARTED_MS = 4000;

const options: PartitionRunOptions = JSON.parse(process.argv[2] ?? '{}');
const network = new NetworkHosts(options.owner, options.hosts);
const random = seededRandom(options.seed);
const nameserver = `${network.address(CLIENT_HOST)}:9876`;

function startEtcd(member: number): Child {
  const url = (one: number, port: number) => `http://${network.address(hostOf(one))}:${port}`;
  const cluster = MEMBERS.map((one) => `${hostOf(one)}=${url(one, 2380)}`).join();
  const data = join(options.folder, `etcd-${member}`);
  const args = [
    ...['--name', hostOf(member), '--data-dir', data, '--log-level', 'error'],
    ...['--listen-client-urls', `http://0.0.0.0:${ETCD_PORT}`],
    ...['--advertise-client-urls', url(member, ETCD_PORT)],
    ...['--listen-peer-urls', 'http://0.0.0.0:2380'],
    ...['--initial-advertise-peer-urls', url(member, 2380), '--initial-cluster', cluster],
    // Else a member that comes back to the others makes them elect anew. Later releases do it by themselves.
    '--pre-vote',
  ];
  return new Child(...network.command(hostOf(member), 'etcd', args));
}

function startBroker(member: number): Child {
  const etcd = MEMBERS.map((one) => `${network.address(hostOf(one))}:${ETCD_PORT}`).join();
  const [command, args] = ternCommand(
    'broker',
    ...['--name', NAME, '--id', `${member}`, '--host', '0.0.0.0'],
    ...['--advertise', network.address(hostOf(member)), '--nameserver', nameserver],
    ...['--data', join(options.folder, `member-${member}`), '--segment-size', '16MiB'],
    ...['--election', 'etcd', '--etcd', etcd, '--election-lease', '2s'],
  );
  return new Child(...network.command(hostOf(member), command, args));
}

/** The member that leads, and those in sync, as the members say themselves. */
async function standing(): Promise<{ leader: number; inSync: number[] }> {
  return eventually(
    'a member leads',
    async () => {
      const answers = await Promise.all(
        MEMBERS.map((id) =>
          client.admin.describeBroker(NAME, { id, deadlineMs: 1000 }).catch(() => undefined),
        ),
      );
      const [leading] = answers
        .filter((answer) => answer?.leading === true)
        .sort((a, b) => (b?.epoch ?? 0) - (a?.epoch ?? 0));
      return leading && { leader: leading.id, inSync: [...leading.inSync] };
    },
    { withinMs: READY_MS_MAX, everyMs: 50 },
  );
}

async function allInSync(): Promise<number> {
  return eventually(
    'all members are in sync',
    async () => {
      const { leader, inSync } = await standing();
      return inSync.length === MEMBERS.length ? leader : undefined;
    },
    { withinMs: READY_MS_MAX, everyMs: 100 },
  );
}

mkdirSync(options.folder, { recursive: true });
await using server = new Child(
  ...ternCommand('nameserver', '--host', '0.0.0.0', '--broker-timeout', '3s'),
);
const children = MEMBERS.map(startEtcd);
for (const member of MEMBERS) {
  const url = `http://${network.address(hostOf(member))}:${ETCD_PORT}/health`;
  await eventually(
    `etcd answers at ${url}`,
    async () => (await fetch(url, { signal: AbortSignal.timeout(1000) })).ok || undefined,
    { withinMs: READY_MS_MAX },
  );
}
children.push(...MEMBERS.map(startBroker));
const client = new Client({ nameservers: nameserver });
await allInSync().catch((error: unknown) => {
  throw new Error([server, ...children].map(({ stderr }) => stderr.slice(-700)).join('\n'), {
    cause: error,
  });
});
await client.admin.createTopic(TOPIC, { queues: 4 });
await client.admin.createTopic('probe', { queues: 1 });
const ledger = join(options.folder, 'producers');
const load = await LoadProcess.start({
  ...{ nameserver, topic: TOPIC, role: 'produce', ledger },
  ...{ producers: PRODUCERS, perSecond: 2000 },
});
const probe = new SendProbe(nameserver, 'probe');
const watch = new RoleWatch(
  MEMBERS.map((member) => `${network.watchAddress(hostOf(member))}:10911`),
);

const rounds: PartitionRound[] = [];
const strikesMs: number[] = [];
const checker = new Checker({ producers: PRODUCERS, readers: 1 });
const first = random.integer(PARTITIONS.length);
for (let round = 0; round < options.rounds; round++) {
  const partition = PARTITIONS[(first + round) % PARTITIONS.length] as (typeof PARTITIONS)[number];
  await sleep(200 + random.integer(800));
  load.expectRunning();
  const leader = await allInSync();
  const [one = 0, other = 0] = MEMBERS.filter((member) => member !== leader);
  checker.ledger.note(`${partition.name}: member ${leader} leads`);
  const partedMs = performance.now();
  if (partition.moves) strikesMs.push(partedMs);
  partition.part({
    network,
    master: hostOf(leader),
    slaves: random.integer(2) === 0 ? [hostOf(one), hostOf(other)] : [hostOf(other), hostOf(one)],
  });
  probe.longestGap();
  await sleep(PARTED_MS + random.integer(PARTED_MS));
  let resumeMs = 0;
  if (partition.goesOn) {
    await probe.firstSince(performance.now(), RESUME_MS_MAX);
    resumeMs = probe.longestGap();
  }
  network.heal();
  if (!partition.goesOn) resumeMs = await probe.firstSince(performance.now(), RESUME_MS_MAX);
  const moved = (await allInSync()) !== leader;
  checker.ledger.note(`goes on after ${Math.round(resumeMs)} ms`);
  rounds.push({ name: partition.name, resumeMs: Math.round(resumeMs), moved });
}
await load.finish();
const leader = await allInSync();
checker.apply(readLedger(ledger));
using broker = new BrokerClient(`${network.address(hostOf(leader))}:10911`);
for await (const event of fullScan(broker, TOPIC)) checker.apply([event]);
const report = checker.check();
const result: PartitionResult = {
  rounds,
  doubleMasters: watch.doubleMasters,
  restless: watch.restless(strikesMs),
  failures: probe.failures,
  faults: faultsFound(report),
  acknowledged: report.counts.ack ?? 0,
  report: formatReport(report),
};
console.log(JSON.stringify(result));
// What still runs ends with this process.
process.exit();
