// Every member has a disk of its own, whose power is cut: what was not synced is gone, and every later write and sync fails.

import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { BrokerService } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { seededRandom } from '@ternmq/runtime';
import { expect, test } from 'vitest';
import { BrokerClient } from '../support/broker-client.ts';
import { Etcd } from '../support/etcd.ts';
import { eventually } from '../support/eventually.ts';
import { MountedDisk, whyNoLoopDisk } from '../support/mounted-disk.ts';
import { roundsOr, seedFor } from '../support/seed.ts';
import { skipWhen } from '../support/skip.ts';
import { whileStopped } from '../support/stopped-process.ts';
import { TempDir } from '../support/temp-dir.ts';
import { GroupProcesses } from './group-processes.ts';
import { LoadOnGroup } from './load-on-group.ts';
import { RoleWatch } from './role-watch.ts';
import { SendProbe } from './send-probe.ts';

const DISK_MIB = 4096;
const RESUME_MS_MAX = 10_000;
/** How long the master writes what nobody else takes. */
const TAIL_MS = 100;
const TAIL_MS_MAX = 2500;
/** How long after the slave has lost its power the master is killed, at most. */
const BETWEEN_MS_MAX = 1500;

/** What happens to a group. */
interface Failure {
  readonly name: string;
  readonly strike: (parties: {
    readonly group: GroupProcesses;
    readonly master: number;
    readonly slave: number;
    /** Cuts the power of a member's disk, and gives it back once the member has ended. */
    readonly powerFailure: (member: number) => Promise<void>;
    /** Milliseconds, of chance. */
    readonly pauseMs: number;
  }) => Promise<void>;
  /** Members that are started again afterwards. */
  readonly ended: (master: number) => readonly number[];
  /** The master's log has what the others never had, and what nobody was told of. */
  readonly parts: boolean;
}

const FAILURES: readonly Failure[] = [
  {
    name: 'the disk of the master loses its power, with a tail on it that nobody else has',
    strike: async ({ group, master, powerFailure }) => {
      const link = group.links[master];
      link?.hold();
      using client = new BrokerClient(group.addresses[master] ?? '');
      const messages = [{ body: Buffer.from('nobody is told that this is stored') }];
      await eventually(
        'the master has on its disk what nobody else has',
        async () => {
          const { send, describeBroker } = BrokerService.method;
          await client.call(send, { topic: 'probe', messages, oneWay: true });
          // What was on its way to others when the link was held has been confirmed by then.
          await sleep(TAIL_MS);
          const state = await client.call(describeBroker, {});
          return state.durablePosition > state.visiblePosition || undefined;
        },
        { withinMs: TAIL_MS_MAX },
      );
      await powerFailure(master);
      link?.cut();
    },
    ended: (master) => [master],
    parts: true,
  },
  {
    name: 'the disk of a slave loses its power, and then the master is killed',
    strike: async ({ group, master, slave, powerFailure, pauseMs }) => {
      await powerFailure(slave);
      group.members[slave]?.relaunch();
      await sleep(pauseMs);
      await group.members[master]?.kill();
    },
    ended: (master) => [master],
    parts: false,
  },
];

test.for(FAILURES)('nothing acknowledged is lost when $name', async (failure, context) => {
  skipWhen(context, Etcd.missing() ?? whyNoLoopDisk());
  await using folder = await TempDir.create('power');
  using first = await MountedDisk.ext4(DISK_MIB);
  using second = await MountedDisk.ext4(DISK_MIB);
  using third = await MountedDisk.ext4(DISK_MIB);
  const disks = [first, second, third];
  await using etcd = await Etcd.start(join(folder.path, 'etcd'));
  await using group = await GroupProcesses.start({
    folder: folder.path,
    etcd,
    members: 3,
    lease: '2s',
    linkHost: '127.0.0.3',
    data: disks.map(({ path }) => path),
  });
  await using load = await LoadOnGroup.start(group, 'power', folder.path, { perSecond: 4000 });
  await group.client.admin.createTopic('probe', { queues: 1 });
  await using probe = new SendProbe(group.nameServer.nameserver, 'probe');
  await using watch = new RoleWatch(group.addresses);

  const powerFailure = async (id: number): Promise<void> => {
    const member = group.members[id];
    const disk = disks[id];
    if (member === undefined || disk === undefined) throw new Error(`there is no member ${id}`);
    await whileStopped(member.pid, () => disk.cutPower());
    await member.kill();
    disk.powerOn();
  };

  const random = seededRandom(seedFor(failure.name));
  const rounds = roundsOr(20);
  const resumeMs: number[] = [];
  const strikesMs: number[] = [];
  let cutBytes = 0;
  for (let round = 0; round < rounds; round++) {
    await sleep(200 + random.integer(800));
    load.expectRunning();
    const master = await group.leader();
    const slave = (master + 1 + random.integer(2)) % 3;
    load.checker.ledger.note(`round ${round + 1} of ${rounds}: members ${master}, ${slave}`);
    const pauseMs = random.integer(BETWEEN_MS_MAX);
    await failure.strike({ group, master, slave, powerFailure, pauseMs });
    const struckMs = performance.now();
    strikesMs.push(struckMs);
    resumeMs.push(Math.round(await probe.firstSince(struckMs, RESUME_MS_MAX)));
    for (const id of failure.ended(master)) await group.members[id]?.restart();
    await group.inSync([0, 1, 2]);
    const { divergentBytes } = await eventually(
      'the member that led answers',
      () => group.client.admin.describeBroker('b1', { id: master, deadlineMs: 1000 }),
      { withinMs: RESUME_MS_MAX },
    );
    cutBytes += divergentBytes;
  }
  console.log(`first send after ${resumeMs.join(', ')} ms; ${cutBytes} bytes of tails were cut`);
  expect((await load.judge()).ack).toBeGreaterThan(rounds * 100);
  if (failure.parts) expect(cutBytes).toBeGreaterThan(0);
  expect(watch.doubleMasters).toEqual([]);
  expect(watch.restless(strikesMs)).toEqual([]);
  expect(probe.failures).toEqual([]);
  // What the others never had is gone everywhere.
  await probe[Symbol.asyncDispose]();
  await group.inSync([0, 1, 2]);
  await group.sameLogs();
});
