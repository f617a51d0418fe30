// The data folder of a broker, and who may use it.
//
//   format      what wrote the folder: {"format": 1, "id": …}; a newer one is refused and left unchanged. The id is chance, and
//               never changes: a member of a group that comes back with another one has lost what it had
//   lock        held by the broker that uses the folder
//   log/        segments
//   watermark   how far the log is known to be durable
//   damaged     ranges of the log that do not check out; there while there are any
//   state/      LMDB; derived, may be deleted
//   opening     there while the state is opened; see opening-mark.ts
//   ballast     space that is given up when the disk is full

import { join } from 'node:path';
import { type Disk, type DiskLock, type Random, TernError } from '@ternmq/runtime';

/** The format that this broker reads and writes. */
export const DATA_FORMAT = 1;

const ID_BYTES = 16;

/** A data folder that this process has taken. */
export interface DataFolder {
  readonly lock: DiskLock;
  /** Which folder it is. */
  readonly id: string;
}

/** Refuses a folder that a newer broker wrote. Changes nothing. Returns its id, if it has one yet. */
export function checkFormat(folder: string, disk: Disk): string | undefined {
  const bytes = disk.readSmall(join(folder, 'format'));
  if (bytes === undefined) return undefined;
  let format: unknown;
  let id: string | undefined;
  try {
    ({ format, id } = JSON.parse(bytes.toString()) as { format?: unknown; id?: string });
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
  return id;
}

/** Takes a data folder for this process: creates what is missing and locks it. */
export function openDataFolder(folder: string, disk: Disk, random: Random): DataFolder {
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
  const known = checkFormat(folder, disk);
  if (known !== undefined) return { lock, id: known };
  const id = random.bytes(ID_BYTES).toString('hex');
  const text = `{"format": ${DATA_FORMAT}, "id": "${id}"}\n`;
  disk.replaceSmall(join(folder, 'format'), Buffer.from(text));
  return { lock, id };
}
