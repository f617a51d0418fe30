// `npm run simulate`: the whole cluster in one process, on virtual time.
//
//   npm run simulate -- --seed N [--minutes M] [--timeline]     one run of so many virtual minutes of faults, or with --runs R
//                                                               that many, of seeds from N on
//   npm run simulate -- --seconds S                             random seeds for so many real seconds
//   npm run simulate -- --seed N --seconds S                    seeds from N on, the same runs on every machine
//   npm run simulate -- --canaries                              plants known bugs, one after the other, and must find each
//   npm run simulate -- --canary NAME --seed N                  one run with a known bug
//
// Needs `--import ./test/simulation/modules.ts`. Closes with `N passed, N failed`, and exits with 1 when any failed.

import { parseArgs } from 'node:util';
import { CANARIES } from './canaries.ts';
import { expectCanaries } from './expect-canaries.ts';
import { takeOver } from './world.ts';

const MINUTE_MS = 60_000;
const FACTOR_MIN = 100;

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    minutes: { type: 'string', default: '1' },
    seconds: { type: 'string' },
    runs: { type: 'string', default: '1' },
    timeline: { type: 'boolean', default: false },
    canary: { type: 'string' },
    canaries: { type: 'boolean', default: false },
  },
});
if (values.canary !== undefined && CANARIES[values.canary] === undefined) {
  console.error(
    `there is no canary ${values.canary}; there are ${Object.keys(CANARIES).join(', ')}`,
  );
  process.exit(2);
}

// Node's own, before everything finds virtual time.
const realMs = performance.now.bind(performance);
const entropy = Math.random;

if (values.canaries) {
  const failed = await expectCanaries();
  process.exit(failed > 0 ? 1 : 0);
}

// The product is loaded after what replaces its modules, and loading takes real time.
const { simulate } = await import('./run.ts');
await import('@ternmq/sdk');
takeOver();

const faultsMs = Number(values.minutes) * MINUTE_MS;
const begunMs = realMs();
const untilMs = begunMs + Number(values.seconds ?? 0) * 1000;
let runs = 0;
let failed = 0;
let virtualMs = 0;
let leaderships = 0;
let acknowledged = 0;
const strikes: Record<string, number> = {};
do {
  const seed =
    values.seed === undefined ? Math.floor(entropy() * 2 ** 32) : Number(values.seed) + runs;
  const result = await simulate(seed, faultsMs);
  runs++;
  virtualMs += result.virtualMs;
  leaderships += result.leaderships;
  acknowledged += result.acknowledged;
  for (const [name, count] of Object.entries(result.strikes)) {
    strikes[name] = (strikes[name] ?? 0) + count;
  }
  const canary = values.canary === undefined ? '' : ` --canary ${values.canary}`;
  if (result.faults.length > 0) {
    failed++;
    console.log(result.timeline.join('\n'));
    console.log(`again: npm run simulate -- --seed ${seed} --minutes ${values.minutes}${canary}\n`);
  } else if (values.timeline) console.log(result.timeline.join('\n'));
  if (values.seconds === undefined) console.log(`trace ${result.trace.toString(16)}`);
} while (
  (runs < Number(values.runs) || realMs() < untilMs) &&
  (failed === 0 || values.canary === undefined)
);

const tookMs = realMs() - begunMs;
const factor = virtualMs / tookMs;
const wrong = Object.entries(strikes).map(([name, count]) => `${count} ${name}`);
console.log(
  `${runs} runs, ${(virtualMs / MINUTE_MS).toFixed(1)} virtual minutes, ${factor.toFixed(0)} times as fast as real time\n` +
    `${acknowledged} messages acknowledged, ${leaderships} leaderships; ${wrong.join(', ')}`,
);
if (values.seconds !== undefined && factor < FACTOR_MIN) {
  console.log(`slower than the ${FACTOR_MIN} times that are asked for on a machine of its own`);
}
console.log(`${runs - failed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
