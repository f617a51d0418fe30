import { type Disk, type DiskFile, nodeDisk } from '@ternmq/runtime';

/** An operation of a disk that a fault may hit. */
export type DiskOperation = 'write' | 'sync' | 'read' | 'create';

/** An error as Node gives it. */
export function diskError(code: 'ENOSPC' | 'EIO'): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: planted by a test`), { code });
}

/**
 * A real disk whose operations fail when a test says so.
 *
 * `faults` is asked before each operation; what it returns is thrown, or given to the callback.
 */
export class FaultyDisk implements Disk {
  /** Decides about an operation on a path; undefined lets it through. */
  faults: (operation: DiskOperation, path: string) => NodeJS.ErrnoException | undefined = () =>
    undefined;
  /** Operations so far, those that failed among them. */
  readonly counts: Record<DiskOperation, number> = { write: 0, sync: 0, read: 0, create: 0 };
  /** While true, syncs are kept back; `releaseSyncs` lets them go. */
  holdSyncs = false;
  #held: (() => void)[] = [];
  /** What `space` tells; undefined for the truth. */
  freeBytes: number | undefined;
  totalBytes = 100 * 2 ** 30;

  /** Lets syncs that were kept back go to the disk. */
  releaseSyncs(): void {
    this.holdSyncs = false;
    for (const sync of this.#held) sync();
    this.#held = [];
  }

  open(path: string): DiskFile {
    if (!nodeDisk.exists(path)) this.#check('create', path);
    return this.#wrap(nodeDisk.open(path), path);
  }

  openReadOnly(path: string): DiskFile {
    return this.#wrap(nodeDisk.openReadOnly(path), path);
  }

  list = nodeDisk.list;
  exists = nodeDisk.exists;
  makeFolder = nodeDisk.makeFolder;
  readSmall = nodeDisk.readSmall;
  replaceSmall = nodeDisk.replaceSmall;
  rename = nodeDisk.rename;
  remove = nodeDisk.remove;
  syncFolder = nodeDisk.syncFolder;
  lock = nodeDisk.lock;

  async space(path: string): Promise<{ freeBytes: number; totalBytes: number }> {
    if (this.freeBytes === undefined) return nodeDisk.space(path);
    return { freeBytes: this.freeBytes, totalBytes: this.totalBytes };
  }

  #check(operation: DiskOperation, path: string): void {
    this.counts[operation]++;
    const error = this.faults(operation, path);
    if (error !== undefined) throw error;
  }

  #wrap(file: DiskFile, path: string): DiskFile {
    return {
      writeSync: (bytes, start, length, position) => {
        this.#check('write', path);
        file.writeSync(bytes, start, length, position);
      },
      readSync: (into, start, length, position) => {
        this.#check('read', path);
        return file.readSync(into, start, length, position);
      },
      read: async (into, start, length, position) => {
        this.#check('read', path);
        return file.read(into, start, length, position);
      },
      dataSync: (callback) => {
        const sync = (): void => {
          this.counts.sync++;
          const error = this.faults('sync', path);
          if (error === undefined) file.dataSync(callback);
          else setImmediate(() => callback(error));
        };
        if (this.holdSyncs) this.#held.push(sync);
        else sync();
      },
      truncateSync: (size) => {
        this.#check('write', path);
        file.truncateSync(size);
      },
      sizeSync: () => file.sizeSync(),
      close: () => file.close(),
    };
  }
}
