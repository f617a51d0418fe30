// One run: a seed, so many virtual seconds of faults under load, and the verdict.

import { SimCluster } from './cluster.ts';
import { Nemesis } from './nemesis.ts';
import { judge } from './verdict.ts';
import { Workload } from './workload.ts';
import { beginWorld } from './world.ts';

const WATCH_MS = 20;
/** Longest time until all is well after the last fault, in virtual milliseconds. */
const MENDED_MS_MAX = 90_000;

/** What a run came to. */
export interface RunResult {
  readonly seed: number;
  readonly faults: readonly string[];
  readonly timeline: readonly string[];
  /** The same for two runs only when they are the same. */
  readonly trace: number;
  /** Virtual time, in milliseconds. */
  readonly virtualMs: number;
  readonly events: number;
  readonly leaderships: number;
  readonly sent: number;
  readonly acknowledged: number;
  readonly received: number;
  /** How often each thing went wrong. */
  readonly strikes: Readonly<Record<string, number>>;
}

/** Runs a seed. */
export async function simulate(seed: number, faultsMs: number): Promise<RunResult> {
  const world = beginWorld(seed);
  const cluster = new SimCluster(world);
  const nemesis = new Nemesis(cluster);
  const workload = new Workload(cluster);
  world.every(WATCH_MS, undefined, () => cluster.watchMasters());
  try {
    await cluster.start();
    await workload.start();
    nemesis.start();
    await world.pass(faultsMs);
    nemesis.stop();
    if (!(await world.until(() => cluster.whole, MENDED_MS_MAX))) {
      cluster.fault(`the cluster does not mend: ${cluster.troubles().join('; ')}`);
    }
    workload.stop();
    if (!(await world.until(() => workload.settled, MENDED_MS_MAX))) {
      cluster.fault('sends have no outcome');
    }
    await world.until(() => workload.drained, MENDED_MS_MAX);
    // Slaves learn of the end.
    await world.pass(3000);
    if (cluster.whole) await judge(cluster, workload);
    else cluster.fault(`the cluster is not whole: ${cluster.troubles().join('; ')}`);
  } catch (error) {
    cluster.fault((error as Error).stack ?? String(error));
  }
  const { sent, received } = workload.history;
  return {
    seed,
    faults: cluster.faults,
    timeline: cluster.timeline,
    trace: world.trace,
    virtualMs: world.nowMs,
    events: world.happened,
    leaderships: cluster.leaderships,
    sent: sent.length,
    acknowledged: sent.filter(({ receipt }) => receipt !== undefined).length,
    received: [...received.values()].reduce((sum, count) => sum + count, 0),
    strikes: nemesis.counts,
  };
}
