import fc from 'fast-check';
import { expect, test } from 'vitest';
import { bodyOf, digestOf, nameIn } from './message-body.ts';

const anyName = fc.record({ producer: fc.nat(100), id: fc.nat(0xffffffff) });
const anySize = fc.integer({ min: 8, max: 4096 });

test('a body says which message it is and is the same each time', () => {
  fc.assert(
    fc.property(anyName, anySize, (name, size) => {
      const body = bodyOf(name, size);
      expect(body.length).toBe(size);
      expect(nameIn(body)).toEqual(name);
      expect(digestOf(body)).toBe(digestOf(bodyOf(name, size)));
    }),
  );
});

test('bodies of 512 KiB are filled to the end', () => {
  const body = bodyOf({ producer: 1, id: 0xffffffff }, 512 * 1024);
  expect(body.subarray(-64).equals(Buffer.alloc(64))).toBe(false);
});

test('a body that is cut short is nobody’s', () => {
  expect(nameIn(Buffer.alloc(3))).toEqual({ producer: 0xffff, id: 0xffffffff });
});
