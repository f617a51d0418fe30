import { create } from '@bufbuild/protobuf';
import {
  LeasedSchema,
  SettledOutcome,
  SettledSchema,
} from '@ternmq/proto/gen/ternmq/log/v1/log_pb';
import { createLogger, ManualClock } from '@ternmq/runtime';
import { beforeEach, describe, expect, test } from 'vitest';
import { CoreRig, coreDisk } from '../../../../test/support/core-rig.ts';
import type { MemoryDisk } from '../../../../test/support/memory-disk.ts';
import { Collector } from '../delivery/collect.ts';
import { parseMessageFilter } from '../delivery/message-filter.ts';
import { LOG_DEFAULTS } from '../log/log-options.ts';
import { groupSettings } from '../state/groups.ts';
import { openMemoryStore } from '../state/memory-store.ts';
import { settledElsewhere } from '../state/settled-elsewhere.ts';
import type { StateStore } from '../state/store.ts';
import { endFork, Fork } from './fork.ts';
import { Replica } from './replica.ts';
import { SettledAside } from './settled-aside.ts';

const logger = createLogger({ level: 'silent' });
const OPTIONS = { ...LOG_DEFAULTS, folder: '/data', segmentBytes: 1 << 20, slabs: 2 };
/** Messages that the store has, that the log has confirmed, and that it has. */
const STORED = 40;
const CONFIRMED = 100;
const ALL = 130;

let clock: ManualClock;
let disk: MemoryDisk;
let store: StateStore;
let confirmed: number;
const modules = () => ({
  disk,
  clock,
  logger,
  fatal: (error: Error) => {
    throw error;
  },
});

/** A log as a master leaves it: of the last messages nobody knows whether they are confirmed. */
beforeEach(async () => {
  clock = new ManualClock(1e12);
  disk = coreDisk();
  store = openMemoryStore();
  const rig = await CoreRig.open(disk, clock, store);
  const topic = rig.topics.create('t', { queues: 1 });
  const group = rig.groups.create('g', groupSettings(undefined));
  await rig.delivery.begin(group, topic, '', { case: 'offset', value: 0n });
  for (let i = 0; i < ALL; i++) {
    if (i === STORED) await rig.write();
    if (i === CONFIRMED) confirmed = rig.stateLog.log.next;
    await rig.send({ topic: 't', queueId: 0, messages: [{ body: Buffer.from(`message ${i}`) }] });
  }
  await rig.kill();
});

async function openSlave(): Promise<Replica> {
  return Replica.open(OPTIONS, { ...modules(), openStore: () => store });
}

async function openFork(): Promise<{ slave: Replica; fork: Fork }> {
  const slave = await openSlave();
  slave.log.confirm(confirmed);
  return { slave, fork: await Fork.open(OPTIONS, slave, modules()) };
}

const queueOf = ({ state }: Pick<Fork, 'state'>) => {
  const queue = state.topics.find('t')?.queues[0];
  if (queue === undefined) throw new Error('there is no queue');
  return queue;
};
const progressOf = ({ state }: Pick<Fork, 'state'>) => state.groups.findProgress(1)?.queues[0];

/** The bodies of all messages that a fork shows. */
async function read(fork: Fork): Promise<string[]> {
  const bodies: string[] = [];
  for (let offset = 0; offset < queueOf(fork).visibleEnd; offset++) {
    const { position, length } = fork.state.locate(queueOf(fork), offset);
    await fork.log.read.load(position, length);
    const record = fork.log.read.find(position, length)?.toString('latin1') ?? '';
    bodies.push(/message \d+/.exec(record)?.[0] ?? '-');
  }
  return bodies;
}

/** Delivers messages and settles the first of them. */
function consume(fork: Fork, first: number, end: number, settledEnd: number): void {
  const range = { progressId: 1, queueId: 0, firstOffset: BigInt(first) };
  const leased = create(LeasedSchema, {
    consumerId: 'c',
    deadlineMs: BigInt(clock.nowMs() + 60_000),
    ranges: [{ ...range, endOffset: BigInt(end), attempt: 1 }],
  });
  const leaseId = BigInt(fork.stateLog.change({ case: 'leased', value: leased }));
  const settled = create(SettledSchema, {
    ranges: [
      { ...range, endOffset: BigInt(settledEnd), leaseId, outcome: SettledOutcome.ACKNOWLEDGED },
    ],
  });
  fork.stateLog.change({ case: 'settled', value: settled });
}

const bodies = Array.from({ length: CONFIRMED }, (_, i) => `message ${i}`);

describe('a fork', () => {
  test('shows what was confirmed, and no more, however long it lasts', async () => {
    const { slave, fork } = await openFork();
    expect(queueOf(slave).next).toBe(ALL);
    expect(await read(fork)).toEqual(bodies);
    for (let i = 0; i < 40; i++) {
      consume(fork, i, i + 1, i + 1);
      clock.advance(250);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await read(fork)).toEqual(bodies);
  });

  test('leaves the log and the store of its slave as they are', async () => {
    const { slave, fork } = await openFork();
    const files = disk.paths.filter((path) => !path.includes('/stand-in/'));
    const before = files.map((path) => Buffer.from(disk.bytes(path)));
    const rows = [...store.range(Buffer.from([0]), Buffer.from([0xff]))];
    consume(fork, 0, 50, 20);
    clock.advance(1000);
    await fork.log.durableAt(fork.log.next);
    await fork.end(
      new SettledAside({ folder: '/other', always: true }, { brokerName: 'b', id: 1 }, modules()),
    );
    expect(
      files.map((path) => disk.bytes(path).equals(before[files.indexOf(path)] as Buffer)),
    ).toEqual(files.map(() => true));
    expect([...store.range(Buffer.from([0]), Buffer.from([0xff]))]).toEqual(rows);
    expect(disk.paths.some((path) => path.includes('/stand-in/'))).toBe(false);
    expect(progressOf(slave)?.next ?? 0).toBe(0);
  });

  test('keeps what was settled over a crash, and tells only that', async () => {
    const { fork } = await openFork();
    await fork.merge([settledElsewhere(1, 0, [60, 70])]);
    consume(fork, 70, 90, 80);
    await fork.log.durableAt(fork.log.next);
    disk = disk.copy();
    const slave = await openSlave();
    const aside = new SettledAside(
      { folder: '/data', always: true },
      { brokerName: 'b', id: 1 },
      modules(),
    );
    await endFork(OPTIONS, slave, aside, modules());
    expect(slave.log.confirmed).toBe(confirmed);
    expect(aside.list).toEqual([settledElsewhere(1, 0, [60, 80])]);
    expect(
      new SettledAside({ folder: '/data', always: true }, { brokerName: 'b', id: 1 }, modules())
        .list,
    ).toEqual(aside.list);
    expect(disk.paths.some((path) => path.includes('/stand-in/'))).toBe(false);
    await endFork(OPTIONS, slave, aside, modules());
    expect(aside.list).toHaveLength(1);
  });

  test('delivers what is damaged here to nobody, and settles nothing of it', async () => {
    const { fork } = await openFork();
    const { position, length } = fork.state.locate(queueOf(fork), 50);
    const file = disk.bytes(`/data/log/${'0'.repeat(20)}`);
    const at = position + length - 1;
    file[at] = (file[at] as number) ^ 1;
    await fork.log.read.load(0, position + length);
    const filter = parseMessageFilter('*', '');
    const collect = (keepsDamaged: boolean): number =>
      new Collector({ log: fork.log, state: fork.state, logger, keepsDamaged }).collect(
        queueOf(fork),
        0,
        CONFIRMED,
        1 << 20,
        filter,
        [],
        true,
      ).end;
    expect(collect(true)).toBe(50);
    expect(collect(false)).toBe(CONFIRMED);
  });

  test('that belongs to another log is dropped', async () => {
    const { fork } = await openFork();
    consume(fork, 0, 10, 10);
    await fork.log.durableAt(fork.log.next);
    disk = disk.copy();
    disk.put(
      '/data/stand-in/fork',
      Buffer.from('{"position":99999999,"epoch":{"epoch":1,"nonce":1}}'),
    );
    const slave = await openSlave();
    const aside = new SettledAside(
      { folder: '/data', always: true },
      { brokerName: 'b', id: 1 },
      modules(),
    );
    await endFork(OPTIONS, slave, aside, modules());
    expect(aside.list).toEqual([]);
    expect(disk.paths.some((path) => path.includes('/stand-in/'))).toBe(false);
  });
});
