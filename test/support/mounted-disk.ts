// Disks of a test's own, to be filled, slowed down, and cut from their power. Linux and root only.
//
// Every mount lies in a folder `ternmq-disk-<pid>-…`, so that one left behind by a killed process is
// found and removed by the next test that mounts.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const PREFIX = 'ternmq-disk-';
const COMMAND_MS_MAX = 60_000;
/** Root's tools are not always in the PATH that a process gets. */
const ENVIRONMENT = { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin` };

/** Why disks cannot be mounted here; undefined when they can. */
export function whyNoMounts(): string | undefined {
  if (process.platform !== 'linux') return 'mounting disks needs Linux';
  if (process.getuid?.() !== 0) return 'mounting disks needs root';
  return undefined;
}

/** Why there can be no disk with `cutPower`; undefined when there can. */
export function whyNoLoopDisk(): string | undefined {
  const reason = whyNoMounts();
  if (reason !== undefined) return reason;
  for (const [tool, purpose] of [
    ['mkfs.ext4', 'makes the file system'],
    ['losetup', 'makes a disk of a file'],
    ['python3', 'calls the ioctl that cuts the power'],
  ] as const) {
    try {
      execFileSync('sh', ['-c', `command -v ${tool}`], { env: ENVIRONMENT, stdio: 'ignore' });
    } catch {
      return `${tool}, which ${purpose}, is not installed`;
    }
  }
  try {
    execFileSync('losetup', ['--find'], { env: ENVIRONMENT, stdio: 'ignore' });
  } catch {
    return 'there is no free loop device';
  }
  return undefined;
}

function run(command: string, ...args: string[]): void {
  execFileSync(command, args, {
    env: ENVIRONMENT,
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: COMMAND_MS_MAX,
  });
}

/** Mount points in folders of this kind, newest first. */
function mountPoints(): string[] {
  return readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((path) => path.startsWith(join(tmpdir(), PREFIX)))
    .reverse();
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

function removeLeftovers(): void {
  for (const path of mountPoints()) {
    const folder = path.slice(0, path.indexOf('/', tmpdir().length + 1));
    const pid = Number(folder.slice(join(tmpdir(), PREFIX).length).split('-')[0]);
    if (isAlive(pid)) continue;
    run('umount', '--lazy', path);
    rmSync(folder, { recursive: true, force: true });
  }
}

// Flag 2 (EXT4_GOING_FLAGS_NOLOGFLUSH) to the ioctl EXT4_IOC_SHUTDOWN, which is _IOR('X', 125, __u32):
// from here on nothing reaches the disk, neither data nor journal.
const CUT_POWER = `
import fcntl, os, struct, sys
folder = os.open(sys.argv[1], os.O_RDONLY)
fcntl.ioctl(folder, 0x8004587D, struct.pack('I', 2))
`;

/** A mounted file system that is unmounted and removed when it is disposed, or when the process ends. */
export class MountedDisk implements Disposable {
  /** An empty folder on the disk, for data. */
  readonly path: string;
  readonly #folder: string;
  readonly #mountPoint: string;
  readonly #image: string | undefined;

  private constructor(folder: string, image: string | undefined) {
    this.#folder = folder;
    this.#mountPoint = join(folder, 'disk');
    this.path = join(this.#mountPoint, 'data');
    this.#image = image;
    process.once('exit', this.#dispose);
  }

  /** A disk in memory, whose only purpose is to be small. */
  static async tmpfs(sizeMiB: number): Promise<MountedDisk> {
    return MountedDisk.#create(undefined, (disk) => {
      run('mount', '-t', 'tmpfs', '-o', `size=${sizeMiB}m`, 'ternmq-test', disk.#mountPoint);
    });
  }

  /** An ext4 file system on a file. */
  static async ext4(sizeMiB: number): Promise<MountedDisk> {
    return MountedDisk.#create('image', (disk) => {
      const image = disk.#image as string;
      writeFileSync(image, '');
      truncateSync(image, sizeMiB * 1024 * 1024);
      run('mkfs.ext4', '-q', '-F', image);
      disk.#mountImage();
    });
  }

  static async #create(
    image: string | undefined,
    mount: (disk: MountedDisk) => void,
  ): Promise<MountedDisk> {
    removeLeftovers();
    const folder = mkdtempSync(join(tmpdir(), `${PREFIX}${process.pid}-`));
    const disk = new MountedDisk(folder, image && join(folder, image));
    try {
      await mkdir(disk.#mountPoint);
      mount(disk);
      await mkdir(disk.path);
    } catch (error) {
      disk.#dispose();
      throw error;
    }
    return disk;
  }

  /** `major:minor` of the block device that holds the data. */
  get device(): string {
    const { dev } = statSync(this.#mountPoint);
    return `${(dev >> 8) & 0xfff}:${(dev & 0xff) | ((dev >> 12) & 0xfff00)}`;
  }

  /**
   * Cuts the power of an ext4 disk: what was not synced is gone, and every write and sync fails with EIO
   * until `powerOn`.
   */
  cutPower(): void {
    run('python3', '-c', CUT_POWER, this.#mountPoint);
  }

  /** Mounts the disk again after `cutPower`. No process may have files on it open. */
  powerOn(): void {
    run('umount', this.#mountPoint);
    this.#mountImage();
  }

  [Symbol.dispose](): void {
    this.#dispose();
  }

  #mountImage(): void {
    run('mount', '-o', 'loop', this.#image as string, this.#mountPoint);
  }

  readonly #dispose = (): void => {
    process.removeListener('exit', this.#dispose);
    // Lazy, so that a process that still has files open cannot keep the disk in the tree.
    if (mountPoints().includes(this.#mountPoint)) run('umount', '--lazy', this.#mountPoint);
    rmSync(this.#folder, { recursive: true, force: true });
  };
}
