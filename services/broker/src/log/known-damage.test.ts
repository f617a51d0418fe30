import { expect, test } from 'vitest';
import { MemoryDisk } from '../../../../test/support/memory-disk.ts';
import { forgetDamage, keepDamage } from './known-damage.ts';

test('damage is known until it is cut off, kept no more, or the log goes', () => {
  const disk = new MemoryDisk();
  const keep = (found: { start: number; end: number }[], start: number, end: number) =>
    keepDamage('/data', found, { start, end }, disk);
  const range = { start: 100, end: 150 };
  expect(keep([range], 0, 1000)).toEqual([range]);
  // Another start, which did not read there.
  expect(keep([], 0, 2000)).toEqual([range]);
  expect(
    keep(
      [
        { start: 120, end: 180 },
        { start: 500, end: 510 },
      ],
      0,
      2000,
    ),
  ).toEqual([
    { start: 100, end: 180 },
    { start: 500, end: 510 },
  ]);
  expect(keep([], 200, 2000)).toEqual([{ start: 500, end: 510 }]);
  expect(keep([], 200, 500)).toEqual([]);
  expect(keep([], 0, 2000)).toEqual([]);
  keep([range], 0, 1000);
  forgetDamage('/data', disk);
  expect(keep([], 0, 1000)).toEqual([]);
});
