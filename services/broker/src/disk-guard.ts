// Keeps the disk from filling up: refuses messages while little space is left, before writes begin to fail, and
// holds a ballast file that is given up when they do, so that settlements and deletions still find room.
//
//   free space     what happens                              RocketMQ's ratio
//   < 25 %         expired segments are deleted at once      75 % used
//   < 15 %, 4 GiB  the oldest segments are deleted           85 % used
//   < 10 %, 1 GiB  messages are refused                      90 % used
//
// A ratio counts only below its absolute bound as well, so that a large disk that is fuller than that, with many
// gigabytes left, is no reason to refuse anything.

import { join } from 'node:path';
import type { Clock, Disk, DiskSpace, Logger, Timer } from '@ternmq/runtime';
import type { Refusal } from './grpc/frame-refusal.ts';
import type { CommitLog } from './log/commit-log.ts';

const CHECK_INTERVAL_MS = 1000;
const REFUSE = { ratio: 0.1, bytes: 1 << 30 };
const CLEAN = { ratio: 0.15, bytes: 4 * 2 ** 30 };
const EXPIRE_RATIO = 0.25;
/** Less than this is no space: the state store needs it to give segments up. */
const FULL_BYTES = 1 << 20;
const BALLAST_BYTES_MAX = 16 << 20;
const BALLAST_RATIO = 0.02;

const REFUSAL: Refusal = {
  reason: 'DISK_FULL',
  message:
    "the broker's disk is almost full; free space or delete topics, sending resumes by itself",
};

/** How much space is left, and what follows. */
export class DiskGuard {
  readonly #folder: string;
  readonly #disk: Disk;
  readonly #log: CommitLog;
  readonly #logger: Logger;
  #space: DiskSpace;
  /** Position of the log when the space was measured. */
  #measuredAt: number;
  #refusing = false;
  #ballast: boolean;
  #timer: Timer | undefined;
  #checking = false;

  private constructor(
    folder: string,
    modules: { disk: Disk; clock: Clock; log: CommitLog; logger: Logger },
    space: DiskSpace,
  ) {
    this.#folder = folder;
    this.#disk = modules.disk;
    this.#log = modules.log;
    this.#logger = modules.logger;
    this.#space = space;
    this.#measuredAt = modules.log.next;
    this.#ballast = modules.disk.exists(this.#ballastPath);
  }

  /** Measures the space, and lays the ballast down if there is room for it. */
  static async create(
    folder: string,
    modules: { disk: Disk; clock: Clock; log: CommitLog; logger: Logger },
  ): Promise<DiskGuard> {
    const guard = new DiskGuard(folder, modules, await modules.disk.space(folder));
    guard.#act();
    guard.#timer = modules.clock.every(CHECK_INTERVAL_MS, () => void guard.check());
    return guard;
  }

  get #ballastPath(): string {
    return join(this.#folder, 'ballast');
  }

  /** Free bytes by the last measurement, less what was written since. */
  get freeBytes(): number {
    return this.#space.freeBytes - Math.max(0, this.#log.next - this.#measuredAt);
  }

  /** Size of the disk in bytes. */
  get totalBytes(): number {
    return this.#space.totalBytes;
  }

  /** Are messages refused? */
  get refusing(): boolean {
    return this.#refusing;
  }

  /** Shall segments be deleted: none before their time, expired ones at once, or the oldest anyway? */
  get pressure(): 'none' | 'expire' | 'clean' {
    const { freeBytes, totalBytes } = this;
    if (freeBytes < Math.min(CLEAN.ratio * totalBytes, CLEAN.bytes)) return 'clean';
    return freeBytes < EXPIRE_RATIO * totalBytes ? 'expire' : 'none';
  }

  /** Why messages are refused now; undefined when they are not. */
  refusal(): Refusal | undefined {
    if (!this.#refusing && (this.#log.full || this.freeBytes < this.#refuseBelow)) this.#act();
    return this.#refusing ? REFUSAL : undefined;
  }

  get #refuseBelow(): number {
    return Math.min(REFUSE.ratio * this.totalBytes, REFUSE.bytes);
  }

  /** Measures the space now. */
  async check(): Promise<void> {
    if (this.#checking) return;
    this.#checking = true;
    try {
      const at = this.#log.next;
      this.#space = await this.#disk.space(this.#folder);
      this.#measuredAt = at;
      this.#act();
    } catch (error) {
      this.#logger.warn({ error }, 'the free space of the disk cannot be measured');
    } finally {
      this.#checking = false;
    }
  }

  #act(): void {
    const { freeBytes } = this;
    const refuse = this.#log.full || freeBytes < this.#refuseBelow;
    if (refuse && !this.#refusing) {
      this.#logger.error({ freeBytes }, 'the disk is almost full: messages are refused');
    } else if (!refuse && this.#refusing) {
      this.#logger.info({ freeBytes }, 'the disk has room again: messages are accepted');
    }
    this.#refusing = refuse;
    const full = this.#log.full || freeBytes < FULL_BYTES;
    if (full && this.#ballast) {
      this.#disk.remove(this.#ballastPath);
      this.#ballast = false;
      this.#logger.warn(
        'the disk is full: the ballast file was given up for settlements and deletions',
      );
    } else if (!refuse && !this.#ballast) {
      this.#layBallast();
    }
  }

  #layBallast(): void {
    const bytes = Math.min(BALLAST_BYTES_MAX, Math.floor(BALLAST_RATIO * this.totalBytes));
    if (this.freeBytes < this.#refuseBelow + 2 * bytes) return;
    const file = this.#disk.open(this.#ballastPath);
    try {
      file.writeSync(Buffer.alloc(bytes), 0, bytes, 0);
      this.#ballast = true;
    } catch (error) {
      this.#logger.warn({ error }, 'there is no room for the ballast file');
      this.#disk.remove(this.#ballastPath);
    } finally {
      file.close();
    }
  }

  /** Stops measuring. */
  close(): void {
    this.#timer?.cancel();
  }
}
