import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { EpochStart } from '../state/epochs.ts';
import { commonPosition } from './common-position.ts';

const log = (end: number, epochs: [number, number][], start = 0) => ({
  start,
  end,
  epochs: epochs.map(([epoch, at]): EpochStart => ({ epoch, start: at, nonce: 7 })),
});

test('a slave that has a part of what its master has goes on at its own end', () => {
  expect(
    commonPosition(
      log(900, [
        [1, 0],
        [2, 400],
      ]),
      log(650, [
        [1, 0],
        [2, 400],
      ]),
    ),
  ).toBe(650);
  expect(
    commonPosition(
      log(900, [
        [1, 0],
        [2, 400],
      ]),
      log(0, []),
    ),
  ).toBe(0);
});

test('a slave that has more of an epoch than the next master took keeps what both have', () => {
  expect(
    commonPosition(
      log(900, [
        [1, 0],
        [3, 400],
      ]),
      log(650, [[1, 0]]),
    ),
  ).toBe(400);
  expect(
    commonPosition(
      log(900, [
        [1, 0],
        [3, 400],
      ]),
      log(650, [
        [1, 0],
        [2, 500],
      ]),
    ),
  ).toBe(400);
});

test('of an epoch that began elsewhere nothing is shared', () => {
  expect(
    commonPosition(
      log(900, [
        [1, 0],
        [3, 400],
      ]),
      log(650, [
        [1, 0],
        [3, 300],
      ]),
    ),
  ).toBe(300);
});

test('an epoch of the same number and start that somebody else has led is not the same', () => {
  const other = log(650, [[1, 0]]);
  const [epoch] = other.epochs;
  const foreign = { ...other, epochs: [{ ...(epoch as EpochStart), nonce: 8 }] };
  expect(commonPosition(log(900, [[1, 0]]), foreign)).toBeUndefined();
});

test('logs with nothing in common, or nothing that the master still keeps, begin anew', () => {
  expect(commonPosition(log(900, [[3, 0]]), log(650, [[1, 0]]))).toBeUndefined();
  expect(commonPosition(log(900, [[1, 0]], 700), log(650, [[1, 0]]))).toBeUndefined();
  expect(commonPosition(log(900, [[1, 0]], 700), log(0, []))).toBeUndefined();
  expect(commonPosition(log(900, [[1, 0]]), log(650, []))).toBeUndefined();
});

/** Bytes of a log as a list of epochs, one each; a branch is a prefix of another log and then epochs of its own. */
test('up to the common position the bytes are the same, and it is as far as they are', () => {
  const shapeOf = (bytes: readonly number[]) =>
    log(
      bytes.length,
      bytes.flatMap((epoch, at): [number, number][] =>
        epoch === bytes[at - 1] ? [] : [[epoch, at]],
      ),
    );
  fc.assert(
    fc.property(
      fc.array(fc.record({ from: fc.nat(5), keep: fc.nat(30), add: fc.nat(10) }), {
        minLength: 2,
        maxLength: 8,
      }),
      (branches) => {
        // Every leadership has an epoch of its own, and continues what some member had.
        const logs: number[][] = [[]];
        for (const [i, { from, keep, add }] of branches.entries()) {
          const before = logs[from % logs.length] as number[];
          const kept = before.slice(0, Math.max(0, before.length - keep));
          logs.push([...kept, ...Array.from({ length: add }, () => i + 1)]);
        }
        for (const master of logs) {
          for (const slave of logs) {
            let same = 0;
            while (same < Math.min(master.length, slave.length) && master[same] === slave[same])
              same++;
            const common = commonPosition(shapeOf(master), shapeOf(slave));
            if (slave.length === 0) expect(common).toBe(0);
            else expect(common ?? 0).toBe(same);
          }
        }
      },
    ),
  );
});
