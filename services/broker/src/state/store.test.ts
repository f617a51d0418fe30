// The contract of StateStore: LMDB and the map pass the same tests.

import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { TempDir } from '../../../../test/support/temp-dir.ts';
import { openLmdbStore } from './lmdb-store.ts';
import { openMemoryStore } from './memory-store.ts';
import { overlayStore } from './overlay-store.ts';
import type { StateStore, StoreView } from './store.ts';

/** A store that begins empty because what the other one has is removed. */
function overOther(): StateStore {
  const below = openMemoryStore();
  const keys = Array.from({ length: 0x80 }, (_, first) => Buffer.from([first, first]));
  below.commitSync({ puts: keys.map((key) => ({ key, value: key })), removes: [] });
  const store = overlayStore(below);
  store.commitSync({ puts: [], removes: keys });
  return store;
}

const FIRST = Buffer.from([0]);
const LAST = Buffer.from([0xff, 0xff]);

describe.each([
  ['LMDB', (folder: string) => openLmdbStore(folder)],
  ['memory', () => openMemoryStore()],
  ['memory, on top of another', () => overOther()],
] as const)('a state store in %s', (kind, openStore) => {
  let temp: TempDir;
  let store: StateStore;

  beforeEach(async () => {
    temp = await TempDir.create('store');
    store = openStore(join(temp.path, 'state'));
  });

  afterEach(async () => {
    await store.close();
    await temp[Symbol.asyncDispose]();
  });

  const all = (from: StateStore | StoreView): [string, string][] =>
    [...from.range(FIRST, LAST)].map(({ key, value }) => [
      key.toString('hex'),
      value.toString('hex'),
    ]);
  const row = (key: string, value: string): { key: Buffer; value: Buffer } => ({
    key: Buffer.from(key, 'hex'),
    value: Buffer.from(value, 'hex'),
  });

  test('does what a sorted map does, whatever the batches', async () => {
    const hex = (max: number): fc.Arbitrary<string> =>
      fc.uint8Array({ minLength: 1, maxLength: max }).map((bytes) => {
        // A table's number comes first, and none is 0xff.
        bytes[0] = (bytes[0] as number) & 0x7f;
        return Buffer.from(bytes).toString('hex');
      });
    const batch = fc.record({
      puts: fc.array(fc.tuple(hex(3), hex(40)), { maxLength: 8 }),
      removes: fc.array(hex(3), { maxLength: 8 }),
      sync: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(batch, { maxLength: 6 }), async (batches) => {
        store.commitSync({
          puts: [],
          removes: [...store.range(FIRST, LAST)].map(({ key }) => key),
        });
        const map = new Map<string, string>();
        for (const { puts, removes, sync } of batches) {
          for (const key of removes) map.delete(key);
          for (const [key, value] of puts) map.set(key, value);
          const changes = {
            puts: puts.map(([key, value]) => row(key, value)),
            removes: removes.map((key) => Buffer.from(key, 'hex')),
          };
          if (sync) store.commitSync(changes);
          else await store.commit(changes);
        }
        const expected = [...map].sort(([a], [b]) =>
          Buffer.compare(Buffer.from(a, 'hex'), Buffer.from(b, 'hex')),
        );
        expect(all(store)).toEqual(expected);
        for (const [key, value] of map) {
          expect(store.get(Buffer.from(key, 'hex'))?.toString('hex')).toBe(value);
        }
        const [start, end] = [Buffer.from([0x20]), Buffer.from([0x60])];
        const within = expected.map(([key]) => key).filter((key) => key >= '20' && key < '60');
        expect(store.keys(start, end, 3).map((key) => key.toString('hex'))).toEqual(
          within.slice(0, 3),
        );
      }),
      { numRuns: 60 },
    );
  });

  test('a key that does not exist has no value, and removing it is harmless', async () => {
    expect(store.get(Buffer.from([1, 2]))).toBeUndefined();
    await store.commit({ puts: [], removes: [Buffer.from([1, 2])] });
    expect(all(store)).toEqual([]);
  });

  test('a value may be empty, and may be megabytes', async () => {
    const large = 'ab'.repeat(3 << 20);
    await store.commit({ puts: [row('09', ''), row('10', large)], removes: [] });
    expect(store.get(Buffer.from([9]))?.length).toBe(0);
    expect(store.get(Buffer.from([0x10]))?.toString('hex') === large).toBe(true);
  });

  test('a view stays as it was, also while its rows are read and others are committed', async () => {
    const rows = Array.from({ length: 500 }, (_, i) =>
      row(`05${i.toString(16).padStart(8, '0')}`, '01'),
    );
    await store.commit({ puts: rows, removes: [] });
    const view = store.view();
    const found: string[] = [];
    for (const { key, value } of view.range(FIRST, LAST)) {
      found.push(value.toString('hex'));
      if (found.length % 100 === 0) {
        await store.commit({
          puts: [{ key, value: Buffer.from([2]) }, row('04', '07')],
          removes: [rows[499]?.key as Buffer],
        });
      }
    }
    expect(found).toEqual(rows.map(() => '01'));
    view.close();
    expect(all(store)).toHaveLength(rows.length + 1);
    expect(store.get(Buffer.from([4]))?.toString('hex')).toBe('07');
  });

  test('bytes that were read stay as they were when the row changes', async () => {
    await store.commit({ puts: [row('01', 'aa')], removes: [] });
    const value = store.get(Buffer.from([1]));
    const [first] = store.range(FIRST, LAST);
    for (let i = 0; i < 20; i++)
      await store.commit({ puts: [row('01', `b${i % 10}`)], removes: [] });
    expect([value?.toString('hex'), first?.value.toString('hex')]).toEqual(['aa', 'aa']);
  });

  test('bytes that were given may be changed after the commit', async () => {
    const given = row('01', 'aabb');
    await store.commit({ puts: [given], removes: [] });
    given.value.fill(0);
    expect(store.get(Buffer.from([1]))?.toString('hex')).toBe('aabb');
  });

  // The one in memory has nothing to open again.
  if (kind === 'LMDB') {
    test('what was committed is there when it is opened again', async () => {
      await store.commit({ puts: [row('01', 'aa'), row('02', 'bb')], removes: [] });
      await store.close();
      store = openStore(join(temp.path, 'state'));
      expect(all(store)).toEqual([
        ['01', 'aa'],
        ['02', 'bb'],
      ]);
    });
  }
});
