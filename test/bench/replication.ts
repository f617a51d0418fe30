// What a slave on the same machine costs: producing with acknowledgements that wait for it, and with some that do not, as
// shares of producing without one. And how far behind it is.

import { join } from 'node:path';
import { Client } from '@ternmq/sdk';
import { ChildBroker } from '../support/child-broker.ts';
import { eventually } from '../support/eventually.ts';
import { TempDir } from '../support/temp-dir.ts';
import { type LoadResult, runLoad } from './run.ts';
import { type Spread, spreadOf } from './statistics.ts';

const TOPIC = 'bench';
const BROKER = 'bench';
const FRAMES = ['--size', '1024', '--batch', '64', '--in-flight', '64'];
const IN_SYNC_MS_MAX = 30_000;
const SAMPLE_MS = 20;

interface Way {
  readonly acknowledge: 'in-sync' | 'local' | 'async';
  readonly slave: boolean;
}

const ALONE: Way = { acknowledge: 'local', slave: false };
const WAYS: Readonly<Record<string, Way>> = {
  'in sync with a slave': { acknowledge: 'in-sync', slave: true },
  'async with a slave': { acknowledge: 'async', slave: true },
  'local with a slave that nobody waits for': { acknowledge: 'local', slave: true },
};

/** Figures of one way. */
export interface ReplicationResult {
  readonly messagesPerSecond: Spread;
  /** Its rate over that without a slave, each pair one right after the other. */
  readonly share: Spread;
  /** At half that rate: 99 % of the time the slave had everything that the master had so many milliseconds ago. */
  readonly lagP99Ms: Spread;
}

/** Measures every way, each run on brokers of its own. */
export async function measureReplication(
  runs: number,
  seconds: number,
): Promise<Record<string, ReplicationResult>> {
  const results = Object.entries(WAYS).map(([name, way]) => ({
    ...{ name, way },
    rates: [] as number[],
    shares: [] as number[],
    lags: [] as number[],
  }));
  for (let run = 0; run < runs; run++) {
    for (const { way, rates, shares, lags } of results) {
      const alone = await withBrokers(ALONE, (client) => produce(client, seconds));
      const { rate, lagMs } = await withBrokers(way, async (nameserver, client) => {
        const { messagesPerSecond } = await produce(nameserver, seconds);
        const half = Math.round(messagesPerSecond / 2);
        return { rate: messagesPerSecond, lagMs: await lag(nameserver, client, half, seconds) };
      });
      rates.push(rate);
      shares.push(rate / alone.messagesPerSecond);
      lags.push(lagMs);
    }
  }
  return Object.fromEntries(
    results.map(({ name, rates, shares, lags }) => [
      name,
      { messagesPerSecond: spreadOf(rates), share: spreadOf(shares), lagP99Ms: spreadOf(lags) },
    ]),
  );
}

async function withBrokers<Result>(
  { acknowledge, slave }: Way,
  measure: (nameserver: string, client: Client) => Promise<Result>,
): Promise<Result> {
  await using folder = await TempDir.create('replication');
  await using nameServer = await ChildBroker.start({
    command: 'nameserver',
    args: ['--broker-timeout', '3s'],
  });
  const { nameserver } = nameServer;
  const start = (id: number) =>
    ChildBroker.start({
      command: 'broker',
      data: join(folder.path, `member-${id}`),
      nameserver,
      args: [
        ...['--name', BROKER, '--id', `${id}`, '--auto-create-topics', 'true'],
        ...['--acknowledge', acknowledge],
      ],
    });
  await using _master = await start(0);
  await using _slave = slave ? await start(1) : undefined;
  await using client = new Client({ nameservers: nameserver });
  await eventually(
    'the slave is in sync',
    async () => {
      const { inSync } = await client.admin.describeBroker(BROKER);
      return inSync.length === (slave ? 2 : 1) || undefined;
    },
    { withinMs: IN_SYNC_MS_MAX },
  );
  await client.admin.createTopic(TOPIC, { queues: 4 });
  return await measure(nameserver, client);
}

function produce(nameserver: string, seconds: number): Promise<LoadResult> {
  const args = ['produce', '--topic', TOPIC, ...FRAMES, '--seconds', `${seconds}`];
  return runLoad(nameserver, args);
}

/** Looks again and again how old the newest thing is that the slave has. */
async function lag(
  nameserver: string,
  client: Client,
  rate: number,
  seconds: number,
): Promise<number> {
  const written: { readonly atMs: number; readonly position: number }[] = [];
  const lags: number[] = [];
  let looking = true;
  const look = (async () => {
    while (looking) {
      const { writtenPosition, replicas } = await client.admin.describeBroker(BROKER);
      const atMs = performance.now();
      written.push({ atMs, position: writtenPosition });
      const has = replicas[0]?.durablePosition ?? 0;
      const lacks = written.find(({ position }) => position > has);
      lags.push(lacks === undefined ? 0 : atMs - lacks.atMs);
      await new Promise((resolve) => setTimeout(resolve, SAMPLE_MS));
    }
  })();
  const args = ['produce', '--topic', TOPIC, ...FRAMES, '--seconds', `${seconds}`];
  await runLoad(nameserver, [...args, '--rate', `${rate}`]);
  looking = false;
  await look;
  const sorted = lags.toSorted((a, b) => a - b);
  return sorted[Math.floor(0.99 * sorted.length)] ?? Number.NaN;
}
