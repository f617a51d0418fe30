// How far the log is known to be durable: the file `watermark`, two slots written in turn, so that a write
// that is torn leaves the other one. Nothing depends on its being fresh: the log itself carries watermark
// records, and the highest that is found counts.
//
//   slot at 0 and at 4096:
//     0  magic      8  "TERNWM01"
//     8  counter    8  the slot with the higher one is newer
//    16  position   8  every byte of the log before it is durable
//    24  checksum   4  CRC-32 of the bytes 0 to 24

import { crc32 } from 'node:zlib';
import type { Disk, DiskFile } from '@ternmq/runtime';
import { readUint64, viewOf, writeUint64 } from './record.ts';

const MAGIC = Buffer.from('TERNWM01', 'latin1');
const SLOT_BYTES = 28;
const SLOT_DISTANCE = 4096;

/** Reads the highest position that a watermark file tells; 0 when there is none. */
export function readWatermark(path: string, disk: Disk): { position: number; counter: number } {
  let newest = { position: 0, counter: 0 };
  if (!disk.exists(path)) return newest;
  const file = disk.openReadOnly(path);
  try {
    for (const at of [0, SLOT_DISTANCE]) {
      const slot = Buffer.alloc(SLOT_BYTES);
      if (file.readSync(slot, 0, SLOT_BYTES, at) < SLOT_BYTES) continue;
      if (
        !slot.subarray(0, 8).equals(MAGIC) ||
        slot.readUInt32LE(24) !== crc32(slot.subarray(0, 24))
      ) {
        continue;
      }
      const counter = readUint64(viewOf(slot), 8);
      if (counter > newest.counter) newest = { position: readUint64(viewOf(slot), 16), counter };
    }
  } finally {
    file.close();
  }
  return newest;
}

/** Keeps the watermark file of a log that is written. */
export class WatermarkFile {
  readonly #file: DiskFile;
  #counter: number;
  #position: number;

  /** Opens or creates the file. */
  constructor(path: string, disk: Disk) {
    const { position, counter } = readWatermark(path, disk);
    this.#position = position;
    this.#counter = counter;
    this.#file = disk.open(path);
  }

  /** Writes a position that is durable; does nothing when it is the one written last. */
  write(position: number): void {
    if (position <= this.#position) return;
    this.#position = position;
    this.#counter++;
    const slot = Buffer.alloc(SLOT_BYTES);
    MAGIC.copy(slot);
    writeUint64(viewOf(slot), 8, this.#counter);
    writeUint64(viewOf(slot), 16, position);
    slot.writeUInt32LE(crc32(slot.subarray(0, 24)), 24);
    this.#file.writeSync(slot, 0, SLOT_BYTES, (this.#counter % 2) * SLOT_DISTANCE);
  }

  /** Makes what was written survive a power failure. */
  sync(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#file.dataSync((error) => (error === null ? resolve() : reject(error)));
    });
  }

  /** Closes the file. */
  close(): void {
    this.#file.close();
  }
}
