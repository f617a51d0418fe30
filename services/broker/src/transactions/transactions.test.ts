import { TransactionState } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { ManualClock } from '@ternmq/runtime';
import { expect, test } from 'vitest';
import { CoreRig, coreDisk } from '../../../../test/support/core-rig.ts';
import type { MemoryDisk } from '../../../../test/support/memory-disk.ts';

const BODIES = ['one', 'two', 'three'];
/** A cut at every so many bytes. */
const STEP = 3;

/** The only file of a short log. */
function segmentOf(disk: MemoryDisk): string {
  const path = disk.paths.find((one) => /^\/data\/log\/\d+/.test(one));
  if (path === undefined) throw new Error(`there is no segment among ${disk.paths}`);
  return path;
}

/** A disk as a crash leaves it that cut off what was written between two moments at a place in the log. */
function cutOff(before: MemoryDisk, after: MemoryDisk, at: number): MemoryDisk {
  const path = segmentOf(before);
  const torn = before.copyOf(path);
  after.bytes(path).copy(torn.bytes(path), 0, 0, at);
  return torn;
}

async function begin(rig: CoreRig): Promise<number> {
  const messages = BODIES.map((body) => ({ body: Buffer.from(body) }));
  const transaction = { producerGroup: 'p' };
  return (await rig.send({ topic: 't', messages, transaction })).offset;
}

/** Bodies of what the topic holds. */
async function stored(rig: CoreRig): Promise<number> {
  await rig.settled();
  return rig.topics.get('t').queues[0]?.visibleEnd ?? 0;
}

test('a commit that a crash cut off anywhere has happened whole, or not yet', async () => {
  const disk = coreDisk();
  const clock = new ManualClock();
  const rig = await CoreRig.open(disk, clock);
  rig.topics.create('t', { queues: 1 });
  const first = await begin(rig);
  const before = disk.copy();
  const from = rig.stateLog.log.next;
  await rig.transactions.end(first, TransactionState.COMMITTED, 'done');
  await rig.settled();
  const after = disk.copy();
  const end = rig.stateLog.log.next;
  await rig.kill();

  const seen = new Map<TransactionState | undefined, number>();
  for (let at = from; at <= end; at += STEP) {
    const again = await CoreRig.open(cutOff(before, after, at), clock);
    const { state } = again.stateLog.state.transactions.find(first) ?? {};
    seen.set(state, (seen.get(state) ?? 0) + 1);
    const open = state === TransactionState.OPEN;
    expect(await stored(again), `cut off at ${at} of ${from} to ${end}`).toBe(open ? 0 : 3);
    await again.transactions.end(first, TransactionState.COMMITTED, 'done');
    expect(await stored(again)).toBe(3);
    expect(again.stateLog.state.held.pending).toBe(0);
    await again.kill();
  }
  expect(seen.get(TransactionState.OPEN)).toBeGreaterThan(5);
  expect(seen.get(TransactionState.COMMITTED)).toBeGreaterThan(50);
});

test('a transaction whose beginning a crash cut off anywhere is open with all its messages, or was never there', async () => {
  const disk = coreDisk();
  const clock = new ManualClock();
  const rig = await CoreRig.open(disk, clock);
  rig.topics.create('t', { queues: 1 });
  await begin(rig);
  await rig.settled();
  const before = disk.copy();
  const from = rig.stateLog.log.next;
  const first = await begin(rig);
  const after = disk.copy();
  const end = rig.stateLog.log.next;
  await rig.kill();

  const seen = { open: 0, absent: 0 };
  for (let at = from; at <= end; at += STEP) {
    const again = await CoreRig.open(cutOff(before, after, at), clock);
    await again.settled();
    const { transactions, held } = again.stateLog.state;
    const open = transactions.find(first) !== undefined;
    seen[open ? 'open' : 'absent']++;
    expect(held.pending, `cut off at ${at} of ${from} to ${end}`).toBe(open ? 6 : 3);
    expect(transactions.open).toBe(open ? 2 : 1);
    await again.kill();
  }
  expect(seen.open).toBeGreaterThan(0);
  expect(seen.absent).toBeGreaterThan(50);
});
