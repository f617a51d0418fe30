import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A folder of its own that is removed with all its content: `await using folder = await TempDir.create('log')`. */
export class TempDir implements AsyncDisposable {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /** @param purpose a word in the folder's name, for those who find it */
  static async create(purpose: string): Promise<TempDir> {
    return new TempDir(await mkdtemp(join(tmpdir(), `ternmq-${purpose}-`)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.path, { recursive: true, force: true });
  }
}
