// Slows a block device down for some processes, by a cgroup (version 1, blkio). Linux and root only.

import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const BLKIO = '/sys/fs/cgroup/blkio';
const ROOT_PROCESSES = join(BLKIO, 'cgroup.procs');

/** Why no device can be slowed down here; undefined when one can. */
export function whyNoSlowDevice(): string | undefined {
  if (process.platform !== 'linux') return 'slowing a disk down needs Linux';
  if (process.getuid?.() !== 0) return 'slowing a disk down needs root';
  const probe = join(BLKIO, `ternmq-probe-${process.pid}`);
  try {
    mkdirSync(probe);
    readFileSync(join(probe, 'blkio.throttle.write_bps_device'));
    rmdirSync(probe);
    return undefined;
  } catch {
    return 'slowing a disk down needs the blkio controller of cgroup version 1, writable';
  }
}

/** A limit on how fast a group of processes may read and write a device. */
export class SlowDevice implements Disposable {
  readonly #group: string;
  readonly #device: string;

  /** @param device `major:minor` of the block device */
  constructor(device: string) {
    this.#device = device;
    this.#group = join(BLKIO, `ternmq-slow-${process.pid}-${device.replace(':', '-')}`);
    mkdirSync(this.#group);
  }

  /** Puts a process under the limit; those that it starts later are under it too. */
  add(pid: number): void {
    writeFileSync(join(this.#group, 'cgroup.procs'), `${pid}`);
  }

  /** Sets the limit in bytes a second; 0 for none. */
  limit(bytesPerSecond: number): void {
    for (const direction of ['read', 'write']) {
      const file = join(this.#group, `blkio.throttle.${direction}_bps_device`);
      writeFileSync(file, `${this.#device} ${bytesPerSecond}`);
    }
  }

  [Symbol.dispose](): void {
    this.limit(0);
    for (const pid of readFileSync(join(this.#group, 'cgroup.procs'), 'utf8').split('\n')) {
      if (pid !== '') writeFileSync(ROOT_PROCESSES, pid);
    }
    rmdirSync(this.#group);
  }
}
