// What is known to be damaged in a log: the file `damaged`. The start that finds damage reads the log where it lies, and the next
// one may not: what is known must outlive the process, or a broker would forget what it has to have repaired.

import { join } from 'node:path';
import type { Disk } from '@ternmq/runtime';
import type { CorruptRange } from './scan.ts';

const FILE = 'damaged';

/**
 * Adds what a reading has found to what is known; returns all of it, in order.
 *
 * @param log what the log has now: what was cut off, or is kept no more, is known no longer
 */
export function keepDamage(
  folder: string,
  found: readonly CorruptRange[],
  log: { readonly start: number; readonly end: number },
  disk: Disk,
): readonly CorruptRange[] {
  const path = join(folder, FILE);
  const bytes = disk.readSmall(path);
  const known = bytes === undefined ? [] : (JSON.parse(bytes.toString()) as CorruptRange[]);
  const ranges: CorruptRange[] = [];
  for (const range of [...known, ...found].sort((a, b) => a.start - b.start || a.end - b.end)) {
    if (range.end <= log.start || range.start >= log.end) continue;
    const last = ranges.at(-1);
    if (last !== undefined && range.start < last.end) {
      ranges[ranges.length - 1] = { start: last.start, end: Math.max(last.end, range.end) };
    } else ranges.push({ start: range.start, end: range.end });
  }
  if (ranges.length === 0) {
    if (bytes !== undefined) disk.remove(path);
    return ranges;
  }
  const text = JSON.stringify(ranges);
  if (bytes?.toString() !== text) disk.replaceSmall(path, Buffer.from(text));
  return ranges;
}

/** Nothing is known any more: the log goes as a whole. */
export function forgetDamage(folder: string, disk: Disk): void {
  disk.remove(join(folder, FILE));
}
