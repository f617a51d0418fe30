import fc from 'fast-check';
import { expect, test } from 'vitest';
import { TimerHeap } from './timer-heap.ts';

test('what is pushed comes out by due time, then by offset, however pushing and popping mix', () => {
  const step = fc.oneof(
    { weight: 3, arbitrary: fc.integer({ min: 0, max: 50 }) },
    { weight: 2, arbitrary: fc.constant('pop' as const) },
    { weight: 1, arbitrary: fc.constant('burst' as const) },
    { weight: 1, arbitrary: fc.constant('drain' as const) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const heap = new TimerHeap();
      const model: [number, number][] = [];
      let offset = 0;
      const push = (dueMs: number): void => {
        heap.push(dueMs, offset);
        model.push([dueMs, offset++]);
      };
      const pop = (): void => {
        model.sort(([due, at], [otherDue, otherAt]) => due - otherDue || at - otherAt);
        expect(heap.firstDueMs).toBe(model[0]?.[0] ?? Number.POSITIVE_INFINITY);
        const first = model.shift();
        if (first === undefined) return;
        expect(heap.firstOffset).toBe(first[1]);
        expect(heap.pop()).toBe(first[1]);
      };
      for (const step of steps) {
        if (step === 'pop') pop();
        else if (step === 'burst') for (let i = 0; i < 400; i++) push((i * 7919) % 101);
        else if (step === 'drain') while (heap.size > 3) pop();
        else push(step);
        expect(heap.size).toBe(model.length);
      }
    }),
    { numRuns: 200 },
  );
});
