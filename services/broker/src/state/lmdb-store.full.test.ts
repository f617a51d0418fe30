// LMDB on a disk that is really full.

import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { MountedDisk, whyNoMounts } from '../../../../test/support/mounted-disk.ts';
import { skipWhen } from '../../../../test/support/skip.ts';
import { openLmdbStore } from './lmdb-store.ts';

/** Writes a file until nothing fits any more. */
function fill(path: string): void {
  const file = openSync(path, 'w');
  try {
    for (;;) writeSync(file, Buffer.alloc(4096));
  } catch (error) {
    expect(error).toMatchObject({ code: 'ENOSPC' });
  } finally {
    closeSync(file);
  }
}

test('a store on a full disk says so, is read all the same, and takes the same batch when there is room', async (context) => {
  skipWhen(context, whyNoMounts());
  using disk = await MountedDisk.tmpfs(4);
  const folder = join(disk.path, 'state');
  const store = openLmdbStore(folder);
  const key = Buffer.from([1]);
  await store.commit({ puts: [{ key, value: Buffer.from('first') }], removes: [] });
  fill(join(disk.path, 'fill'));
  const puts = Array.from({ length: 200 }, (_, i) => ({
    key: Buffer.from([2, i]),
    value: Buffer.alloc(4000, i),
  }));
  const written = (): number => [...store.range(Buffer.from([2]), Buffer.from([3]))].length;
  for (let attempt = 0; attempt < 3; attempt++) {
    await expect(store.commit({ puts, removes: [key] })).rejects.toMatchObject({ code: 'ENOSPC' });
    expect(store.get(key)?.toString()).toBe('first');
    expect(written()).toBe(0);
  }
  rmSync(join(disk.path, 'fill'));
  await store.commit({ puts, removes: [key] });
  expect(written()).toBe(200);
  await store.close();
  const again = openLmdbStore(folder);
  expect(again.get(key)).toBeUndefined();
  await again.close();
});
