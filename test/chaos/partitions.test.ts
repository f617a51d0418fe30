import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ROOT } from '../support/child-broker.ts';
import { Child, expectSuccess } from '../support/child-process.ts';
import { Etcd } from '../support/etcd.ts';
import { roundsOr, seedFor } from '../support/seed.ts';
import { skipWhen } from '../support/skip.ts';
import { TempDir } from '../support/temp-dir.ts';
import { TestNetwork, whyNoNetwork } from '../support/test-network.ts';
import { CLIENT_HOST, hostOf, PARTITIONS } from './partition.ts';
import type { PartitionResult, PartitionRunOptions } from './partition-run.ts';

const RUN_MS_MAX = 850_000;
const RESUME_MS_MAX = 10_000;

test('nothing acknowledged is lost when the network of a group of three parts under load, and sending goes on with the majority', async (context) => {
  skipWhen(context, Etcd.missing() ?? whyNoNetwork());
  await using folder = await TempDir.create('partitions');
  using network = new TestNetwork([CLIENT_HOST, hostOf(0), hostOf(1), hostOf(2)]);
  const rounds = roundsOr(2 * PARTITIONS.length);
  const options: PartitionRunOptions = {
    owner: process.pid,
    hosts: network.hosts,
    folder: folder.path,
    rounds,
    seed: seedFor('partitions'),
  };
  const program = join(ROOT, 'test/chaos/partition-run.ts');
  await using run = new Child(
    ...network.command(CLIENT_HOST, process.execPath, [
      '--conditions=source',
      program,
      JSON.stringify(options),
    ]),
  );
  await expectSuccess(run, 'the partitions', RUN_MS_MAX);
  const result: PartitionResult = JSON.parse(run.stdout);
  for (const { name, resumeMs } of result.rounds) console.log(`${name}: ${resumeMs} ms`);
  console.log(result.report);
  expect(result.faults, result.report).toEqual([]);
  expect(result.failures).toEqual([]);
  expect(result.acknowledged).toBeGreaterThan(rounds * 100);
  expect(result.doubleMasters).toEqual([]);
  expect(result.restless).toEqual([]);
  expect(result.rounds.filter(({ resumeMs }) => resumeMs > RESUME_MS_MAX)).toEqual([]);
  const moving = new Map(PARTITIONS.map(({ name, moves }) => [name, moves]));
  expect(result.rounds.filter(({ name, moved }) => moved !== moving.get(name))).toEqual([]);
});

test('the hosts of a test are gone when it ends, and all that runs on them', async (context) => {
  skipWhen(context, whyNoNetwork());
  const namespaces = () => execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' });
  const network = new TestNetwork([CLIENT_HOST]);
  await using child = new Child(...network.command(CLIENT_HOST, 'sleep', ['60']));
  expect(namespaces()).toContain(network.namespace(CLIENT_HOST));
  network[Symbol.dispose]();
  expect(namespaces()).not.toContain(network.namespace(''));
  expect(await child.exited).toEqual({ code: null, signal: 'SIGKILL' });
});
