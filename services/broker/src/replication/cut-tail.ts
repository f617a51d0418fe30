// Takes back the end of a log that follows, because the group's master never had it. What is cut is kept aside: nobody was
// told that it is stored, but somebody may want to look at it.
//
// The order makes a crash at any point harmless: the copy first; then the watermark, which must not call anything durable
// that goes; then the bytes.

import { join } from 'node:path';
import type { Disk } from '@ternmq/runtime';
import { forgetDamage } from '../log/known-damage.ts';
import { Segments } from '../log/segments.ts';
import { WatermarkFile } from '../log/watermark-file.ts';

const WHOLE = 'log-';
const COPY_BYTES = 1 << 20;
/** Largest copy that is kept of one tail. */
const ASIDE_BYTES_MAX = 256 << 20;

/**
 * Cuts the log of a data folder, which is closed, behind a position.
 *
 * @param end where the log ended
 * @param storePosition up to where the state store holds: it is discarded when that lies behind the cut
 * @returns the file that has what was cut
 */
export async function cutTail(
  options: { folder: string; segmentBytes: number },
  cut: { position: number; end: number; epoch: number; storePosition: number },
  disk: Disk,
): Promise<string> {
  const { folder, segmentBytes } = options;
  const { position, end } = cut;
  const segments = new Segments({ folder: join(folder, 'log'), segmentBytes }, disk);
  try {
    const aside = join(folder, 'divergent', `${position}-${end}-epoch-${cut.epoch}`);
    disk.makeFolder(join(folder, 'divergent'));
    copyAside(segments, position, Math.min(end, position + ASIDE_BYTES_MAX), aside, disk);
    if (cut.storePosition > position) disk.remove(join(folder, 'state'));
    const watermark = new WatermarkFile(join(folder, 'watermark'), disk);
    watermark.begin(position, cut.epoch, true);
    await watermark.sync();
    watermark.close();
    await segments.cut(position);
    return aside;
  } finally {
    segments.close();
  }
}

/**
 * Puts a whole log aside that has nothing in common with the master's, or nothing that the master still keeps; returns the
 * folder. Only the newest one is kept. A crash on the way leaves the log, or nothing: the slave finds out anew.
 */
export function setLogAside(
  folder: string,
  { start, end, epoch }: { start: number; end: number; epoch: number },
  disk: Disk,
): string {
  const divergent = join(folder, 'divergent');
  disk.makeFolder(divergent);
  for (const name of disk.list(divergent)) {
    if (name.startsWith(WHOLE)) disk.remove(join(divergent, name));
  }
  removeWhatFollows(folder, disk);
  const aside = join(divergent, `${WHOLE}${start}-${end}-epoch-${epoch}`);
  disk.rename(join(folder, 'log'), aside);
  return aside;
}

/** Removes everything that a log and its state have, but for what was kept aside. */
export function removeLog(folder: string, disk: Disk): void {
  removeWhatFollows(folder, disk);
  disk.remove(join(folder, 'log'));
}

/** Removes what is known of a log that goes. */
function removeWhatFollows(folder: string, disk: Disk): void {
  disk.remove(join(folder, 'state'));
  disk.remove(join(folder, 'watermark'));
  forgetDamage(folder, disk);
}

function copyAside(segments: Segments, from: number, end: number, path: string, disk: Disk): void {
  disk.remove(path);
  const aside = disk.open(path);
  const buffer = Buffer.allocUnsafeSlow(COPY_BYTES);
  try {
    for (let position = from; position < end; ) {
      const segment = segments.find(position);
      if (segment === undefined) return;
      const bytes = Math.min(COPY_BYTES, segment.end - position, end - position);
      const file = segments.hold(segment);
      const read = file.readSync(buffer, 0, bytes, position - segment.start);
      segments.release(segment);
      if (read === 0) return;
      aside.writeSync(buffer, 0, read, position - from);
      position += read;
    }
  } finally {
    aside.close();
  }
}
