// The simulated disk of a machine. What was written and not synced is lost with the power, sector by sector, by chance;
// names that were made and not synced go from the newest on. A process that dies loses nothing that it had written.

import type { Disk, DiskFile, DiskLock, DiskSpace } from '@ternmq/runtime';
import { openMemoryStore } from '../../services/broker/src/state/memory-store.ts';
import type { Batch, StateStore } from '../../services/broker/src/state/store.ts';
import { type Process, theWorld } from './world.ts';

const SECTOR_BYTES = 512;
/** Small, as is what a broker keeps free of it. */
const SPACE: DiskSpace = { freeBytes: 60 << 20, totalBytes: 64 << 20 };

/** The bytes of a file, and what they were before what is not synced. */
class FileBytes {
  size = 0;
  bytes = Buffer.alloc(4096);
  /** By sector: what it held before the first write since a sync was begun. */
  dirty = new Map<number, Buffer>();
  /** The same of a sync that is under way. */
  syncing: Map<number, Buffer> | undefined;
  /** Size that survives. */
  syncedSize = 0;

  write(source: Uint8Array, position: number): void {
    const end = position + source.length;
    if (end > this.bytes.length) {
      const grown = Buffer.alloc(Math.max(end, this.bytes.length * 2));
      this.bytes.copy(grown);
      this.bytes = grown;
    }
    for (let sector = Math.floor(position / SECTOR_BYTES); sector * SECTOR_BYTES < end; sector++) {
      if (this.dirty.has(sector)) continue;
      const at = sector * SECTOR_BYTES;
      this.dirty.set(sector, Buffer.from(this.bytes.subarray(at, at + SECTOR_BYTES)));
    }
    this.bytes.set(source, position);
    this.size = Math.max(this.size, end);
  }

  read(into: Uint8Array, start: number, length: number, position: number): number {
    const count = Math.max(0, Math.min(length, this.size - position));
    const have = Math.max(0, Math.min(count, this.bytes.length - position));
    if (have > 0) into.set(this.bytes.subarray(position, position + have), start);
    if (count > have) into.fill(0, start + have, start + count);
    return count;
  }

  truncate(size: number): void {
    if (size < this.size && size < this.bytes.length) this.bytes.fill(0, size);
    this.size = size;
  }

  /** The power is gone. */
  lose(): void {
    const { random } = theWorld();
    for (const lost of [this.dirty, this.syncing ?? new Map<number, Buffer>()]) {
      for (const [sector, old] of lost) {
        if (random.integer(2) === 0) continue;
        const at = sector * SECTOR_BYTES;
        if (at >= this.bytes.length) continue;
        this.bytes.fill(0, at, Math.min(at + SECTOR_BYTES, this.bytes.length));
        old.copy(this.bytes, at);
      }
    }
    this.dirty.clear();
    this.syncing = undefined;
  }
}

/** What a disk does to those who use it. */
export interface DiskMood {
  /** Shortest and longest time of a sync, in milliseconds. */
  syncMs: readonly [min: number, max: number];
  /** The next syncs fail. */
  failing: boolean;
}

/** A disk, which outlives the processes that use it. */
export class SimDisk {
  readonly mood: DiskMood = { syncMs: [0.2, 2], failing: false };
  #files = new Map<string, FileBytes>();
  #stores = new Map<string, StateStore>();
  /** Undoes names that were made, changed and removed and are not synced, oldest first. */
  #names: (() => void)[] = [];
  readonly #locks = new Map<string, Process>();

  /** Everything that is not synced may be lost. */
  losePower(): void {
    const keep = theWorld().random.integer(this.#names.length + 1);
    for (const undo of this.#names.splice(keep).reverse()) undo();
    this.#names = [];
    for (const file of this.#files.values()) file.lose();
  }

  /** Everything is lost. */
  wipe(): void {
    this.#files = new Map();
    this.#stores = new Map();
    this.#names = [];
  }

  /** The derived state is lost. */
  loseState(): void {
    this.#stores.clear();
  }

  /** The bytes of a file, to be damaged. */
  bytesOf(path: string): Buffer | undefined {
    const file = this.#files.get(path);
    return file?.bytes.subarray(0, file.size);
  }

  /** Paths of all files, sorted. */
  get paths(): string[] {
    return [...this.#files.keys()].sort();
  }

  #name(undo: () => void): void {
    this.#names.push(undo);
  }

  #take(path: string): FileBytes {
    const file = this.#files.get(path);
    if (file === undefined) throw Object.assign(new Error(`no file ${path}`), { code: 'ENOENT' });
    return file;
  }

  /** The disk as a process sees it; a dead one changes nothing any more. */
  as(process: Process): Disk {
    const files = (): Map<string, FileBytes> => this.#files;
    return {
      open: (path) => {
        let file = files().get(path);
        if (file === undefined) {
          file = new FileBytes();
          if (process.alive) {
            files().set(path, file);
            this.#name(() => files().delete(path));
          }
        }
        return this.#file(file, process);
      },
      openReadOnly: (path) => this.#file(this.#take(path), process),
      list: (folder) => {
        const prefix = `${folder}/`;
        const names = new Set<string>();
        for (const path of files().keys()) {
          if (path.startsWith(prefix)) names.add(path.slice(prefix.length).split('/')[0] as string);
        }
        return [...names].sort();
      },
      exists: (path) =>
        files().has(path) || [...files().keys()].some((one) => one.startsWith(`${path}/`)),
      makeFolder() {},
      readSmall: (path) => {
        const file = files().get(path);
        return file === undefined ? undefined : Buffer.from(file.bytes.subarray(0, file.size));
      },
      replaceSmall: (path, bytes) => {
        if (!process.alive) return;
        const file = new FileBytes();
        file.write(bytes, 0);
        file.dirty.clear();
        files().set(path, file);
        this.#names = [];
      },
      rename: (from, to) => this.#rename(from, to, process),
      remove: (path) => this.#remove(path, process),
      syncFolder: (_path, callback) => this.#sync(process, undefined, callback),
      space: async () => SPACE,
      lock: (path): DiskLock | undefined => {
        const holder = this.#locks.get(path);
        if (holder?.alive === true) return undefined;
        this.#locks.set(path, process);
        return {
          release: () => {
            if (this.#locks.get(path) === process) this.#locks.delete(path);
          },
        };
      },
    };
  }

  #rename(from: string, to: string, process: Process): void {
    if (!process.alive) return;
    const moved = [...this.#files].filter(([path]) => path === from || path.startsWith(`${from}/`));
    for (const [path, file] of moved) {
      const target = to + path.slice(from.length);
      const former = this.#files.get(target);
      this.#files.delete(path);
      this.#files.set(target, file);
      this.#name(() => {
        this.#files.set(path, file);
        if (former === undefined) this.#files.delete(target);
        else this.#files.set(target, former);
      });
    }
    for (const [path, store] of [...this.#stores]) {
      if (path !== from && !path.startsWith(`${from}/`)) continue;
      this.#stores.delete(path);
      this.#stores.set(to + path.slice(from.length), store);
    }
  }

  #remove(path: string, process: Process): void {
    if (!process.alive) return;
    for (const [name, file] of [...this.#files]) {
      if (name !== path && !name.startsWith(`${path}/`)) continue;
      this.#files.delete(name);
      this.#name(() => this.#files.set(name, file));
    }
    for (const name of [...this.#stores.keys()]) {
      if (name === path || name.startsWith(`${path}/`)) this.#stores.delete(name);
    }
  }

  #sync(
    process: Process,
    file: FileBytes | undefined,
    callback: (error: Error | null) => void,
  ): void {
    const world = theWorld();
    const [min, max] = this.mood.syncMs;
    const names = this.#names.length;
    if (file !== undefined) {
      // One sync at a time is what the product does; a second one waits for what the first began with.
      const syncing = file.syncing ?? new Map<number, Buffer>();
      for (const [sector, old] of file.dirty) if (!syncing.has(sector)) syncing.set(sector, old);
      file.syncing = syncing;
      file.dirty = new Map();
    }
    world.after(min + world.random.next() * (max - min), process, () => {
      if (this.mood.failing) {
        callback(Object.assign(new Error('the disk fails'), { code: 'EIO' }));
        return;
      }
      if (file !== undefined) file.syncing = undefined;
      this.#names = this.#names.slice(names);
      callback(null);
    });
  }

  #file(file: FileBytes, process: Process): DiskFile {
    return {
      writeSync(source, start, length, position) {
        if (process.alive) file.write(source.subarray(start, start + length), position);
      },
      readSync: (into, start, length, position) => file.read(into, start, length, position),
      read: (into, start, length, position) =>
        new Promise((resolve) => {
          theWorld().after(0.1, process, () => resolve(file.read(into, start, length, position)));
        }),
      dataSync: (callback) => this.#sync(process, file, callback),
      truncateSync(size) {
        if (process.alive) file.truncate(size);
      },
      sizeSync: () => file.size,
      close() {},
    };
  }

  /**
   * Opens a state store, the one of tests but for the time that it takes: what is committed survives everything but `loseState`
   * and `wipe`.
   */
  openStore(folder: string, process: Process): StateStore {
    let store = this.#stores.get(folder);
    if (store === undefined) {
      store = openMemoryStore();
      this.#stores.set(folder, store);
    }
    const kept = store;
    const commitSync = (batch: Batch): void => {
      if (process.alive) kept.commitSync(batch);
    };
    const commit = (batch: Batch): Promise<void> => {
      const world = theWorld();
      return new Promise((resolve) => {
        world.after(0.2 + world.random.next(), process, () => {
          commitSync(batch);
          resolve();
        });
      });
    };
    return { ...kept, commit, commitSync };
  }
}
