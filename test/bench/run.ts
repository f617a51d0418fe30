// One run of one scenario: a broker process of its own, and a load process of its own.

import { join } from 'node:path';
import { ChildBroker, ternCommand } from '../support/child-broker.ts';
import { Child } from '../support/child-process.ts';
import { eventually } from '../support/eventually.ts';
import { TempDir } from '../support/temp-dir.ts';
import type { Scenario } from './scenarios.ts';

const LOAD_MS_MAX = 180_000;

/** What one run brought. */
export interface RunResult {
  readonly messagesPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly errors: number;
  /** CPU time of the load process and of the broker, in seconds. */
  readonly clientCpuSeconds: number;
  readonly brokerCpuSeconds: number;
  /** Largest memory of the broker that was seen, in MiB. */
  readonly brokerMiB: number;
}

/** What a load process prints. */
export interface LoadResult {
  readonly messagesPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly errors: number;
  readonly cpuSeconds: number;
}

/** Runs `tern bench` in a process of its own. */
export function runLoad(nameserver: string, args: readonly string[]): Promise<LoadResult> {
  return resultOf(ternCommand('bench', ...args, '--nameserver', nameserver, '-o', 'json'));
}

/** Reads a topic in a process of its own: see read.ts. */
export function runRead(nameserver: string, topic: string, messages: number): Promise<LoadResult> {
  const program = join(import.meta.dirname, 'read.ts');
  const args = ['--conditions=source', program, nameserver, topic, `${messages}`];
  return resultOf([process.execPath, args]);
}

async function resultOf([command, args]: [command: string, args: string[]]): Promise<LoadResult> {
  await using child = new Child(command, args);
  const exit = await eventually('the load ends', () => child.exit, { withinMs: LOAD_MS_MAX });
  if (exit.code !== 0) throw new Error(`the load failed: ${child.stderr}`);
  return JSON.parse(child.stdout) as LoadResult;
}

async function metric(broker: ChildBroker, name: string): Promise<number> {
  const answer = await fetch(broker.page('/metrics'), { signal: AbortSignal.timeout(5000) });
  const line = (await answer.text()).split('\n').find((one) => one.startsWith(`${name} `));
  return Number(line?.split(' ')[1] ?? Number.NaN);
}

/** Runs a scenario once. */
export async function runOnce(scenario: Scenario, seconds: number): Promise<RunResult> {
  const { flush, load: kind, size, batch, inFlight, messages, rate } = scenario;
  await using folder = await TempDir.create('bench');
  await using broker = await ChildBroker.start({ command: 'start', data: folder.path, flush });
  const frames = ['--topic', 'bench', '--size', `${size}`, '--batch', `${batch}`];
  const common = [...frames, '--in-flight', `${inFlight}`];
  if (kind === 'consume') {
    await runLoad(broker.nameserver, ['produce', ...common, '--messages', `${messages ?? 0}`]);
  }
  const amount =
    messages === undefined ? ['--seconds', `${seconds}`] : ['--messages', `${messages}`];
  const pace = rate === undefined ? [] : ['--rate', `${rate}`];
  const cpuBefore = await metric(broker, 'process_cpu_seconds_total');
  let brokerMiB = 0;
  const watch = setInterval(() => {
    metric(broker, 'process_resident_memory_bytes').then(
      (bytes) => {
        brokerMiB = Math.max(brokerMiB, bytes / 2 ** 20);
      },
      () => {},
    );
  }, 250);
  try {
    const result = await runLoad(broker.nameserver, [kind, ...common, ...amount, ...pace]);
    const cpuAfter = await metric(broker, 'process_cpu_seconds_total');
    return {
      messagesPerSecond: result.messagesPerSecond,
      p50Ms: result.p50Ms,
      p99Ms: result.p99Ms,
      errors: result.errors,
      clientCpuSeconds: result.cpuSeconds,
      brokerCpuSeconds: cpuAfter - cpuBefore,
      brokerMiB,
    };
  } finally {
    clearInterval(watch);
  }
}
