// `npm run bench`: measures the broker with a load process of its own, several runs each, and prints median, minimum
// and maximum. Alternates with Redis Streams where redis-server is installed.
//
//   npm run bench -- [--runs N] [--seconds S] [--only NAME[,NAME]] [--record] [--check]
//
//   --record   keeps the result as test/bench/last.json
//   --only     scenarios of scenarios.ts, `consuming`: ways to consume beside reading, and `replication`: what a slave costs
//   --check    compares with test/bench/last.json, each as a ratio to a calibration loop of its own session; fails when
//              something is slower by more than a third

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { TempDir } from '../support/temp-dir.ts';
import { type Calibration, calibrate } from './calibration.ts';
import { measureConsuming, type WayResult } from './consuming.ts';
import { hasRedis, redisRate } from './redis.ts';
import { measureReplication, type ReplicationResult } from './replication.ts';
import { type RunResult, runOnce } from './run.ts';
import { SCENARIOS, type Scenario } from './scenarios.ts';
import { type Spread, showSpread, spreadOf } from './statistics.ts';

const LAST = join(import.meta.dirname, 'last.json');
const SLOWER_MAX = 1 / 3;

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '5' },
    only: { type: 'string' },
    record: { type: 'boolean', default: false },
    check: { type: 'boolean', default: false },
  },
});

interface ScenarioResult {
  readonly messagesPerSecond: Spread;
  readonly p50Ms: Spread;
  readonly p99Ms: Spread;
  readonly brokerCpuSecondsPerMillion: Spread;
  readonly brokerMiB: Spread;
  readonly errors: number;
  readonly redisRatio?: Spread;
}

interface BenchResult {
  readonly date: string;
  readonly node: string;
  readonly calibration: Calibration;
  readonly scenarios: Record<string, ScenarioResult>;
  readonly consuming?: Record<string, WayResult>;
  readonly replication?: Record<string, ReplicationResult>;
}

async function measure(scenario: Scenario, withRedis: boolean): Promise<ScenarioResult> {
  const runs: RunResult[] = [];
  const ratios: number[] = [];
  for (let run = 0; run < Number(values.runs); run++) {
    const result = await runOnce(scenario, Number(values.seconds));
    runs.push(result);
    if (withRedis && scenario.redis !== undefined) {
      ratios.push(result.messagesPerSecond / (await redisRate(scenario.size, scenario.redis)));
    }
  }
  const spread = (read: (result: RunResult) => number): Spread => spreadOf(runs.map(read));
  return {
    messagesPerSecond: spread((one) => one.messagesPerSecond),
    p50Ms: spread((one) => one.p50Ms),
    p99Ms: spread((one) => one.p99Ms),
    brokerCpuSecondsPerMillion: spread(
      (one) =>
        (one.brokerCpuSeconds * 1e6) /
        (scenario.messages ?? one.messagesPerSecond * Number(values.seconds)),
    ),
    brokerMiB: spread((one) => one.brokerMiB),
    errors: runs.reduce((sum, { errors }) => sum + errors, 0),
    ...(ratios.length === 0 ? {} : { redisRatio: spreadOf(ratios) }),
  };
}

function show(scenario: Scenario, result: ScenarioResult): void {
  console.log(`${scenario.name}: ${showSpread(result.messagesPerSecond)} messages/s`);
  console.log(`  p50 ${showSpread(result.p50Ms)} ms, p99 ${showSpread(result.p99Ms)} ms`);
  console.log(
    `  broker: ${showSpread(result.brokerCpuSecondsPerMillion)} CPU s per million, ` +
      `${showSpread(result.brokerMiB)} MiB, ${result.errors} errors`,
  );
  if (scenario.floor !== undefined) {
    const share = result.messagesPerSecond.median / scenario.floor;
    console.log(`  ${share.toFixed(2)} of the floor of ${scenario.floor.toLocaleString('en')}`);
  }
  if (result.redisRatio !== undefined) {
    console.log(`  ${showSpread(result.redisRatio)} times Redis Streams at the same durability`);
  }
}

/** Names what is slower than last time by more than a third, machine for machine. */
function slower(now: BenchResult, last: BenchResult): string[] {
  // Sync loads follow the disk, the others the processor; the slower of both explains the most.
  const machine = Math.min(
    now.calibration.echoFramesPerSecond / last.calibration.echoFramesPerSecond,
    now.calibration.syncsPerSecond / last.calibration.syncsPerSecond,
  );
  return Object.entries(now.scenarios).flatMap(([name, { messagesPerSecond }]) => {
    const before = last.scenarios[name]?.messagesPerSecond.median;
    if (before === undefined) return [];
    const ratio = messagesPerSecond.median / before / Math.min(1, machine);
    console.log(`check ${name}: ${ratio.toFixed(2)} of the last result, the machine considered`);
    return ratio < 1 - SLOWER_MAX ? [name] : [];
  });
}

const CONSUMING = 'consuming';
const wanted = values.only?.split(',');
const REPLICATION = 'replication';
const withConsuming = wanted?.includes(CONSUMING) ?? true;
const withReplication = wanted?.includes(REPLICATION) ?? true;
const chosen = SCENARIOS.filter(({ name }) => wanted === undefined || wanted.includes(name));
if (chosen.length === 0 && !withConsuming && !withReplication) {
  const names = [...SCENARIOS.map(({ name }) => name), CONSUMING, REPLICATION];
  console.error(`there is no scenario ${values.only}; there are ${names.join(', ')}`);
  process.exit(2);
}
const withRedis = hasRedis();
if (!withRedis) console.log('redis-server is not installed: no comparison with Redis Streams');

await using folder = await TempDir.create('calibration');
const calibration = await calibrate(folder.path);
console.log(
  `calibration: ${Math.round(calibration.echoFramesPerSecond)} echoes/s of 64 KiB, ` +
    `${Math.round(calibration.syncsPerSecond)} fdatasyncs/s of 128 KiB`,
);
const scenarios: Record<string, ScenarioResult> = {};
for (const scenario of chosen) {
  const result = await measure(scenario, withRedis);
  scenarios[scenario.name] = result;
  show(scenario, result);
}
const consuming = withConsuming ? await measureConsuming(Number(values.runs)) : undefined;
for (const [way, { messagesPerSecond, share }] of Object.entries(consuming ?? {})) {
  console.log(
    `${way}: ${showSpread(messagesPerSecond)} messages gone through/s, ${showSpread(share)} of reading`,
  );
}
const replication = withReplication
  ? await measureReplication(Number(values.runs), Number(values.seconds))
  : undefined;
for (const [way, { messagesPerSecond, share, lagP99Ms }] of Object.entries(replication ?? {})) {
  console.log(
    `${way}: ${showSpread(messagesPerSecond)} messages/s, ${showSpread(share)} of none; at half of that the slave is ${showSpread(lagP99Ms)} ms behind (p99)`,
  );
}
const result: BenchResult = {
  date: new Date().toISOString(),
  node: process.version,
  calibration,
  scenarios,
  ...(consuming === undefined ? {} : { consuming }),
  ...(replication === undefined ? {} : { replication }),
};
console.log(JSON.stringify(result));
if (values.check) {
  const names = slower(result, JSON.parse(readFileSync(LAST, 'utf8')) as BenchResult);
  if (names.length > 0) {
    console.error(`slower than the last result by more than a third: ${names.join(', ')}`);
    process.exitCode = 1;
  }
}
if (values.record) writeFileSync(LAST, `${JSON.stringify(result, null, 2)}\n`);
