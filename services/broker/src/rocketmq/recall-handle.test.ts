import fc from 'fast-check';
import { expect, test } from 'vitest';
import { readRecallHandle, writeRecallHandle } from './recall-handle.ts';
import { Refused } from './status.ts';

const text = fc.string({ unit: 'binary', maxLength: 100 }).map((one) => one.toWellFormed());

test('a recall handle says what it was written from, and what is none is refused', () => {
  const recallable = fc.record({ brokerName: text, messageId: text, producerMessageId: text });
  fc.assert(
    fc.property(recallable, (one) => {
      expect(readRecallHandle(writeRecallHandle(one))).toEqual(one);
    }),
  );
  fc.assert(
    fc.property(fc.string(), (garbage) => {
      expect(() => readRecallHandle(garbage)).toThrow(Refused);
    }),
  );
});
