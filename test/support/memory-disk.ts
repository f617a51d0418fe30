import type { Disk, DiskFile } from '@ternmq/runtime';

const PARENT = /^(.*)\/([^/]+)$/;

/** A file system in memory that can be copied at any moment, as a crash would leave it. */
export class MemoryDisk implements Disk {
  readonly #files: Map<string, Buffer>;

  constructor(files: Map<string, Buffer> = new Map()) {
    this.#files = files;
  }

  /** A copy that shares nothing with this one. */
  copy(): MemoryDisk {
    return new MemoryDisk(
      new Map([...this.#files].map(([path, file]) => [path, Buffer.from(file)])),
    );
  }

  /** A copy that shares everything but one file with this one. */
  copyOf(path: string): MemoryDisk {
    return new MemoryDisk(new Map(this.#files).set(path, Buffer.from(this.bytes(path))));
  }

  /** The bytes of a file, to be read or damaged in place. */
  bytes(path: string): Buffer {
    const file = this.#files.get(path);
    if (file === undefined) throw Object.assign(new Error(`no file ${path}`), { code: 'ENOENT' });
    return file;
  }

  /** Replaces a file. */
  put(path: string, bytes: Buffer): void {
    this.#files.set(path, bytes);
  }

  /** Paths of all files. */
  get paths(): string[] {
    return [...this.#files.keys()].sort();
  }

  open(path: string): DiskFile {
    if (!this.#files.has(path)) this.#files.set(path, Buffer.alloc(0));
    return this.#file(path);
  }

  openReadOnly(path: string): DiskFile {
    this.bytes(path);
    return this.#file(path);
  }

  /** An open file follows its bytes, not its name. */
  #file(path: string): DiskFile {
    let current = path;
    const bytes = (): Buffer => this.#files.get(current) ?? Buffer.alloc(0);
    const resize = (size: number): void => {
      const resized = Buffer.alloc(size);
      bytes().copy(resized);
      this.#files.set(current, resized);
    };
    const readSync: DiskFile['readSync'] = (into, start, length, position) =>
      bytes().copy(into, start, position, Math.min(bytes().length, position + length));
    this.#renamed.push((from, to) => {
      if (current === from) current = to;
    });
    return {
      writeSync(source, start, length, position) {
        if (position + length > bytes().length) resize(position + length);
        bytes().set(source.subarray(start, start + length), position);
      },
      readSync,
      read: async (...where) => readSync(...where),
      dataSync: (callback) => queueMicrotask(() => callback(null)),
      truncateSync: resize,
      sizeSync: () => bytes().length,
      close() {},
    };
  }
  readonly #renamed: ((from: string, to: string) => void)[] = [];

  list(folder: string): string[] {
    const names = this.paths.map((path) => PARENT.exec(path));
    return names.flatMap((match) => (match?.[1] === folder ? [match[2] as string] : []));
  }

  exists(path: string): boolean {
    return this.#files.has(path);
  }

  makeFolder(): void {}

  readSmall(path: string): Buffer | undefined {
    return this.#files.get(path);
  }

  replaceSmall(path: string, bytes: Uint8Array): void {
    this.#files.set(path, Buffer.from(bytes));
  }

  rename(from: string, to: string): void {
    this.#files.set(to, this.bytes(from));
    this.#files.delete(from);
    for (const renamed of this.#renamed) renamed(from, to);
  }

  remove(path: string): void {
    for (const name of this.#files.keys()) {
      if (name === path || name.startsWith(`${path}/`)) this.#files.delete(name);
    }
  }

  syncFolder(_path: string, callback: (error: Error | null) => void): void {
    queueMicrotask(() => callback(null));
  }

  async space(): Promise<{ freeBytes: number; totalBytes: number }> {
    return { freeBytes: 2 ** 40, totalBytes: 2 ** 41 };
  }

  lock(): { release(): void } {
    return { release() {} };
  }
}
