import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Disk, ManualClock, nodeDisk, type Random, seededRandom } from '@ternmq/runtime';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { diskError, FaultyDisk } from '../../../../test/support/faulty-disk.ts';
import { seedFor } from '../../../../test/support/seed.ts';
import { TempDir } from '../../../../test/support/temp-dir.ts';
import { CommitLog } from './commit-log.ts';
import { LOG_DEFAULTS, type LogOptions, type LogRecovery } from './log-options.ts';
import { RECORD_HEADER_BYTES, RecordTag } from './record.ts';

interface Entry {
  readonly position: number;
  readonly length: number;
  readonly tag: RecordTag;
  readonly text: string;
}

interface Opened {
  readonly log: CommitLog;
  readonly recovery: LogRecovery;
  readonly entries: Entry[];
}

let folder: TempDir;
let clock: ManualClock;
const opened: CommitLog[] = [];

beforeEach(async () => {
  folder = await TempDir.create('commit-log');
  clock = new ManualClock();
});

afterEach(async () => {
  for (const log of opened.splice(0)) await log.close();
  await folder[Symbol.asyncDispose]();
});

async function open(
  options: Partial<LogOptions> = {},
  disk: Disk = nodeDisk,
  from?: { position: number; epoch: number },
): Promise<Opened> {
  const entries: Entry[] = [];
  const { log, recovery } = await CommitLog.open(
    { ...LOG_DEFAULTS, folder: folder.path, segmentBytes: 64 << 10, ...options },
    { disk, clock },
    from,
    (tag, buffer, _view, at, length, position) => {
      const text = buffer.toString('latin1', at + RECORD_HEADER_BYTES, at + length);
      entries.push({ position, length, tag, text });
    },
  );
  opened.push(log);
  return { log, recovery, entries };
}

async function close(log: CommitLog): Promise<void> {
  await log.close();
  opened.splice(opened.indexOf(log), 1);
}

function bodyOf(random: Random, lengthMax = 2000): string {
  const length = 20 + random.integer(lengthMax);
  return random.bytes(length).toString('latin1');
}

function append(log: CommitLog, text: string, tag: RecordTag = RecordTag.MESSAGE): Entry {
  const position = log.append(tag, Buffer.from(text, 'latin1'));
  return { position, length: RECORD_HEADER_BYTES + text.length, tag, text };
}

/** Appends in batches, each of them durable before the next. */
async function fill(log: CommitLog, random: Random, batches: number): Promise<Entry[]> {
  const entries: Entry[] = [];
  for (let batch = 0; batch < batches; batch++) {
    for (let i = 0; i <= random.integer(8); i++) {
      const tag = random.integer(3) === 0 ? RecordTag.STATE : RecordTag.MESSAGE;
      entries.push(append(log, bodyOf(random), tag));
    }
    await log.durableAt(log.next);
  }
  return entries;
}

async function read(log: CommitLog, { position, length }: Entry): Promise<string | undefined> {
  let record = log.read.find(position, length);
  if (record === undefined) {
    await log.read.load(position, length);
    record = log.read.find(position, length);
  }
  return record?.toString('latin1', RECORD_HEADER_BYTES);
}

describe('append and read', () => {
  test('records come back byte by byte over the borders of segments and slabs, also after the log is opened again', async () => {
    const random = seededRandom(seedFor('log borders'));
    const options = { segmentBytes: 1 << 20, slabs: 2 };
    const first = await open(options);
    const entries: Entry[] = [];
    for (let batch = 0; batch < 60; batch++) {
      for (let i = 0; i < 8; i++) {
        const largest = random.integer(10) === 0 ? 300_000 : 60_000;
        entries.push(append(first.log, bodyOf(random, largest)));
      }
      await first.log.durableAt(first.log.next);
    }
    expect(first.log.segments.length).toBeGreaterThan(10);
    for (const entry of entries) expect((await read(first.log, entry)) === entry.text).toBe(true);
    const { next } = first.log;
    await close(first.log);

    const second = await open(options);
    expect(second.recovery).toEqual({ from: 0, end: next, tornBytes: 0, corrupt: [] });
    expect(second.entries).toEqual(entries);
    for (const entry of entries) expect((await read(second.log, entry)) === entry.text).toBe(true);
  });

  test('positions are dense but for watermarks and the ends of segments', async () => {
    const random = seededRandom(3);
    const { log } = await open({ segmentBytes: 256 << 10 });
    const entries = await fill(log, random, 40);
    for (const [i, entry] of entries.entries()) {
      const before = entries[i - 1];
      if (before === undefined) continue;
      const gap = entry.position - (before.position + before.length);
      const rolled = log.segmentAt(entry.position) !== log.segmentAt(before.position);
      if (!rolled) expect([0, 33]).toContain(gap);
      else expect(entry.position - (log.segmentAt(entry.position)?.start ?? 0)).toBeLessThan(34);
    }
  });

  test('the largest record fits, alone in its segment', async () => {
    const { log } = await open({ segmentBytes: 8 << 20 });
    const largest = 'x'.repeat((8 << 20) - 3 * 33 - 24);
    const entries = [append(log, 'small one for the first'), append(log, largest)];
    await log.durableAt(log.next);
    await close(log);
    const again = await open({ segmentBytes: 8 << 20 });
    expect(again.entries.map(({ length }) => length)).toEqual(entries.map(({ length }) => length));
  });

  test('an opening has a higher epoch than every one before, also than those that appended nothing', async () => {
    const epochs: number[] = [];
    for (let i = 0; i < 4; i++) {
      const { log } = await open();
      epochs.push(log.epoch);
      await close(log);
    }
    expect(epochs).toEqual([1, 2, 3, 4]);
  });

  test('reading begins where the caller says', async () => {
    const { log } = await open();
    const entries = await fill(log, seededRandom(5), 20);
    const { epoch } = log;
    await close(log);
    const middle = entries[50] as Entry;
    const again = await open({}, nodeDisk, { position: middle.position, epoch });
    expect(again.entries).toEqual(entries.slice(50));
    expect(again.recovery.from).toBe(middle.position);
  });

  test('in mode sync nothing is visible before fdatasync, in mode async after the write', async () => {
    const disk = new FaultyDisk();
    const sync = await open({}, disk);
    disk.holdSyncs = true;
    append(sync.log, 'a body of twenty bytes');
    sync.log.flush();
    expect(sync.log.written).toBe(sync.log.next);
    expect(sync.log.visible).toBe(0);
    const durable = sync.log.durableAt(sync.log.next);
    disk.releaseSyncs();
    await durable;
    expect(sync.log.visible).toBe(sync.log.next);
    await close(sync.log);

    const async = await open({ flushMode: 'async' }, disk);
    const before = async.log.visible;
    disk.holdSyncs = true;
    append(async.log, 'a body of twenty bytes');
    async.log.flush();
    expect(async.log.visible).toBeGreaterThan(before);
    expect(async.log.durable).toBe(before);
    clock.advance(200);
    disk.releaseSyncs();
    await async.log.durableAt(async.log.next);
  });

  test('a reader that holds a segment may finish after retention has dropped it', async () => {
    const { log } = await open();
    const entries = await fill(log, seededRandom(9), 60);
    await close(log);
    const again = await open();
    const { position, length } = entries[0] as Entry;
    const loading = again.log.read.load(position, length);
    again.log.dropBefore(again.log.segments[1]?.start ?? 0, true);
    await loading;
    expect(again.log.start).toBeGreaterThan(0);
  });
});

describe('the watermark', () => {
  const slotOf = (index: number): number => index * 4096;

  test.each([0, 1])('a torn slot %i leaves the other one', async (torn) => {
    const first = await open();
    await fill(first.log, seededRandom(1), 3);
    clock.advance(1000);
    const told = first.log.durable;
    await fill(first.log, seededRandom(2), 3);
    await close(first.log);
    const entries = await open();
    const { end } = entries.recovery;
    await close(entries.log);
    const path = join(folder.path, 'watermark');
    const bytes = readFileSync(path);
    bytes[slotOf(torn) + 20] = (bytes[slotOf(torn) + 20] as number) ^ 0x40;
    writeFileSync(path, bytes);
    const again = await open();
    expect(again.recovery.end).toBe(end);
    expect(end).toBeGreaterThan(told);
  });

  test('a lost watermark file loses no record', async () => {
    const first = await open();
    const entries = await fill(first.log, seededRandom(1), 20);
    await close(first.log);
    rmSync(join(folder.path, 'watermark'));
    const again = await open();
    expect(again.entries).toEqual(entries);
    expect(again.recovery.corrupt).toEqual([]);
  });
});

describe('missing pieces', () => {
  async function written(): Promise<{
    entries: Entry[];
    segments: { start: number; end: number }[];
  }> {
    const { log } = await open();
    const entries = await fill(log, seededRandom(11), 80);
    const segments = [...log.segments];
    await close(log);
    expect(segments.length).toBeGreaterThan(4);
    return { entries, segments };
  }
  const pathOf = (start: number): string =>
    join(folder.path, 'log', String(start).padStart(20, '0'));

  test('a segment file in the middle that is gone is reported, and nothing else is lost', async () => {
    const { entries, segments } = await written();
    const gone = segments[2] as { start: number; end: number };
    rmSync(pathOf(gone.start));
    const again = await open();
    expect(again.recovery.corrupt.at(0)?.end).toBe(gone.end);
    expect(again.entries).toEqual(
      entries.filter(({ position }) => position < gone.start || position >= gone.end),
    );
    const lost = entries.find(({ position }) => position > gone.start) as Entry;
    await expect(read(again.log, lost)).rejects.toMatchObject({ code: 'DATA_LOSS' });
  });

  test('the last segment file that is gone is reported, and the log goes on behind it', async () => {
    const { entries, segments } = await written();
    const gone = segments.at(-1) as { start: number; end: number };
    rmSync(pathOf(gone.start));
    const again = await open();
    expect(again.recovery.corrupt).toHaveLength(1);
    expect(again.recovery.corrupt[0]?.start).toBe(gone.start);
    expect(again.entries).toEqual(entries.filter(({ position }) => position < gone.start));
    const more = append(again.log, 'a record behind the hole');
    await again.log.durableAt(again.log.next);
    await close(again.log);
    const third = await open();
    expect(third.entries.at(-1)).toEqual(more);
  });

  test('a file that was cut is whole again in size, and what it lost is reported', async () => {
    const { entries, segments } = await written();
    const cut = segments[1] as { start: number; end: number };
    truncateSync(pathOf(cut.start), 30_000);
    const again = await open();
    expect(again.recovery.corrupt).toHaveLength(1);
    const { start, end } = again.recovery.corrupt[0] ?? { start: 0, end: 0 };
    expect(end).toBe(cut.end);
    expect(again.entries).toEqual(
      entries.filter(({ position }) => position < start || position >= end),
    );
  });
});

describe('faults of the disk', () => {
  test('a full disk acknowledges nothing, and the log goes on by itself when there is room', async () => {
    const disk = new FaultyDisk();
    const { log } = await open({}, disk);
    const kept = append(log, 'written before the disk was full');
    await log.durableAt(log.next);
    const visible = log.visible;
    let advanced = 0;
    log.observe({
      advanced: () => advanced++,
      failed: (error) => expect.unreachable(String(error)),
    });
    disk.faults = (operation) => (operation === 'write' ? diskError('ENOSPC') : undefined);
    const waiting = append(log, 'waits in memory for room');
    let answered = false;
    const durable = log.durableAt(log.next).then(() => {
      answered = true;
    });
    for (let i = 0; i < 5; i++) {
      clock.advance(100);
      await new Promise(setImmediate);
    }
    expect(log.full).toBe(true);
    expect(answered).toBe(false);
    expect(log.visible).toBe(visible);
    expect(await read(log, kept)).toBe(kept.text);
    disk.faults = () => undefined;
    clock.advance(100);
    await durable;
    expect(log.full).toBe(false);
    await close(log);
    const again = await open();
    expect(again.entries).toEqual([kept, waiting]);
  });

  test('on a full disk the memory for waiting records ends, and appending says DISK_FULL', async () => {
    const disk = new FaultyDisk();
    const { log } = await open({ segmentBytes: 32 << 20 }, disk);
    disk.faults = (operation) => (operation === 'write' ? diskError('ENOSPC') : undefined);
    const body = 'x'.repeat(1 << 20);
    const entries: Entry[] = [];
    expect(() => {
      for (let i = 0; i < 20; i++) entries.push(append(log, body));
    }).toThrow(expect.objectContaining({ code: 'RESOURCE_EXHAUSTED', reason: 'DISK_FULL' }));
    expect(entries.length).toBe(7);
    disk.faults = () => undefined;
    await log.durableAt(log.next);
    entries.push(append(log, body));
    await log.durableAt(log.next);
    await close(log);
    expect((await open({ segmentBytes: 32 << 20 })).entries).toEqual(entries);
  });

  test.each([
    ['the new file cannot be created', 'create'],
    ['the last record of the old one cannot be written', 'write'],
  ] as const)(
    'a disk that is full when a segment ends, because %s, loses nothing',
    async (_why, operation) => {
      const disk = new FaultyDisk();
      const { log } = await open({}, disk);
      const entries: Entry[] = [];
      const body = 'y'.repeat(3000);
      while (log.segments.length === 1 && entries.length < 20) entries.push(append(log, body));
      await log.durableAt(log.next);
      disk.faults = (one) => (one === operation ? diskError('ENOSPC') : undefined);
      expect(() => {
        for (let i = 0; i < 100; i++) entries.push(append(log, body));
      }).toThrow(expect.objectContaining({ reason: 'DISK_FULL' }));
      expect(() => append(log, body)).toThrow(expect.objectContaining({ reason: 'DISK_FULL' }));
      disk.faults = () => undefined;
      clock.advance(100);
      for (let i = 0; i < 30; i++) entries.push(append(log, body));
      await log.durableAt(log.next);
      expect(log.full).toBe(false);
      await close(log);
      expect((await open()).entries).toEqual(entries);
    },
  );

  test('a watermark that cannot be written because the disk is full stops nothing', async () => {
    const disk = new FaultyDisk();
    const { log } = await open({}, disk);
    append(log, 'a record that is durable');
    await log.durableAt(log.next);
    disk.faults = (operation, path) =>
      operation === 'write' && path.endsWith('watermark') ? diskError('ENOSPC') : undefined;
    clock.advance(3000);
    append(log, 'and another one behind it');
    await log.durableAt(log.next);
  });

  test.each(['sync', 'async'] as const)(
    'a failed fdatasync is final in mode %s: waiting calls fail and nothing is acknowledged any more',
    async (flushMode) => {
      const disk = new FaultyDisk();
      const { log } = await open({ flushMode }, disk);
      append(log, 'this one is durable and stays');
      await log.durableAt(log.next);
      const durable = log.durable;
      const failures: Error[] = [];
      log.observe({ advanced() {}, failed: (error) => failures.push(error) });
      disk.faults = (operation) => (operation === 'sync' ? diskError('EIO') : undefined);
      append(log, 'this one never is durable');
      const waits = [log.durableAt(log.next), log.durableAt(log.next)];
      for (const wait of waits) await expect(wait).rejects.toMatchObject({ reason: 'LOG_FAILED' });
      expect(failures).toHaveLength(1);
      disk.faults = () => undefined;
      const { write, sync } = disk.counts;
      expect(() => append(log, 'refused from now on, for good')).toThrow(
        expect.objectContaining({ code: 'UNAVAILABLE', reason: 'LOG_FAILED' }),
      );
      await expect(log.durableAt(log.next)).rejects.toMatchObject({ reason: 'LOG_FAILED' });
      clock.advance(5000);
      await new Promise(setImmediate);
      await close(log);
      expect(disk.counts).toMatchObject({ write, sync });
      expect(log.durable).toBe(durable);
      expect(failures).toHaveLength(1);
    },
  );

  test('a failed write is final, and is told once', async () => {
    const disk = new FaultyDisk();
    const { log } = await open({}, disk);
    const failures: Error[] = [];
    log.observe({ advanced() {}, failed: (error) => failures.push(error) });
    disk.faults = (operation) => (operation === 'write' ? diskError('EIO') : undefined);
    append(log, 'this one cannot be written');
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    expect(failures).toHaveLength(1);
    await expect(log.durableAt(log.next)).rejects.toMatchObject({ reason: 'LOG_FAILED' });
  });

  test('a read that fails is told to its reader, and the same read works when the disk does', async () => {
    const first = await open();
    const entries = await fill(first.log, seededRandom(7), 30);
    await close(first.log);
    const disk = new FaultyDisk();
    const { log } = await open({}, disk);
    disk.faults = (operation) => (operation === 'read' ? diskError('EIO') : undefined);
    await expect(read(log, entries[3] as Entry)).rejects.toMatchObject({ code: 'EIO' });
    disk.faults = () => undefined;
    expect(await read(log, entries[3] as Entry)).toBe(entries[3]?.text);
  });

  test('a log that is closed while the disk is full answers those who wait', async () => {
    const disk = new FaultyDisk();
    const { log } = await open({}, disk);
    disk.faults = (operation) => (operation === 'write' ? diskError('ENOSPC') : undefined);
    append(log, 'this one is never written');
    const wait = log.durableAt(log.next);
    const rejected = expect(wait).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await close(log);
    await rejected;
    await expect(log.durableAt(log.next)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  });
});
