import fc from 'fast-check';
import { expect, test } from 'vitest';
import { resentChunkIn } from './keys.ts';
import { CHUNK_ENTRIES, Queue } from './queue.ts';
import { ResentTable } from './resent-table.ts';
import type { Row } from './store.ts';

const LETTERS = 3 * CHUNK_ENTRIES;
const step = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('add'), offset: fc.nat(LETTERS - 1) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('begin'), offset: fc.nat(LETTERS) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('reload'), offset: fc.constant(0) }) },
);

test('knows which letters were sent again, as a set does, also when it is stored and loaded on the way', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 100, size: 'max' }), (steps) => {
      const queue = new Queue(1, 0);
      let table = new ResentTable();
      const resent = new Set<number>();
      const rows = new Map<string, Row>();
      for (const { kind, offset } of steps) {
        if (kind === 'add') {
          table.add(queue, offset);
          resent.add(offset);
        } else if (kind === 'begin') {
          queue.begin = Math.max(queue.begin, offset);
          table.trim(queue, Math.floor(queue.begin / CHUNK_ENTRIES));
        } else {
          const puts: Row[] = [];
          const removes: Buffer[] = [];
          table.collect(puts, removes);
          expect(table.dirty).toBe(false);
          for (const key of removes) rows.delete(key.toString('hex'));
          for (const row of puts) rows.set(row.key.toString('hex'), row);
          table = new ResentTable();
          for (const { key, value } of rows.values()) {
            table.restore(queue, resentChunkIn(key), value);
          }
          expect(rows.size).toBeLessThanOrEqual(3 - Math.floor(queue.begin / CHUNK_ENTRIES));
        }
        const kept = [...resent].filter((letter) => letter >= queue.begin);
        const known = Array.from({ length: LETTERS }, (_, letter) => letter).filter(
          (letter) => letter >= queue.begin && table.has(queue, letter),
        );
        expect(known).toEqual(kept.toSorted((one, other) => one - other));
      }
    }),
    { numRuns: 30 },
  );
});
