import { create, toBinary } from '@bufbuild/protobuf';
import { MessageSchema } from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { findTag, tagHash, tagHashOfMessage } from './message-tag.ts';

/** A field of a number that Message does not have, of any wire type that protobuf still knows. */
const unknownField = fc.oneof(
  fc
    .bigInt({ min: 0n, max: 2n ** 64n - 1n })
    .map((value) => Buffer.concat([tag(9, 0), varint(value)])),
  fc.uint8Array({ minLength: 8, maxLength: 8 }).map((bytes) => Buffer.concat([tag(300, 1), bytes])),
  fc
    .uint8Array({ maxLength: 200 })
    .map((bytes) => Buffer.concat([tag(70000, 2), varint(BigInt(bytes.length)), bytes])),
  fc.uint8Array({ minLength: 4, maxLength: 4 }).map((bytes) => Buffer.concat([tag(7, 5), bytes])),
);

function varint(value: bigint): Buffer {
  const bytes: number[] = [];
  let rest = value;
  while (rest > 127n) {
    bytes.push(Number(rest & 127n) | 128);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return Buffer.from(bytes);
}

function tag(field: number, wireType: number): Buffer {
  return varint(BigInt(field * 8 + wireType));
}

test('the tag is found in the bytes of any message, as protobuf-es finds it', () => {
  const message = fc.record({
    body: fc.uint8Array({ maxLength: 300 }),
    tag: fc.string({ unit: 'binary', maxLength: 40 }),
    keys: fc.array(fc.string({ maxLength: 200 }), { maxLength: 3 }),
    properties: fc.dictionary(fc.string({ maxLength: 9 }), fc.string({ maxLength: 150 }), {
      maxKeys: 3,
    }),
    orderingKey: fc.string({ maxLength: 20 }),
    bornTimeMs: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  });
  fc.assert(
    fc.property(
      message,
      fc.array(unknownField, { maxLength: 3 }),
      fc.array(message, { maxLength: 2 }),
      (one, unknown, more) => {
        // Later occurrences of a field win.
        const encoded = [one, ...more].map((part) =>
          toBinary(MessageSchema, create(MessageSchema, part)),
        );
        const bytes = Buffer.concat([
          Buffer.from('xx'),
          ...unknown,
          ...encoded,
          ...unknown,
          Buffer.from('yy'),
        ]);
        const end = bytes.length - 2;
        const expected =
          [one, ...more].map((part) => part.tag).findLast((text) => text !== '') ?? '';
        const out = { start: 0, end: 0 };
        expect(findTag(bytes, 2, end, out)).toBe(expected !== '');
        const hash = tagHashOfMessage(bytes, 2, end);
        if (expected === '') expect(hash).toBe(0);
        else {
          expect(bytes.toString('utf8', out.start, out.end)).toBe(expected);
          expect(hash).toBe(tagHash(bytes, out.start, out.end));
          expect(hash).not.toBe(0);
        }
      },
    ),
  );
});

test('a field number that is written longer than needed is still the tag', () => {
  const text = Buffer.from('blue');
  const plain = Buffer.concat([Buffer.from([0x12, 4]), text]);
  const long = Buffer.concat([Buffer.from([0x92, 0x80, 0x00, 0x84, 0x00]), text]);
  expect(tagHashOfMessage(long, 0, long.length)).toBe(tagHashOfMessage(plain, 0, plain.length));
});

test('the search for a tag ends within the bytes, whatever they are', () => {
  const out = { start: 0, end: 0 };
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), fc.nat(64), (bytes, cut) => {
      const end = Math.min(cut, bytes.length);
      if (!findTag(bytes, 0, end, out)) return;
      expect(out.start).toBeGreaterThan(0);
      expect(out.end).toBeLessThanOrEqual(end);
    }),
    { numRuns: 2000 },
  );
});
