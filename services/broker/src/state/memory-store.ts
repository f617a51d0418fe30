// A state store in memory, for tests and the simulation.

import type { Batch, Row, StateStore } from './store.ts';

/** Opens a store that forgets everything when the process ends. */
export function openMemoryStore(): StateStore {
  const map = new Map<string, Buffer>();
  const text = (key: Buffer): string => key.toString('latin1');

  /** All keys in order; undefined when they have changed. */
  let sorted: string[] | undefined;

  const select = (start: Buffer, end: Buffer): Row[] => {
    sorted ??= [...map.keys()].sort();
    const high = text(end);
    const rows: Row[] = [];
    for (let i = firstFrom(sorted, text(start)); i < sorted.length; i++) {
      const key = sorted[i] as string;
      if (key >= high) break;
      rows.push({ key: Buffer.from(key, 'latin1'), value: map.get(key) as Buffer });
    }
    return rows;
  };

  const commitSync = ({ puts, removes }: Batch): void => {
    sorted = undefined;
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

/** Index of the first of sorted keys that is not below a key. */
function firstFrom(sorted: readonly string[], key: string): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle] as string) < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
