// The file operations that a store needs, and nothing more, so that tests and the simulation can replace
// the disk and inject its faults. Synchronous calls are those of the hot path and of start-up; what may
// take long while a broker serves (sync, cold reads, statistics) is asynchronous.

import fs from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

/** An open file. */
export interface DiskFile {
  /** Writes `length` bytes of `bytes` from `start` at `position` of the file, all of them. */
  writeSync(bytes: Uint8Array, start: number, length: number, position: number): void;
  /** Reads at most `length` bytes at `position`; returns how many there were. */
  readSync(into: Uint8Array, start: number, length: number, position: number): number;
  /** As readSync, in the background. */
  read(into: Uint8Array, start: number, length: number, position: number): Promise<number>;
  /** Calls back when everything written so far survives a power failure (fdatasync). */
  dataSync(callback: (error: Error | null) => void): void;
  /** Sets the file's size; what is added reads as zeros. */
  truncateSync(size: number): void;
  /** The file's size in bytes. */
  sizeSync(): number;
  /** Closes the file; harmless when it is closed. */
  close(): void;
}

/** Free and total bytes of a file system. */
export interface DiskSpace {
  /** Bytes that this process may still write. */
  readonly freeBytes: number;
  /** Size of the file system. */
  readonly totalBytes: number;
}

/** A lock that the operating system frees when its holder dies. */
export interface DiskLock {
  /** Frees the lock; harmless when it is free. */
  release(): void;
}

/** A file system. Errors are Node's, with their `code`. */
export interface Disk {
  /** Opens a file for reading and writing; creates an empty one when it does not exist. */
  open(path: string): DiskFile;
  /** Opens a file for reading only. */
  openReadOnly(path: string): DiskFile;
  /** Names in a folder, sorted; empty when the folder does not exist. */
  list(folder: string): string[];
  /** Does the path exist? */
  exists(path: string): boolean;
  /** Creates a folder and its parents. */
  makeFolder(path: string): void;
  /** The whole of a small file, or undefined when it does not exist. */
  readSmall(path: string): Buffer | undefined;
  /** Replaces a small file so that after a crash it holds either the old or the new bytes; only its owner reads a secret one. */
  replaceSmall(path: string, bytes: Uint8Array, options?: { readonly secret: boolean }): void;
  /** Renames a file. */
  rename(from: string, to: string): void;
  /** Deletes a file or a folder with all in it; harmless when there is none. */
  remove(path: string): void;
  /** Calls back when names made and removed in the folder survive a power failure. */
  syncFolder(path: string, callback: (error: Error | null) => void): void;
  /** Free and total space where the path lies. */
  space(path: string): Promise<DiskSpace>;
  /** Takes the lock file at the path, or returns undefined when another process holds it. */
  lock(path: string): DiskLock | undefined;
}

class NodeFile implements DiskFile {
  #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
  }

  writeSync(bytes: Uint8Array, start: number, length: number, position: number): void {
    let done = 0;
    while (done < length) {
      done += fs.writeSync(this.#fd, bytes, start + done, length - done, position + done);
    }
  }

  readSync(into: Uint8Array, start: number, length: number, position: number): number {
    let done = 0;
    while (done < length) {
      const count = fs.readSync(this.#fd, into, start + done, length - done, position + done);
      if (count === 0) break;
      done += count;
    }
    return done;
  }

  read(into: Uint8Array, start: number, length: number, position: number): Promise<number> {
    return new Promise((resolve, reject) => {
      const step = (done: number): void => {
        fs.read(this.#fd, into, start + done, length - done, position + done, (error, count) => {
          if (error !== null) reject(error);
          else if (count === 0 || done + count === length) resolve(done + count);
          else step(done + count);
        });
      };
      step(0);
    });
  }

  dataSync(callback: (error: Error | null) => void): void {
    fs.fdatasync(this.#fd, callback);
  }

  truncateSync(size: number): void {
    fs.ftruncateSync(this.#fd, size);
  }

  sizeSync(): number {
    return fs.fstatSync(this.#fd).size;
  }

  close(): void {
    if (this.#fd < 0) return;
    const fd = this.#fd;
    this.#fd = -1;
    fs.closeSync(fd);
  }
}

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT';
}

function syncFolderSync(path: string): void {
  const fd = fs.openSync(path, 'r');
  try {
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}

/** The machine's file system. */
export const nodeDisk: Disk = {
  open(path) {
    return new NodeFile(fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o640));
  },

  openReadOnly(path) {
    return new NodeFile(fs.openSync(path, fs.constants.O_RDONLY));
  },

  list(folder) {
    try {
      return fs.readdirSync(folder).sort();
    } catch (error) {
      if (isMissing(error)) return [];
      throw error;
    }
  },

  exists(path) {
    return fs.existsSync(path);
  },

  makeFolder(path) {
    fs.mkdirSync(path, { recursive: true });
  },

  readSmall(path) {
    try {
      return fs.readFileSync(path);
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  },

  replaceSmall(path, bytes, options) {
    const temporary = `${path}.new`;
    const fd = fs.openSync(temporary, 'w', options?.secret === true ? 0o600 : 0o640);
    try {
      fs.writeSync(fd, bytes);
      fs.fsyncSync(fd);
    } finally {
      fs.closeSync(fd);
    }
    fs.renameSync(temporary, path);
    syncFolderSync(join(path, '..'));
  },

  rename(from, to) {
    fs.renameSync(from, to);
  },

  remove(path) {
    fs.rmSync(path, { recursive: true, force: true });
  },

  syncFolder(path, callback) {
    fs.open(path, 'r', (openError, fd) => {
      if (openError !== null) return callback(openError);
      fs.fsync(fd, (syncError) => {
        fs.close(fd, (closeError) => callback(syncError ?? closeError));
      });
    });
  },

  async space(path) {
    const { bavail, blocks, bsize } = await fs.promises.statfs(path);
    return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
  },

  // Node offers no file lock of its own; SQLite's exclusive transaction holds one (fcntl) on the file for
  // as long as the process lives, and writes nothing.
  lock(path) {
    const database = new DatabaseSync(path);
    try {
      database.exec('PRAGMA journal_mode=OFF; PRAGMA locking_mode=EXCLUSIVE; BEGIN EXCLUSIVE');
    } catch (error) {
      database.close();
      const SQLITE_BUSY = 5;
      if ((error as { errcode?: number }).errcode === SQLITE_BUSY) return undefined;
      throw error;
    }
    return {
      release() {
        if (database.isOpen) database.close();
      },
    };
  },
};
