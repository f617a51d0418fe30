import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Delivery, readHandle, writeHandle } from './receipt-handle.ts';
import { Refused } from './status.ts';

const delivery: fc.Arbitrary<Delivery> = fc.record({
  brokerName: fc.string({ unit: 'binary', maxLength: 100 }).map((name) => name.toWellFormed()),
  topicId: fc.nat(0xffffffff),
  queueId: fc.nat(0xffff),
  offset: fc.nat(2 ** 48 - 1),
  leaseId: fc.nat(2 ** 48 - 1),
  deadlineMs: fc.nat(2 ** 48 - 1),
  attempt: fc.nat(0xffff),
  renewed: fc.boolean(),
  changes: fc.nat(0xffff),
});

test('a handle says what it was written from', () => {
  fc.assert(
    fc.property(delivery, (one) => {
      expect(readHandle(writeHandle(one))).toEqual(one);
    }),
  );
});

test('what is no handle is refused, and so is one with a wrong character', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      expect(() => readHandle(text)).toThrow(Refused);
    }),
  );
  fc.assert(
    fc.property(delivery, fc.nat(), (one, at) => {
      const handle = writeHandle(one);
      const index = at % (handle.length - 1);
      const other = handle[index] === 'A' ? 'B' : 'A';
      const wrong = handle.slice(0, index) + other + handle.slice(index + 1);
      expect(() => readHandle(wrong)).toThrow('no handle');
    }),
  );
});
