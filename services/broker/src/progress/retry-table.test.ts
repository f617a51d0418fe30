import fc from 'fast-check';
import { expect, test } from 'vitest';
import { RetryTable } from './retry-table.ts';

const LEASE = { deadlineMs: 50, consumerId: 'a', streaming: true };

const step = fc.record({
  kind: fc.constantFrom('wait', 'wait', 'wait', 'lease', 'delete'),
  offset: fc.nat(60),
  dueMs: fc.nat(30),
});

test('whatever waits, is leased or goes, the rest is due by time and offset', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200, size: 'max' }), fc.nat(30), (steps, nowMs) => {
      const table = new RetryTable();
      /** Due time by offset; undefined while leased. */
      const model = new Map<number, number | undefined>();
      for (const { kind, offset, dueMs } of steps) {
        if (kind === 'wait') {
          table.wait(offset, 1, 7, dueMs);
          model.set(offset, dueMs);
        } else if (kind === 'lease') {
          expect(table.lease(offset, 2, 8, LEASE)).toBe(model.has(offset));
          if (model.has(offset)) model.set(offset, undefined);
        } else {
          expect(table.delete(offset)).toBe(model.delete(offset));
        }
        expect(table.oldest).toBe(Math.min(Infinity, ...model.keys()));
      }
      const waiting = [...model].flatMap(([offset, dueMs]) =>
        dueMs === undefined ? [] : [{ offset, dueMs }],
      );
      waiting.sort((one, other) => one.dueMs - other.dueMs || one.offset - other.offset);
      const due = waiting.filter(({ dueMs }) => dueMs <= nowMs).map(({ offset }) => offset);
      expect(table.due(nowMs, 1000).map(({ offset }) => offset)).toEqual(due);
      expect(table.due(nowMs, 3).map(({ offset }) => offset)).toEqual(due.slice(0, 3));
      expect(table.nextDueMs).toBe(waiting[0]?.dueMs ?? Infinity);
      expect([table.size, table.waiting]).toEqual([model.size, waiting.length]);
    }),
  );
});

test('finds the messages of a short and of a long range, by offset', () => {
  const table = new RetryTable();
  for (const offset of [90, 10, 50, 30, 70]) table.wait(offset, 1, 7, offset);
  const offsets = (first: number, end: number): number[] =>
    table.within(first, end).map(({ offset }) => offset);
  expect(offsets(48, 52)).toEqual([50]);
  expect(offsets(10, 90)).toEqual([10, 30, 50, 70]);
  expect(offsets(0, 2 ** 53 - 1)).toEqual([10, 30, 50, 70, 90]);
  expect(offsets(91, 2 ** 53 - 1)).toEqual([]);
});

test('what is loaded is as it was stored, and not to be stored again', () => {
  const table = new RetryTable();
  table.wait(1, 3, 2 ** 52, 2 ** 45);
  table.wait(2, 1, 7, 0);
  table.lease(2, 2, 8, { deadlineMs: 2 ** 45, consumerId: 'größer', streaming: false });
  const copy = new RetryTable();
  for (const offset of table.takeDirty()) copy.decode(offset, table.encode(offset) as Buffer);
  expect([copy.find(1), copy.find(2)]).toEqual([table.find(1), table.find(2)]);
  expect(copy.earliestDeadlineMs).toBe(2 ** 45);
  expect(copy.takeDirty()).toEqual([]);
  expect(copy.idle).toBe(false);
});

test('a row of an unknown version or state is refused', () => {
  const table = new RetryTable();
  // version, attempt, lease id, state, due
  expect(() => table.decode(1, Uint8Array.of(2, 1, 7, 0, 0))).toThrow('version');
  expect(() => table.decode(1, Uint8Array.of(1, 1, 7, 2, 0))).toThrow('state');
  expect(() => table.decode(1, Uint8Array.of(1, 1, 7, 0, 0, 0))).toThrow('behind its end');
  expect(table.idle).toBe(true);
});
