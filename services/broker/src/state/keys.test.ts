import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  chunkKey,
  idKey,
  idOf,
  offsetIn,
  producerIn,
  producerKey,
  queueIdIn,
  queueKey,
  relocatedKey,
  retryKey,
  segmentKey,
  segmentStartIn,
  Table,
  tableEnd,
  tableStart,
} from './keys.ts';

const id = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const queueId = fc.integer({ min: 0, max: 1023 });
const offset = fc.integer({ min: 0, max: 2 ** 48 - 1 });
const large = fc.maxSafeNat();
const place = fc.tuple(id, queueId, offset);

function compare(a: readonly number[], b: readonly number[]): number {
  const at = a.findIndex((value, i) => value !== b[i]);
  return at < 0 ? 0 : Math.sign((a[at] as number) - (b[at] as number));
}

test('keys lie in the order of what they name, and tell it', () => {
  fc.assert(
    fc.property(place, place, large, large, (a, b, one, other) => {
      expect(Buffer.compare(retryKey(...a), retryKey(...b))).toBe(compare(a, b));
      expect(Buffer.compare(relocatedKey(...a), relocatedKey(...b))).toBe(compare(a, b));
      expect(Buffer.compare(segmentKey(one), segmentKey(other))).toBe(Math.sign(one - other));
      const [p, q] = [producerKey(a[0], a[1], one), producerKey(b[0], b[1], other)];
      expect(Buffer.compare(p, q)).toBe(compare([a[0], a[1], one], [b[0], b[1], other]));
      const chunk = ([topicId, queue, at]: [number, number, number]): [number, number, number] => [
        topicId,
        queue,
        Math.floor(at / 256),
      ];
      expect(Buffer.compare(chunkKey(...chunk(a)), chunkKey(...chunk(b)))).toBe(
        compare(chunk(a), chunk(b)),
      );
      expect(producerIn(p)).toBe(one);
      expect(segmentStartIn(segmentKey(one))).toBe(one);
      const key = retryKey(...a);
      expect([idOf(key), queueIdIn(key), offsetIn(key)]).toEqual(a);
      const queue = queueKey(Table.FLOORS, a[0], a[1]);
      expect([idOf(queue), queueIdIn(queue)]).toEqual([a[0], a[1]]);
    }),
  );
});

test('every key lies between the start and the end of its table', () => {
  for (const table of Object.values(Table)) {
    const key = idKey(table, 2 ** 32 - 1);
    expect(Buffer.compare(tableStart(table), key)).toBe(-1);
    expect(Buffer.compare(key, tableEnd(table))).toBe(-1);
  }
});
