import fc from 'fast-check';
import { expect, test } from 'vitest';
import { RowReader, RowWriter } from './row-bytes.ts';

test('reads the numbers and texts that were written', () => {
  const value = fc.oneof(fc.maxSafeNat(), fc.nat(300), fc.string({ unit: 'grapheme' }));
  fc.assert(
    fc.property(fc.array(value), (values) => {
      const writer = new RowWriter();
      for (const one of values) typeof one === 'number' ? writer.number(one) : writer.text(one);
      const reader = new RowReader(writer.finish());
      for (const one of values) {
        expect(typeof one === 'number' ? reader.number() : reader.text()).toBe(one);
      }
      reader.end();
    }),
  );
});

test('a small number takes one byte, the largest eight', () => {
  const small = new RowWriter();
  small.number(127);
  expect([...small.finish()]).toEqual([127]);
  const large = new RowWriter();
  large.number(Number.MAX_SAFE_INTEGER);
  expect(large.finish()).toHaveLength(8);
});

test('damage is refused', () => {
  expect(() => new RowReader(Buffer.from([0x80])).number()).toThrow('ends within a number');
  expect(() => new RowReader(Buffer.alloc(9, 0xff)).number()).toThrow('above 2^53');
  expect(() => new RowReader(Buffer.alloc(8, 0x7f).fill(0xff, 0, 7)).number()).toThrow('2^53');
  expect(() => new RowReader(Buffer.from([5, 65])).text()).toThrow('ends within a text');
  expect(() => new RowReader(Buffer.from([1])).end()).toThrow('behind its end');
});
