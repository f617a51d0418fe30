// A state store in memory, for tests and the simulation.

import type { Batch, Row, StateStore } from './store.ts';

/** Opens a store that forgets everything when the process ends. */
export function openMemoryStore(): StateStore {
  const map = new Map<string, Buffer>();
  const text = (key: Buffer): string => key.toString('latin1');

  const select = (start: Buffer, end: Buffer): Row[] => {
    const [low, high] = [text(start), text(end)];
    return [...map.keys()]
      .filter((key) => key >= low && key < high)
      .sort((a, b) => (a < b ? -1 : 1))
      .map((key) => ({ key: Buffer.from(key, 'latin1'), value: map.get(key) as Buffer }));
  };

  const commitSync = ({ puts, removes }: Batch): void => {
    for (const key of removes) map.delete(text(key));
    for (const { key, value } of puts) map.set(text(key), Buffer.from(value));
  };

  return {
    get(key) {
      return map.get(text(key));
    },

    range: select,

    keys(start, end, limit) {
      return select(start, end)
        .slice(0, limit)
        .map((row) => row.key);
    },

    async commit(batch) {
      commitSync(batch);
    },

    commitSync,

    view() {
      const all = select(Buffer.alloc(0), Buffer.from([0xff]));
      return {
        range(start, end) {
          return all.filter((row) => row.key.compare(start) >= 0 && row.key.compare(end) < 0);
        },
        close() {},
      };
    },

    async close() {},
  };
}
