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

test('knows what dropped messages repeat, between messages that were stored', () => {
  const step = fc.record({
    others: fc.integer({ min: 0, max: 2 }),
    repeats: fc.integer({ min: 0, max: 3 }),
    queueId: fc.integer({ min: 0, max: 3 }),
    first: fc.integer({ min: 0, max: 50 }),
  });
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 200 }), fc.boolean(), (steps, reload) => {
      let producer = new ProducerSequence();
      const places: { queueId: number; offset: number }[] = [];
      let offset = 0;
      for (const { others, repeats, queueId, first } of steps) {
        offset += others;
        if (repeats > 0) {
          producer.repeated(places.length, repeats, { queueId, offset: first }, 1);
          for (let i = 0; i < repeats; i++) places.push({ queueId, offset: first + i });
        } else {
          producer.stored(places.length, offset, 1);
          places.push({ queueId: -1, offset: offset++ });
        }
        if (reload) producer = ProducerSequence.decode(producer.encode());
      }
      expect(producer.next).toBe(places.length);
      for (const [sequence, { queueId, offset: at }] of places.entries()) {
        const repeated = producer.findRepeated(sequence);
        if (queueId >= 0) expect(repeated).toEqual({ queueId, offset: at });
        else {
          expect(repeated).toBeUndefined();
          expect(producer.find(sequence)).toBe(at);
        }
      }
      expect(producer.findRepeated(places.length)).toBeUndefined();
    }),
  );
});

test('forgets the oldest repeats together with what lies between them', () => {
  const producer = new ProducerSequence();
  let sequence = 0;
  for (let i = 0; i < 2000; i++) {
    producer.stored(sequence++, sequence, 1);
    producer.repeated(sequence++, 1, { queueId: 9, offset: 7 * i }, 1);
  }
  for (let at = 0; at < sequence; at++) {
    const repeated = producer.findRepeated(at);
    if (at >= sequence - 500) expect(repeated === undefined).toBe(at % 2 === 0);
    if (repeated !== undefined) expect(repeated.offset).toBe(7 * ((at - 1) / 2));
    const found = producer.find(at);
    // What was dropped and is forgotten is not taken for a message that was stored.
    if (repeated === undefined && at % 2 === 1) expect(found).toBeUndefined();
    else if (at % 2 === 0 && found !== undefined) expect(found).toBe(at + 1);
  }
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
