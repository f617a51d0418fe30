import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ManualClock, nodeDisk } from '@ternmq/runtime';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { TempDir } from '../../../../test/support/temp-dir.ts';
import { CommitLog } from './commit-log.ts';
import { LOG_DEFAULTS } from './log-options.ts';
import { RecordTag } from './record.ts';
import { readWatermark } from './watermark-file.ts';

const clock = new ManualClock(1_000_000);
let dir: TempDir;

beforeEach(async () => {
  dir = await TempDir.create('following');
});
afterEach(() => dir[Symbol.asyncDispose]());

async function open(
  name: string,
  options: { following?: boolean; segmentBytes?: number; slabs?: number } = {},
): Promise<{ log: CommitLog; visited: number[] }> {
  const visited: number[] = [];
  const { log } = await CommitLog.open(
    {
      ...LOG_DEFAULTS,
      folder: join(dir.path, name),
      segmentBytes: options.segmentBytes ?? 64 << 10,
      slabs: options.slabs ?? 2,
      following: options.following ?? false,
    },
    { disk: nodeDisk, clock },
    undefined,
    (_tag, _buffer, _view, _at, _length, position) => visited.push(position),
  );
  return { log, visited };
}

/** Sends what a follower lacks, in runs of at most so many bytes. */
async function replicate(master: CommitLog, slave: CommitLog, bytesMax: number): Promise<number[]> {
  const visited: number[] = [];
  const runs = master.runs();
  master.flush();
  let position = slave.next;
  for (;;) {
    position = runs.ahead(position);
    if (position >= master.written) return visited;
    const run = runs.cached(position, bytesMax) ?? (await runs.load(position, bytesMax));
    slave.follow(run.position, Buffer.from(run.bytes), run.segment, (...record) =>
      visited.push(record[5]),
    );
    position += run.bytes.length;
    await slave.durableAt(slave.next);
  }
}

/** All bytes of a log's segments, by name; what lies behind the end is zeros. */
function bytesOf(name: string): Map<string, string> {
  const folder = join(dir.path, name, 'log');
  const files = readdirSync(folder).filter((file) => /^\d+$/.test(file));
  return new Map(files.map((file) => [file, readFileSync(join(folder, file)).toString('latin1')]));
}

test('a follower has the bytes of its master, whatever the runs, the segments and its restarts', async () => {
  let life = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.record({
          bodies: fc.array(fc.integer({ min: 20, max: 9000 }), { maxLength: 12 }),
          bytesMax: fc.integer({ min: 1, max: 40_000 }),
          event: fc.constantFrom('go on', 'restart slave', 'restart master', 'sync'),
        }),
        { minLength: 1, maxLength: 8 },
      ),
      fc.constantFrom(64 << 10, 100_000),
      async (steps, slaveSegmentBytes) => {
        const [m, s] = [`m${life}`, `s${life++}`];
        let master = (await open(m)).log;
        let slave = (await open(s, { following: true, segmentBytes: slaveSegmentBytes })).log;
        const positions: number[] = [];
        const visited: number[] = [];
        for (const { bodies, bytesMax, event } of steps) {
          for (const bytes of bodies) {
            positions.push(master.append(RecordTag.MESSAGE, Buffer.alloc(bytes, bytes)));
          }
          if (event === 'sync') await master.durableAt(master.next);
          visited.push(...(await replicate(master, slave, bytesMax)));
          if (event === 'restart slave') {
            await slave.close();
            const again = await open(s, { following: true, segmentBytes: slaveSegmentBytes });
            slave = again.log;
            expect(again.visited).toEqual(positions);
          } else if (event === 'restart master') {
            await master.close();
            master = (await open(m)).log;
          }
        }
        expect(visited).toEqual(positions);
        await master.close();
        await slave.close();
        const ofMaster = bytesOf(m);
        for (const [file, bytes] of bytesOf(s)) {
          const end = Math.min(bytes.length, ofMaster.get(file)?.length ?? 0);
          expect(bytes.slice(0, end) === ofMaster.get(file)?.slice(0, end)).toBe(true);
        }
      },
    ),
    { numRuns: 25 },
  );
}, 60_000);

test('what is damaged on the way is refused whole, and asked for again', async () => {
  const { log: master } = await open('m');
  const { log: slave } = await open('s', { following: true });
  const { next } = slave;
  for (let i = 0; i < 5; i++) master.append(RecordTag.MESSAGE, Buffer.alloc(100, i));
  master.flush();
  const run = master.runs().cached(0, 1 << 20);
  for (let at = 0; at < (run?.bytes.length ?? 0); at += 7) {
    const bytes = Buffer.from(run?.bytes ?? []);
    bytes.writeUInt8(bytes.readUInt8(at) ^ 0x10, at);
    const segment = run?.segment ?? { start: 0, end: 0 };
    expect(() => slave.follow(0, bytes, segment, () => {})).toThrow(/does not check out/);
  }
  expect(slave.next).toBe(next);
  await Promise.all([master.close(), slave.close()]);
});

test('a follower takes records of an epoch below the newest that it has known, when it lacks them', async () => {
  const { log: master } = await open('m');
  const { log: slave } = await open('s', { following: true });
  // It has led without a record, or what was damaged and cut off had this epoch.
  await slave.lead(7);
  await slave.close();
  const { log: again } = await open('s', { following: true });
  for (let i = 0; i < 5; i++) master.append(RecordTag.MESSAGE, Buffer.alloc(100, i));
  expect(await replicate(master, again, 1 << 20)).toHaveLength(5);
  // Where a state is kept with the epoch of the record before, reading goes on behind it.
  expect([again.epoch, again.lastEpoch]).toEqual([7, master.epoch]);
  await Promise.all([master.close(), again.close()]);
});

test('a watermark of the master says nothing of what its slave has made durable', async () => {
  const { log: master } = await open('m');
  master.append(RecordTag.MESSAGE, Buffer.alloc(5000, 1));
  await master.durableAt(master.next);
  master.append(RecordTag.MESSAGE, Buffer.alloc(5000, 2));
  await master.durableAt(master.next);
  const { log: slave } = await open('s', { following: true });
  await replicate(master, slave, 1 << 20);
  await Promise.all([master.close(), slave.close()]);
  const folder = join(dir.path, 's');
  expect(readWatermark(join(folder, 'watermark'), nodeDisk).following).toBe(true);

  // As after a power failure that took the first record's pages and left the others.
  const file = nodeDisk.open(join(folder, 'log', '0'.repeat(20)));
  file.writeSync(Buffer.alloc(4096), 0, 4096, 0);
  file.close();
  nodeDisk.remove(join(folder, 'watermark'));
  const watermark = nodeDisk.open(join(folder, 'watermark'));
  watermark.close();
  const { WatermarkFile } = await import('./watermark-file.ts');
  const fresh = new WatermarkFile(join(folder, 'watermark'), nodeDisk);
  fresh.begin(0, 1, true);
  fresh.close();
  const { log, visited } = await open('s', { following: true });
  expect({ next: log.next, visited }).toEqual({ next: 0, visited: [] });
  await log.close();
});

test('a follower that is made to lead goes on under its own epoch, behind what it took', async () => {
  const { log: master } = await open('m');
  for (let i = 0; i < 40; i++) master.append(RecordTag.MESSAGE, Buffer.alloc(5000, i));
  const { log: slave } = await open('s', { following: true });
  await replicate(master, slave, 1 << 20);
  const { next, epoch } = slave;
  expect({ next, epoch, following: slave.following }).toEqual({
    next: master.next,
    epoch: master.epoch,
    following: true,
  });
  expect(() => slave.append(RecordTag.MESSAGE, Buffer.alloc(50))).toThrow(/not appended to/);
  await slave.lead(7);
  const position = slave.append(RecordTag.MESSAGE, Buffer.alloc(50));
  expect({ position, epoch: slave.epoch }).toEqual({ position: next, epoch: 7 });
  await Promise.all([master.close(), slave.close()]);
  const again = await open('s');
  expect(again.visited.at(-1)).toBe(next);
  expect(again.log.epoch).toBe(8);
  await again.log.close();
});

test('nothing is visible that the replicas have not confirmed, and who waits for it is told when they have', async () => {
  const { log } = await open('m');
  log.confirm(0);
  log.append(RecordTag.MESSAGE, Buffer.alloc(100));
  const end = log.next;
  let visible = false;
  const waiting = log.visibleAt(end).then(() => {
    visible = true;
  });
  await log.durableAt(end);
  expect({ visible, position: log.visible }).toEqual({ visible: false, position: 0 });
  log.confirm(end);
  await waiting;
  expect(log.visible).toBe(end);
  log.confirm(10);
  expect(log.visible).toBe(end);
  await log.close();
});
