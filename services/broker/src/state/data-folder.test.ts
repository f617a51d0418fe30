import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { nodeDisk, systemRandom } from '@ternmq/runtime';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { TempDir } from '../../../../test/support/temp-dir.ts';
import { openDataFolder } from './data-folder.ts';

let temp: TempDir;
let folder: string;

beforeEach(async () => {
  temp = await TempDir.create('data-folder');
  folder = join(temp.path, 'data');
});

afterEach(async () => {
  await temp[Symbol.asyncDispose]();
});

/** Names, bytes and times of everything in the folder. */
function fingerprint(): Record<string, string> {
  const files = readdirSync(folder, { recursive: true }) as string[];
  return Object.fromEntries(
    files.map((name) => {
      const { mtimeNs, size } = statSync(join(folder, name), { bigint: true });
      const digest = createHash('sha256')
        .update(readFileSync(join(folder, name)))
        .digest('hex');
      return [name, `${digest} ${size} ${mtimeNs}`];
    }),
  );
}

const open = () => openDataFolder(folder, nodeDisk, systemRandom);

/** Which folder it is, as who opens it learns. */
function idOf(): string {
  const { lock, id } = open();
  lock.release();
  return id;
}

test('a new folder is created, with its format and an id that stays', () => {
  const id = idOf();
  expect(id).toMatch(/^[0-9a-f]{32}$/);
  expect(JSON.parse(readFileSync(join(folder, 'format'), 'utf8'))).toEqual({ format: 1, id });
  expect(idOf()).toBe(id);
  rmSync(join(folder, 'format'));
  expect(idOf()).not.toBe(id);
});

test('a folder from before there were ids gets one', () => {
  idOf();
  writeFileSync(join(folder, 'format'), '{"format": 1}');
  const id = idOf();
  expect(id).toMatch(/^[0-9a-f]{32}$/);
  expect(idOf()).toBe(id);
});

test('a folder that is in use is refused without changing a byte, and free again after release', () => {
  const { lock } = open();
  const before = fingerprint();
  expect(() => open()).toThrow(
    expect.objectContaining({ code: 'FAILED_PRECONDITION', reason: 'DATA_FOLDER_IN_USE' }),
  );
  expect(fingerprint()).toEqual(before);
  lock.release();
  lock.release();
  open().lock.release();
});

test.each(['{"format": 2}', '{"format": "1"}', '{}', '[]', 'null', 'no JSON'])(
  'a folder whose format is %s is refused without changing a byte',
  (format) => {
    open().lock.release();
    writeFileSync(join(folder, 'format'), format);
    const before = fingerprint();
    expect(() => open()).toThrow(
      expect.objectContaining({
        code: 'FAILED_PRECONDITION',
        reason: expect.stringMatching(/^DATA_FORMAT_UN(KNOWN|READABLE)$/),
      }),
    );
    expect(fingerprint()).toEqual(before);
  },
);
