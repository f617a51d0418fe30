import fc from 'fast-check';
import { expect, test } from 'vitest';
import { RetainedOffsets } from './retained-offsets.ts';

test('the list is that of a sorted set, however offsets come and go', () => {
  const step = fc.oneof(
    fc.record({ add: fc.nat(60) }),
    fc.record({ divisor: fc.integer({ min: 2, max: 5 }) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), fc.nat(70), (steps, probe) => {
      const retained = new RetainedOffsets();
      const model = new Set<number>();
      for (const one of steps) {
        if ('add' in one) {
          retained.add(one.add);
          model.add(one.add);
        } else {
          retained.keep((offset) => offset % one.divisor !== 0);
          for (const offset of model) if (offset % one.divisor === 0) model.delete(offset);
        }
      }
      const sorted = [...model].sort((a, b) => a - b);
      expect(sorted.map((_, index) => retained.at(index))).toEqual(sorted);
      expect(retained.at(sorted.length)).toBeUndefined();
      expect(retained.indexOf(probe)).toBe(sorted.filter((offset) => offset < probe).length);
    }),
  );
});
