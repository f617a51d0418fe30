import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { nodeDisk, seededRandom } from '@ternmq/runtime';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { seedFor } from '../../../../test/support/seed.ts';
import { TempDir } from '../../../../test/support/temp-dir.ts';
import { RECORD_HEADER_BYTES, RecordTag, sealRecord, viewOf, writeHeader } from './record.ts';
import { RecordWalk } from './record-walk.ts';
import { Segments } from './segments.ts';

const SEGMENT_BYTES = 1 << 20;

let folder: TempDir;
beforeEach(async () => {
  folder = await TempDir.create('record-walk');
});
afterEach(() => folder[Symbol.asyncDispose]());

interface Written {
  readonly position: number;
  readonly length: number;
  readonly wanted: boolean;
}

/** Segments full of records of all sizes; the first byte of a body says whether the record is wanted. */
function write(count: number, seed: number): { records: Written[]; files: Buffer[]; end: number } {
  const random = seededRandom(seed);
  const records: Written[] = [];
  const files: Buffer[] = [];
  let end = 0;
  for (let number = 0; number < count; number++) {
    const bytes = Buffer.alloc(SEGMENT_BYTES);
    const view = viewOf(bytes);
    let at = 0;
    const add = (tag: RecordTag, body: number, wanted: boolean): void => {
      const position = number * SEGMENT_BYTES + at;
      writeHeader(view, at, tag, body, 1, position);
      if (body > 0) bytes[at + RECORD_HEADER_BYTES] = wanted ? 1 : 0;
      const length = RECORD_HEADER_BYTES + body;
      sealRecord(bytes, view, at, at + length);
      if (body > 0) records.push({ position, length, wanted });
      at += length;
    };
    for (;;) {
      const body = 10 + random.integer(random.integer(20) === 0 ? 600_000 : 2000);
      if (at + body + 2 * RECORD_HEADER_BYTES > SEGMENT_BYTES) break;
      add(RecordTag.MESSAGE, body, random.integer(5) === 0);
    }
    end = number * SEGMENT_BYTES + at;
    add(RecordTag.SEGMENT_END, 0, false);
    files.push(bytes);
  }
  return { records, files, end };
}

async function walked(
  files: readonly Buffer[],
  from: number,
  until: number,
): Promise<{ found: number[]; lostBytes: number }> {
  for (const [number, bytes] of files.entries()) {
    const name = String(number * SEGMENT_BYTES).padStart(20, '0');
    writeFileSync(join(folder.path, name), bytes);
  }
  const segments = new Segments({ folder: folder.path, segmentBytes: SEGMENT_BYTES }, nodeDisk);
  const found: number[] = [];
  const walk = new RecordWalk(segments, from, until, {
    headBytes: RECORD_HEADER_BYTES + 1,
    wants: (_tag, buffer, _view, at) => buffer[at + RECORD_HEADER_BYTES] === 1,
    visit: (_tag, _buffer, _view, _at, _length, position) => found.push(position),
  });
  for (let steps = 0; !walk.ended; steps++) {
    expect(steps).toBeLessThan(1000);
    await walk.step();
  }
  segments.close();
  return { found, lostBytes: walk.lostBytes };
}

const positions = (records: readonly Written[]): number[] =>
  records.filter(({ wanted }) => wanted).map(({ position }) => position);

test('every wanted record is visited once and in order, from any record to any other', async () => {
  const seed = seedFor('record walk');
  for (let round = 0; round < 5; round++) {
    const { records, files, end } = write(4, seed + round);
    expect(await walked(files, 0, end)).toEqual({ found: positions(records), lostBytes: 0 });
    const random = seededRandom(seed + 100 + round);
    const first = random.integer(records.length);
    const last = first + random.integer(records.length - first);
    const until = records[last]?.position as number;
    const part = await walked(files, records[first]?.position as number, until);
    expect(part).toEqual({ found: positions(records.slice(first, last)), lostBytes: 0 });
  }
});

function flip(bytes: Buffer, at: number): void {
  bytes[at] = (bytes[at] as number) ^ 1;
}

test('damage costs the record, or the rest of its segment, and is counted', async () => {
  const { records, files, end } = write(3, 7);
  const wanted = records.filter(({ wanted: one }) => one);
  const damaged = wanted[1] as Written;
  flip(files[0] as Buffer, damaged.position + damaged.length - 1);
  const inSecond = records.filter(({ position }) => Math.floor(position / SEGMENT_BYTES) === 1);
  const header = inSecond[2] as Written;
  flip(files[1] as Buffer, header.position - SEGMENT_BYTES + 16);
  const lost = (position: number): boolean =>
    position === damaged.position || (position >= header.position && position < 2 * SEGMENT_BYTES);
  const { found, lostBytes } = await walked(files, 0, end);
  expect(found).toEqual(positions(records).filter((position) => !lost(position)));
  expect(lostBytes).toBe(damaged.length + 2 * SEGMENT_BYTES - header.position);
});

test('a file that is shorter than it should be ends the walk through it', async () => {
  const { records, files, end } = write(2, 9);
  const cut = files.with(0, (files[0] as Buffer).subarray(0, 300_000));
  const { found, lostBytes } = await walked(cut, 0, end);
  const whole = ({ position, length }: Written): boolean =>
    position + length <= 300_000 || position >= SEGMENT_BYTES;
  expect(found).toEqual(positions(records.filter(whole)));
  expect(lostBytes).toBeGreaterThan(0);
});
