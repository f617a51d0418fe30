import fc from 'fast-check';
import { expect, test } from 'vitest';
import { RangeSet } from './range-set.ts';

const LIMIT = 60;
const range = fc
  .tuple(fc.nat(LIMIT - 1), fc.integer({ min: 1, max: 12 }))
  .map(([from, length]) => [from, Math.min(from + length, LIMIT)] as const);

/** A set with the ranges, and the naive one beside it. */
function build(ranges: readonly (readonly [number, number])[]): [RangeSet, Set<number>] {
  const set = new RangeSet();
  const model = new Set<number>();
  for (const [from, to] of ranges) {
    const before = model.size;
    for (let n = from; n < to; n++) model.add(n);
    expect(set.add(from, to)).toBe(model.size - before);
  }
  return [set, model];
}

function expectSame(set: RangeSet, model: ReadonlySet<number>): void {
  for (let n = 0; n <= LIMIT; n++) expect(set.has(n)).toBe(model.has(n));
  const { bounds } = set;
  for (let at = 1; at < bounds.length; at++) {
    expect(bounds[at]).toBeGreaterThan(bounds[at - 1] as number);
  }
  expect(set.size).toBe(bounds.length / 2);
}

test('holds what was added, in as few ranges as possible', () => {
  fc.assert(
    fc.property(fc.array(range, { maxLength: 20 }), (ranges) => {
      expectSame(...build(ranges));
    }),
  );
});

test('counts and finds gaps as a plain set does', () => {
  fc.assert(
    fc.property(fc.array(range, { maxLength: 12 }), range, (ranges, [from, to]) => {
      const [set, model] = build(ranges);
      const within = Array.from({ length: to - from }, (_, index) => from + index);
      expect(set.countWithin(from, to)).toBe(within.filter((n) => model.has(n)).length);
      let gap = from;
      while (model.has(gap)) gap++;
      expect(set.firstGap(from)).toBe(gap);
      const missing: number[] = [];
      set.forEachGap(from, to, (gapFrom, gapTo) => {
        expect(missing.at(-1)).not.toBe(gapFrom - 1);
        for (let n = gapFrom; n < gapTo; n++) missing.push(n);
      });
      expect(missing).toEqual(within.filter((n) => !model.has(n)));
    }),
  );
});

test('trimming removes exactly what lies below the floor', () => {
  fc.assert(
    fc.property(fc.array(range, { maxLength: 12 }), fc.nat(LIMIT), (ranges, floor) => {
      const [set, model] = build(ranges);
      set.trimBelow(floor);
      expectSame(set, new Set([...model].filter((n) => n >= floor)));
    }),
  );
});

test('ranges that touch become one', () => {
  const set = new RangeSet();
  set.add(10, 20);
  set.add(30, 40);
  expect(set.add(20, 30)).toBe(10);
  expect(set.bounds).toEqual([10, 40]);
});

test('an empty range cannot be added', () => {
  expect(() => new RangeSet().add(5, 5)).toThrow('holds a number');
});
