import { seededRandom } from '@ternmq/runtime';
import { describe, expect, test } from 'vitest';
import type { MemoryDisk } from '../../../../test/support/memory-disk.ts';
import { seedFor } from '../../../../test/support/seed.ts';
import {
  appendTo,
  DAMAGES,
  type LogEntry,
  makeTornLog,
  openLog,
  TAIL_BYTES,
  wrongWith,
} from '../../../../test/support/torn-log.ts';
import { RecordTag } from './record.ts';
import { scanReadOnly } from './scan.ts';
import { type Segment, Segments } from './segments.ts';
import { readWatermark } from './watermark-file.ts';

const MARK_BYTES = 33;

const endOf = ({ position, length }: LogEntry): number => position + length;

describe('a torn tail', () => {
  const seed = seedFor('torn tail');

  test.each(DAMAGES)(
    'behind any byte, replaced by %s: all whole records stay, and nothing else',
    async (damage) => {
      const random = seededRandom(seed);
      const torn = await makeTornLog(random);
      for (let i = 0; i < 60; i++) {
        const position = torn.end - random.integer(TAIL_BYTES + 1);
        const wrong = await wrongWith(torn, position, damage);
        expect(wrong, `${damage} from ${position} on`).toBeUndefined();
      }
    },
  );

  test('records behind the cut never come back, however the new ones end', async () => {
    const random = seededRandom(seed);
    const torn = await makeTornLog(random);
    const long = torn.entries.slice(0, -20).findLastIndex(({ length }) => length > 100);
    const [first, second] = torn.entries.slice(long) as [LogEntry, LogEntry];
    const before = torn.entries.filter(({ position }) => position < first.position);
    expect(second.position).toBe(first.position + first.length);
    const damage = (disk: MemoryDisk): void => {
      // In the record's epoch, or, in later lives, in that of the mark in its place.
      const at = first.position - torn.start + 12;
      const file = disk.bytes(torn.path);
      file[at] = (file[at] as number) ^ 1;
    };
    /** Opens, appends a mark and a record in the place of the first, and maybe more; the disk as a crash leaves it. */
    const life = async (disk: MemoryDisk, more: number): Promise<MemoryDisk> => {
      const { log, entries } = await openLog(disk);
      expect(entries).toEqual(before);
      appendTo(log, random, first.length - MARK_BYTES);
      expect(log.next).toBe(second.position);
      for (let i = 0; i < more; i++) appendTo(log, random, 100);
      const crashed = disk.copy();
      await log.close();
      return crashed;
    };
    damage(torn.disk);
    let disk = torn.disk;
    for (let crash = 0; crash < 3; crash++) {
      // What came first is torn, what came behind it reached the disk.
      disk = await life(disk, 5);
      damage(disk);
    }
    disk = await life(disk, 0);
    const { log, entries } = await openLog(disk);
    expect(entries).toHaveLength(before.length + 1);
    await log.close();
  });
});

describe('a damaged bit below what is durable', () => {
  test('2,000 single ones: each is reported, and every other record is found', async () => {
    const random = seededRandom(seedFor('bit flips'));
    const torn = await makeTornLog(random);
    const { log } = await openLog(torn.disk);
    await log.close();
    const { disk } = torn;
    const segments = new Segments(
      { folder: '/data/log', segmentBytes: 256 << 10, readOnly: true },
      disk,
    );
    const durable = readWatermark('/data/watermark', disk).position;
    expect(durable).toBe(torn.end);
    // Records, marks, and the ends of segments: every byte that means something.
    const ranges = segments.all.map(({ start, end }) => {
      const last = torn.entries.findLast(({ position }) => position < end) as LogEntry;
      return { start, bytes: last.position + last.length - start + (end < torn.end ? 24 : 0) };
    });
    const positions = torn.entries.map(({ position }) => position);
    for (let i = 0; i < 2000; i++) {
      const { start, bytes } = ranges[random.integer(ranges.length)] as {
        start: number;
        bytes: number;
      };
      const at = random.integer(bytes);
      const position = start + at;
      const file = disk.bytes(`/data/log/${String(start).padStart(20, '0')}`);
      const bit = 1 << random.integer(8);
      file[at] = (file[at] as number) ^ bit;
      const found = new Set<number>();
      const { corrupt, end } = scanReadOnly(
        segments,
        { position: durable, following: false },
        64 << 20,
        (...record) => {
          found.add(record[5]);
        },
      );
      file[at] = (file[at] as number) ^ bit;
      const what = `bit ${bit} at ${position}`;
      expect(corrupt, what).toHaveLength(1);
      const [range] = corrupt as [{ start: number; end: number }];
      expect(position >= range.start && position < range.end, what).toBe(true);
      expect(end, what).toBe(torn.end);
      const lost = torn.entries.find(
        (one) => position >= one.position && position < one.position + one.length,
      );
      const missing = positions.filter((one) => !found.has(one));
      expect(missing, what).toEqual(lost === undefined ? [] : [lost.position]);
      expect(found.size, what).toBe(positions.length - missing.length);
    }
  });

  // The tag is not in the checksum, and one of its bits makes a message the end of its segment.
  test('any one in the header of any kind of record: it is reported, and every other record is found', async () => {
    const torn = await makeTornLog(seededRandom(6));
    const { log } = await openLog(torn.disk);
    await log.close();
    const { disk } = torn;
    const folder = '/data/log';
    const segments = new Segments({ folder, segmentBytes: 256 << 10, readOnly: true }, disk);
    const [first, second] = segments.all as [Segment, Segment];
    const file = disk.bytes(`${folder}/00000000000000000000`);
    const kinds = new Map<number, number>();
    for (const { position } of torn.entries) {
      if (position >= first.end) break;
      kinds.set(file[position] as number, position);
    }
    const last = torn.entries.findLast(({ position }) => position < first.end) as LogEntry;
    kinds.set(RecordTag.SEGMENT_END, last.position + last.length);
    const marked = torn.entries.findIndex(
      (one, i) => i > 0 && one.position === endOf(torn.entries[i - 1] as LogEntry) + MARK_BYTES,
    );
    kinds.set(RecordTag.WATERMARK, endOf(torn.entries[marked - 1] as LogEntry));
    expect([...kinds.keys()].sort()).toEqual(Object.values(RecordTag).sort());
    for (const [tag, position] of kinds) {
      for (let bit = 0; bit < 8 * 24; bit++) {
        const at = position + (bit >> 3);
        file[at] = (file[at] as number) ^ (1 << (bit & 7));
        const found: number[] = [];
        const { corrupt } = scanReadOnly(
          segments,
          { position: torn.end, following: false },
          64 << 20,
          (...record) => {
            found.push(record[5]);
          },
        );
        file[at] = (file[at] as number) ^ (1 << (bit & 7));
        const what = `bit ${bit} of a record with tag ${tag}`;
        expect(corrupt, what).toHaveLength(1);
        expect(corrupt[0]?.start, what).toBe(position);
        if (tag === RecordTag.SEGMENT_END) expect(corrupt[0]?.end, what).toBe(second.start);
        const others = torn.entries.filter((one) => one.position !== position).length;
        expect(found.length, what).toBe(others);
      }
    }
  });

  test('one that only a later watermark record tells apart from a torn tail cuts nothing', async () => {
    const random = seededRandom(4);
    const torn = await makeTornLog(random);
    torn.disk.remove('/data/watermark');
    const damagedEntry = torn.entries[100] as LogEntry;
    const file = torn.disk.bytes('/data/log/00000000000000000000');
    file[damagedEntry.position + 40] = (file[damagedEntry.position + 40] as number) ^ 4;
    const { log, entries, recovery } = await openLog(torn.disk);
    expect(recovery.corrupt).toEqual([
      { start: damagedEntry.position, end: damagedEntry.position + damagedEntry.length },
    ]);
    expect(entries).toHaveLength(torn.entries.length - 1);
    await log.close();
  });
});
