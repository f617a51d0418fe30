import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { nodeDisk, seededRandom } from '@ternmq/runtime';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { diskError, FaultyDisk } from '../../../../test/support/faulty-disk.ts';
import { seedFor } from '../../../../test/support/seed.ts';
import { TempDir } from '../../../../test/support/temp-dir.ts';
import { BlockCache } from './block-cache.ts';
import { Segments } from './segments.ts';

const SEGMENT_BYTES = 1 << 20;
const SEGMENTS = 48;

let folder: TempDir;

beforeEach(async () => {
  folder = await TempDir.create('block-cache');
});

afterEach(async () => {
  await folder[Symbol.asyncDispose]();
});

/** What stands at a position: differs between neighbours, blocks and segments. */
function byteAt(position: number): number {
  return (
    (position * 31 + Math.floor(position / 4096) * 7 + Math.floor(position / SEGMENT_BYTES)) & 0xff
  );
}

function expected(position: number, length: number): Buffer {
  return Buffer.from(Array.from({ length }, (_, i) => byteAt(position + i)));
}

function writeSegments(count: number, missing: readonly number[] = []): Segments {
  for (let number = 0; number < count; number++) {
    if (missing.includes(number)) continue;
    const start = number * SEGMENT_BYTES;
    const name = String(start).padStart(20, '0');
    const bytes = Buffer.alloc(SEGMENT_BYTES);
    for (let i = 0; i < SEGMENT_BYTES; i++) bytes[i] = byteAt(start + i);
    writeFileSync(join(folder.path, name), bytes);
  }
  return new Segments({ folder: folder.path, segmentBytes: SEGMENT_BYTES }, nodeDisk);
}

test('what is read is what the files hold, however many readers share the memory', async () => {
  const random = seededRandom(seedFor('block-cache'));
  const end = SEGMENTS * SEGMENT_BYTES;
  const cache = new BlockCache(writeSegments(SEGMENTS), () => end);
  const reader = async (): Promise<void> => {
    for (let i = 0; i < 300; i++) {
      const length = 1 + random.integer(2000);
      // Now and then across two blocks, and across two segments.
      const edge = (1 + random.integer(end / (256 << 10) - 2)) * (256 << 10);
      const anywhere = random.integer(end - length);
      const position = random.integer(4) === 0 ? edge - random.integer(length) : anywhere;
      let found = cache.find(position, length);
      for (let loads = 0; found === undefined && loads < 20; loads++) {
        await cache.load(position, length);
        found = cache.find(position, length);
      }
      expect(found?.equals(expected(position, length))).toBe(true);
      const block = cache.block(position, length);
      if (block === undefined) continue;
      const at = position - block.start;
      expect(block.buffer.subarray(at, at + length).equals(expected(position, length))).toBe(true);
    }
  };
  await Promise.all([reader(), reader(), reader(), reader()]);
});

test('what is lent stays as it is until the turn is over, though its block is given up', async () => {
  const end = SEGMENTS * SEGMENT_BYTES;
  const cache = new BlockCache(writeSegments(SEGMENTS), () => end);
  await cache.load(0, 1000);
  const lent = cache.find(0, 1000);
  const loads: Promise<void>[] = [];
  for (let position = 0; position < end; position += 256 << 10) {
    loads.push(cache.load(position, 1000));
  }
  expect(lent?.equals(expected(0, 1000))).toBe(true);
  await Promise.all(loads);
});

test('the block at the end of the log is read again when more has been written', async () => {
  let written = 1000;
  const cache = new BlockCache(writeSegments(1), () => written);
  await cache.load(0, 1000);
  expect(cache.find(500, 600)).toBeUndefined();
  written = 2000;
  await cache.load(500, 600);
  expect(cache.find(500, 600)?.equals(expected(500, 600))).toBe(true);
  expect(cache.find(1500, 501)).toBeUndefined();
});

test('what lies in no segment is zero, also in memory that was used before', async () => {
  const missing = 3;
  const end = 8 * SEGMENT_BYTES;
  const cache = new BlockCache(writeSegments(8, [missing]), () => end);
  for (let round = 0; round < 2; round++) {
    for (let position = 0; position < end; position += 256 << 10) await cache.load(position, 1);
    const hole = cache.find(missing * SEGMENT_BYTES + 100, 1000);
    expect(hole?.every((byte) => byte === 0)).toBe(true);
    cache.dropBefore(end);
  }
});

test('a block that is dropped while it is read gives its memory up only once', async () => {
  let written = 100_000;
  const segments = writeSegments(4);
  const cache = new BlockCache(segments, () => written);
  await cache.load(0, 1000);
  written = 4 * SEGMENT_BYTES;
  const growing = cache.load(0, 200_000);
  cache.dropBefore(SEGMENT_BYTES);
  await growing;
  for (let number = 4; number < 16; number++) await cache.load(number * (256 << 10), 1);
  for (let number = 4; number < 16; number++) {
    const position = number * (256 << 10);
    expect(cache.find(position, 1000)?.equals(expected(position, 1000))).toBe(true);
  }
});

test('a disk error is told, and the next load tries again', async () => {
  const plain = writeSegments(1);
  const disk = new FaultyDisk();
  const segments = new Segments({ folder: plain.folder, segmentBytes: SEGMENT_BYTES }, disk);
  const cache = new BlockCache(segments, () => SEGMENT_BYTES);
  disk.faults = (operation) => (operation === 'read' ? diskError('EIO') : undefined);
  await expect(cache.load(0, 1000)).rejects.toThrow('EIO');
  expect(cache.find(0, 1000)).toBeUndefined();
  disk.faults = () => undefined;
  await cache.load(0, 1000);
  expect(cache.find(0, 1000)?.equals(expected(0, 1000))).toBe(true);
});
