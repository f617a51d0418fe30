// LMDB maps its file into memory, and a damaged one can end the process instead of giving an error. The file `opening`
// counts how often that happened: it exists while the store is opened and read, and is removed when that went well
// or failed in an orderly way.

import { join } from 'node:path';
import type { Disk } from '@ternmq/runtime';

/** A process may also end there because someone stopped it, so one time proves nothing. */
const CRASHES_MAX = 2;

/** Notes that the store is being opened. */
export class OpeningMark {
  readonly #path: string;
  readonly #disk: Disk;
  /** Has opening the store ended the process again and again? */
  readonly hopeless: boolean;

  /** @param folder the data folder */
  constructor(folder: string, disk: Disk) {
    this.#path = join(folder, 'opening');
    this.#disk = disk;
    const crashes = Number(disk.readSmall(this.#path)?.toString()) || 0;
    this.hopeless = crashes >= CRASHES_MAX;
    try {
      disk.replaceSmall(this.#path, Buffer.from(`${crashes + 1}\n`));
    } catch {
      // On a full disk the broker must start all the same.
    }
  }

  /** The store was opened, or that failed in an orderly way. */
  remove(): void {
    this.#disk.remove(this.#path);
  }
}
