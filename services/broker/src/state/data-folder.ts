// The data folder of a broker, and who may use it.
//
//   format      what wrote the folder: {"format": 1}; a newer one is refused and left unchanged
//   lock        held by the broker that uses the folder
//   log/        segments
//   watermark   how far the log is known to be durable
//   state/      LMDB; derived, may be deleted
//   opening     there while the state is opened; see opening-mark.ts
//   ballast     space that is given up when the disk is full

import { join } from 'node:path';
import { type Disk, type DiskLock, TernError } from '@ternmq/runtime';

/** The format that this broker reads and writes. */
export const DATA_FORMAT = 1;

/** Refuses a folder that a newer broker wrote. Changes nothing. */
export function checkFormat(folder: string, disk: Disk): void {
  const bytes = disk.readSmall(join(folder, 'format'));
  if (bytes === undefined) return;
  let format: unknown;
  try {
    format = (JSON.parse(bytes.toString()) as { format?: unknown }).format;
  } catch (cause) {
    throw new TernError(
      'FAILED_PRECONDITION',
      'DATA_FORMAT_UNREADABLE',
      `the file ${join(folder, 'format')} is no JSON; restore it, or start with another --data folder`,
      { cause },
    );
  }
  if (format !== DATA_FORMAT) {
    throw new TernError(
      'FAILED_PRECONDITION',
      'DATA_FORMAT_UNKNOWN',
      `${folder} has data format ${String(format)}, and this broker knows ${DATA_FORMAT}; ` +
        'start the version that wrote it, or use another --data folder',
    );
  }
}

/** Takes a data folder for this process: creates what is missing and locks it. */
export function openDataFolder(folder: string, disk: Disk): DiskLock {
  checkFormat(folder, disk);
  disk.makeFolder(folder);
  const lock = disk.lock(join(folder, 'lock'));
  if (lock === undefined) {
    throw new TernError(
      'FAILED_PRECONDITION',
      'DATA_FOLDER_IN_USE',
      `another broker uses ${folder}; stop it, or start this one with another --data folder`,
    );
  }
  if (!disk.exists(join(folder, 'format'))) {
    disk.replaceSmall(join(folder, 'format'), Buffer.from(`{"format": ${DATA_FORMAT}}\n`));
  }
  return lock;
}
