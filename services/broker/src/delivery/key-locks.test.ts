import fc from 'fast-check';
import { expect, test } from 'vitest';
import { KeyLocks } from './key-locks.ts';

const HOLDERS = [{}, {}, {}];

test('no message is ever handed out while an earlier one of its key is with another holder, or waits', () => {
  const step = fc.record({
    do: fc.constantFrom('new', 'new', 'candidates', 'settle', 'fail'),
    key: fc.integer({ min: 1, max: 3 }),
    holder: fc.nat(2),
    which: fc.nat(100),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const locks = new KeyLocks();
      const unsettled: { offset: number; key: number; holder: object | undefined }[] = [];
      let next = 0;
      const handOut = (one: (typeof unsettled)[number], holder: object): void => {
        for (const other of unsettled) {
          if (other.key === one.key && other.offset < one.offset) {
            expect(other.holder).toBe(holder);
          }
        }
        one.holder = holder;
        locks.leased(one.key, one.offset, holder);
      };
      for (const { do: what, key, holder: index, which } of steps) {
        const holder = HOLDERS[index] as object;
        if (what === 'new') {
          const one = { offset: next++, key, holder: undefined };
          const free = unsettled.every((other) => other.key !== key || other.holder === holder);
          expect(locks.admits(key, holder)).toBe(free);
          unsettled.push(one);
          if (free) handOut(one, holder);
          else locks.waits(key, one.offset);
        } else if (what === 'candidates') {
          for (const { offset } of locks.candidates(holder, 2)) {
            const one = unsettled.find((other) => other.offset === offset);
            expect(one?.holder).toBeUndefined();
            if (one !== undefined) handOut(one, holder);
          }
        } else {
          const leased = unsettled.filter((one) => one.holder !== undefined);
          const one = leased[which % Math.max(1, leased.length)];
          if (one === undefined) continue;
          if (what === 'settle') {
            unsettled.splice(unsettled.indexOf(one), 1);
            locks.settled(one.key, one.offset);
          } else {
            // A failed message takes the later ones of its key along.
            for (const other of leased) {
              if (other.key !== one.key || other.offset < one.offset) continue;
              other.holder = undefined;
              locks.waits(other.key, other.offset);
            }
          }
        }
        expect(locks.waiting).toBe(unsettled.filter((one) => one.holder === undefined).length);
      }
    }),
    { numRuns: 500 },
  );
});

test('every key that may go on is found, though only some are looked at each time', () => {
  const locks = new KeyLocks();
  const holder = {};
  for (let key = 1; key <= 10; key++) locks.waits(key, key);
  const found = new Set<number>();
  for (let i = 0; i < 4; i++) {
    for (const { key } of locks.candidates(holder, 3)) found.add(key);
  }
  expect(found.size).toBe(10);
});
