// How far the log is known to be durable: the file `watermark`, two slots written in turn, so that a write
// that is torn leaves the other one. Nothing depends on its being fresh: the log itself carries watermark
// records, and the highest that is found counts.
//
//   slot at 0 and at 4096:
//     0  magic      8  "TERNWM01"; "TERNWMF1" when the log follows a master: then the watermark records in it speak of
//                      the master's disk, and only this file tells what is durable here
//     8  counter    8  the slot with the higher one is newer
//    16  position   8  every byte of the log before it is durable
//    24  epoch      4  of the log's last opening: no other has it, even when it left no record behind
//    28  checksum   4  CRC-32 of the bytes 0 to 28

import { crc32 } from 'node:zlib';
import type { Disk, DiskFile } from '@ternmq/runtime';
import { readUint64, viewOf, writeUint64 } from './record.ts';

const LEADING = Buffer.from('TERNWM01', 'latin1');
const FOLLOWING = Buffer.from('TERNWMF1', 'latin1');
const SLOT_BYTES = 32;
const CHECKSUM_AT = 28;
const SLOT_DISTANCE = 4096;

/** What a watermark file tells. */
export interface Watermark {
  /** Every byte of the log before it is durable. */
  readonly position: number;
  /** Epoch of the log's last opening. */
  readonly epoch: number;
  /** Slots written so far. */
  readonly counter: number;
  /** The log's records came from a master. */
  readonly following: boolean;
}

/** Reads the newest slot of a watermark file; zeros when there is none. */
export function readWatermark(path: string, disk: Disk): Watermark {
  let newest: Watermark = { position: 0, epoch: 0, counter: 0, following: false };
  if (!disk.exists(path)) return newest;
  const file = disk.openReadOnly(path);
  try {
    for (const at of [0, SLOT_DISTANCE]) {
      const slot = Buffer.alloc(SLOT_BYTES);
      if (file.readSync(slot, 0, SLOT_BYTES, at) < SLOT_BYTES) continue;
      const magic = slot.subarray(0, 8);
      const following = magic.equals(FOLLOWING);
      if (!following && !magic.equals(LEADING)) continue;
      if (slot.readUInt32LE(CHECKSUM_AT) !== crc32(slot.subarray(0, CHECKSUM_AT))) continue;
      const counter = readUint64(viewOf(slot), 8);
      if (counter <= newest.counter) continue;
      const position = readUint64(viewOf(slot), 16);
      newest = { position, epoch: slot.readUInt32LE(24), counter, following };
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
  #epoch: number;
  #following: boolean;

  /** Opens or creates the file. */
  constructor(path: string, disk: Disk) {
    const { position, epoch, counter, following } = readWatermark(path, disk);
    this.#position = position;
    this.#epoch = epoch;
    this.#counter = counter;
    this.#following = following;
    this.#file = disk.open(path);
  }

  /** Writes a position that is durable; does nothing when it is the one written last. */
  write(position: number): void {
    if (position > this.#position) this.#writeSlot(position, this.#epoch);
  }

  /**
   * Writes the epoch of a new opening, where the log ends, and whether it follows a master from now on; `sync` must
   * follow before the first record.
   */
  begin(position: number, epoch: number, following: boolean): void {
    this.#following = following;
    this.#writeSlot(position, epoch);
  }

  #writeSlot(position: number, epoch: number): void {
    const counter = this.#counter + 1;
    const slot = Buffer.alloc(SLOT_BYTES);
    (this.#following ? FOLLOWING : LEADING).copy(slot);
    writeUint64(viewOf(slot), 8, counter);
    writeUint64(viewOf(slot), 16, position);
    slot.writeUInt32LE(epoch, 24);
    slot.writeUInt32LE(crc32(slot.subarray(0, CHECKSUM_AT)), CHECKSUM_AT);
    this.#file.writeSync(slot, 0, SLOT_BYTES, (counter % 2) * SLOT_DISTANCE);
    this.#counter = counter;
    this.#position = position;
    this.#epoch = epoch;
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
