import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ProducerSequence } from './producer-sequence.ts';

test('knows the offset of every stored sequence, as a map does', () => {
  const gaps = fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 1, maxLength: 400 });
  fc.assert(
    fc.property(gaps, fc.boolean(), (between, reload) => {
      let producer = new ProducerSequence();
      const offsets: number[] = [];
      let offset = 0;
      for (const [sequence, others] of between.entries()) {
        offset += others;
        producer.stored(sequence, offset, 1000 + sequence);
        offsets.push(offset++);
        if (reload && sequence % 7 === 0) producer = ProducerSequence.decode(producer.encode());
      }
      expect(producer.next).toBe(offsets.length);
      expect(producer.lastUseMs).toBe(999 + offsets.length);
      // Runs are at most 400: none is forgotten.
      for (const [sequence, expected] of offsets.entries())
        expect(producer.find(sequence)).toBe(expected);
      expect(producer.find(offsets.length)).toBeUndefined();
    }),
  );
});

test('forgets the oldest runs, never the newest 256, and never tells a wrong offset', () => {
  const producer = new ProducerSequence();
  const sequences = 3000;
  for (let sequence = 0; sequence < sequences; sequence++)
    producer.stored(sequence, 2 * sequence, 1);
  for (let sequence = 0; sequence < sequences; sequence++) {
    const found = producer.find(sequence);
    if (sequence >= sequences - 256) expect(found).toBe(2 * sequence);
    else expect([undefined, 2 * sequence]).toContain(found);
  }
  expect(producer.encode().length).toBeLessThanOrEqual(17 + 512 * 16);
});

test('a hole that damage left in the sequences leaves no offset from before it', () => {
  const producer = new ProducerSequence();
  producer.stored(0, 10, 1);
  producer.stored(1, 11, 1);
  producer.stored(5, 15, 1);
  expect([0, 1, 2, 4, 5].map((sequence) => producer.find(sequence))).toEqual([
    undefined,
    undefined,
    undefined,
    undefined,
    15,
  ]);
});
