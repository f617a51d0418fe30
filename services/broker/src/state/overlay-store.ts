// A store on top of another one, which is only read: what is committed is kept in memory and hides what lies below.

import type { Batch, Row, StateStore, StoreView } from './store.ts';

/** Rows that hide those below, by key as text; undefined for those that are removed. */
type Changes = ReadonlyMap<string, Buffer | undefined>;

/** Goes on from another store, and forgets that when the process ends. Closing it leaves the other one open. */
export function overlayStore(below: StateStore): StateStore {
  const changes = new Map<string, Buffer | undefined>();

  const commitSync = ({ puts, removes }: Batch): void => {
    for (const key of removes) {
      if (below.get(key) === undefined) changes.delete(textOf(key));
      else changes.set(textOf(key), undefined);
    }
    for (const { key, value } of puts) changes.set(textOf(key), Buffer.from(value));
  };

  return {
    get(key) {
      const text = textOf(key);
      return changes.has(text) ? changes.get(text) : below.get(key);
    },

    range: (start, end) => merged(below, changes, start, end),

    keys(start, end, limit) {
      return merged(below, changes, start, end)
        .slice(0, limit)
        .map(({ key }) => key);
    },

    async commit(batch) {
      commitSync(batch);
    },

    commitSync,

    view() {
      const view = below.view();
      const now = new Map(changes);
      return {
        range: (start, end) => merged(view, now, start, end),
        close: () => view.close(),
      };
    },

    async close() {},
  };
}

function merged(
  below: Pick<StateStore | StoreView, 'range'>,
  changes: Changes,
  start: Buffer,
  end: Buffer,
): Row[] {
  const rows = new Map<string, Buffer>();
  for (const { key, value } of below.range(start, end)) rows.set(textOf(key), value);
  const [low, high] = [textOf(start), textOf(end)];
  for (const [key, value] of changes) {
    if (key < low || key >= high) continue;
    if (value === undefined) rows.delete(key);
    else rows.set(key, value);
  }
  return [...rows]
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([key, value]) => ({ key: Buffer.from(key, 'latin1'), value }));
}

function textOf(key: Buffer): string {
  return key.toString('latin1');
}
