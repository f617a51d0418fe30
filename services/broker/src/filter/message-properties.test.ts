import { create, toBinary } from '@bufbuild/protobuf';
import { type Message, MessageSchema } from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compileFilter } from './compile.ts';
import { MessageProperties } from './message-properties.ts';

type Fields = Partial<Pick<Message, 'body' | 'tag' | 'keys' | 'properties' | 'orderingKey'>>;

function encode(fields: Fields): Buffer {
  return Buffer.from(toBinary(MessageSchema, create(MessageSchema, fields)));
}

function varint(value: bigint): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  bytes.push(Number(rest));
  return Buffer.from(bytes);
}

function field(number: number, text: string | Uint8Array): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([varint(BigInt(number * 8 + 2)), varint(BigInt(bytes.length)), bytes]);
}

function lookUp(bytes: Buffer, ...names: string[]): (string | undefined)[] {
  const properties = new MessageProperties(names).reset(bytes, 0, bytes.length);
  return names.map((name) => properties.get(name));
}

test('finds the tag, the keys and properties', () => {
  const bytes = encode({
    body: Buffer.alloc(5000, 0x12),
    tag: 'paid',
    keys: ['one', 'two'],
    properties: { region: 'eu', other: 'x', Region: 'us', empty: '' },
    orderingKey: 'k',
  });
  expect(lookUp(bytes, 'TAGS', 'KEYS', 'region', 'empty', 'none', 'Region')).toEqual([
    'paid',
    'one two',
    'eu',
    '',
    undefined,
    'us',
  ]);
});

test('a message without them has none', () => {
  expect(lookUp(encode({ body: Buffer.from('x') }), 'TAGS', 'KEYS', 'a')).toEqual([
    undefined,
    undefined,
    undefined,
  ]);
  expect(lookUp(Buffer.alloc(0), 'TAGS', 'KEYS', 'a')).toEqual([undefined, undefined, undefined]);
});

test('TAGS and KEYS are never properties that a producer gave these names', () => {
  const properties = { TAGS: 'false', KEYS: 'false', a: 'x' };
  expect(lookUp(encode({ properties }), 'TAGS', 'KEYS', 'a')).toEqual([undefined, undefined, 'x']);
  expect(lookUp(encode({ tag: 't', keys: ['k'], properties }), 'TAGS', 'KEYS')).toEqual(['t', 'k']);
});

test('names are compared by all of their bytes', () => {
  const bytes = encode({ properties: { ab: '1', abc: '2', 订单: '3', '😀': '4' } });
  expect(lookUp(bytes, 'a', 'ab', 'abc', 'abd', '订单', '😀')).toEqual([
    undefined,
    '1',
    '2',
    undefined,
    '3',
    '4',
  ]);
});

test('of several tags and values the last one counts, also when it is empty', () => {
  const entry = (name: string, value: string) =>
    field(4, Buffer.concat([field(1, name), field(2, value)]));
  const bytes = Buffer.concat([
    field(2, 'old'),
    entry('a', 'old'),
    entry('b', 'old'),
    field(2, 'new'),
    entry('a', 'new'),
    entry('b', ''),
  ]);
  expect(lookUp(bytes, 'TAGS', 'a', 'b')).toEqual(['new', 'new', '']);
  expect(lookUp(Buffer.concat([bytes, field(2, '')]), 'TAGS')).toEqual([undefined]);
});

test('entries in another order, with parts missing or twice, are read as protobuf reads them', () => {
  const entries = [
    Buffer.concat([field(2, 'value before name'), field(1, 'a')]),
    field(1, 'b'),
    field(2, 'no name'),
    Buffer.concat([field(1, 'x'), field(2, 'x'), field(1, 'c'), field(2, 'last')]),
    Buffer.concat([field(1, 'd'), field(9, 'unknown'), field(2, 'y')]),
  ];
  const bytes = Buffer.concat(entries.map((entry) => field(4, entry)));
  expect(lookUp(bytes, 'a', 'b', '', 'c', 'd', 'x')).toEqual([
    'value before name',
    '',
    'no name',
    'last',
    'y',
    undefined,
  ]);
});

test('nothing is read beyond the end of the message, or of an entry', () => {
  const cut = field(2, 'paid');
  const properties = new MessageProperties(['TAGS', 'a']);
  expect(properties.reset(cut, 0, cut.length - 1).get('TAGS')).toBeUndefined();
  const entry = Buffer.concat([field(1, 'a'), field(2, 'xyz').subarray(0, 3)]);
  const bytes = Buffer.concat([field(4, entry), field(2, 'tag')]);
  properties.reset(bytes, 0, bytes.length);
  expect([properties.get('a'), properties.get('TAGS')]).toEqual([undefined, 'tag']);
});

test('one instance goes from message to message', () => {
  const properties = new MessageProperties(['TAGS', 'KEYS', 'a']);
  expect(properties.get('a')).toBeUndefined();
  const first = encode({ tag: 't', keys: ['k', 'l'], properties: { a: '1' } });
  properties.reset(first, 0, first.length);
  expect([properties.get('a'), properties.get('KEYS')]).toEqual(['1', 'k l']);
  const second = encode({ keys: ['m'], properties: { b: '1' } });
  properties.reset(second, 0, second.length);
  expect(properties.get('a')).toBeUndefined();
  expect([properties.get('TAGS'), properties.get('KEYS')]).toEqual([undefined, 'm']);
  properties.reset(first, 0, first.length);
  expect([properties.get('TAGS'), properties.get('a')]).toEqual(['t', '1']);
  properties.clear();
  expect(properties.get('TAGS')).toBeUndefined();
});

test('a value is made a text once', () => {
  const bytes = encode({ properties: { a: 'x' } });
  const properties = new MessageProperties(['a']).reset(bytes, 0, bytes.length);
  expect(properties.get('a')).toBe('x');
  bytes.fill(0);
  expect(properties.get('a')).toBe('x');
});

test('a name that was not announced is a mistake of the caller', () => {
  expect(() => new MessageProperties(['a']).get('b')).toThrow(RangeError);
});

describe('of any message', () => {
  const text = fc.string({ unit: 'grapheme', maxLength: 12 });
  const name = fc.oneof(fc.constantFrom('a', 'b', 'ab', 'TAGS', 'KEYS', 'é'), text);
  const message = fc.record({
    body: fc.uint8Array({ maxLength: 200 }),
    tag: text,
    keys: fc.array(fc.string({ minLength: 1, maxLength: 150 }), { maxLength: 3 }),
    properties: fc.dictionary(name, fc.string({ maxLength: 200 }), { maxKeys: 5 }),
    orderingKey: text,
    bornTimeMs: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  });
  const unknown = fc.oneof(
    fc
      .bigInt({ min: 0n, max: 2n ** 64n - 1n })
      .map((value) => Buffer.concat([varint(72n), varint(value)])),
    fc.uint8Array({ maxLength: 200 }).map((bytes) => field(70_000, bytes)),
    fc
      .uint8Array({ minLength: 4, maxLength: 4 })
      .map((bytes) => Buffer.concat([Buffer.from([0x3d]), bytes])),
  );

  test('the same is found as protobuf-es finds', () => {
    fc.assert(
      fc.property(
        message,
        fc.array(unknown, { maxLength: 2 }),
        fc.array(name, { maxLength: 4 }),
        (fields, others, more) => {
          const bytes = Buffer.concat([Buffer.from('xx'), ...others, encode(fields), ...others]);
          const names = [...new Set(['TAGS', 'KEYS', ...Object.keys(fields.properties), ...more])];
          const found = new MessageProperties(names);
          found.reset(Buffer.concat([bytes, Buffer.from('yy')]), 2, bytes.length);
          for (const one of names) {
            const value = Object.hasOwn(fields.properties, one)
              ? fields.properties[one]
              : undefined;
            const expected =
              one === 'TAGS'
                ? fields.tag || undefined
                : one === 'KEYS'
                  ? fields.keys.join(' ') || undefined
                  : value;
            expect(found.get(one)).toBe(expected);
          }
        },
      ),
      { numRuns: 500 },
    );
  });

  test('reading ends, whatever the bytes are', () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 100 }),
      fc.array(fc.constantFrom(0x0a, 0x12, 0x1a, 0x22, 0x80, 0xff, 0x01, 0x00), { maxLength: 60 }),
    );
    fc.assert(
      fc.property(bytes, fc.nat(20), (some, cut) => {
        const all = Buffer.from(some);
        const end = Math.max(0, all.length - cut);
        const found = new MessageProperties(['TAGS', 'KEYS', 'a', '']).reset(all, 0, end);
        for (const one of ['TAGS', 'KEYS', 'a', '']) expect(() => found.get(one)).not.toThrow();
      }),
      { numRuns: 5000 },
    );
  });
});

test('a filter is asked about one message after another', () => {
  const filter = compileFilter("TAGS IN ('paid', 'sent') AND KEYS CONTAINS '7' AND amount >= 100");
  const properties = new MessageProperties(filter.names);
  const wants = (fields: Fields) => {
    const bytes = encode({ body: Buffer.from('body'), ...fields });
    return filter.matches(properties.reset(bytes, 0, bytes.length));
  };
  expect(wants({ tag: 'paid', keys: ['o-7'], properties: { amount: '100.5' } })).toBe(true);
  expect(wants({ tag: 'open', keys: ['o-7'], properties: { amount: '100.5' } })).toBe(false);
  expect(wants({ tag: 'sent', keys: ['o-7'], properties: { amount: '99' } })).toBe(false);
  expect(wants({ tag: 'sent', keys: ['o-7', 'o-8'], properties: { amount: '1e2' } })).toBe(true);
  expect(wants({ tag: 'sent', keys: ['o-8'], properties: { amount: '1e2' } })).toBe(false);
  expect(wants({})).toBe(false);
});
