import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  type ProduceRequest,
  ProduceRequestSchema,
  SendRequestSchema,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { MessageSchema } from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { tagHash } from '../state/message-tag.ts';
import { FrameScanner } from './frame-scanner.ts';

const text = (maxLength: number): fc.Arbitrary<string> =>
  fc.string({ unit: 'grapheme', maxLength });
const message = fc.record({
  body: fc.uint8Array({ minLength: 1, maxLength: 300 }),
  tag: fc.stringMatching(/^[a-zA-Z0-9_ä-ü]{0,20}$/),
  keys: fc.array(fc.string({ minLength: 1, maxLength: 60 }), { maxLength: 3 }),
  properties: fc.dictionary(text(9), text(30), { maxKeys: 4 }),
  orderingKey: text(20),
  bornTimeMs: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  replyTo: text(40),
  bodyEncoding: fc.constantFrom(0, 1, 2),
  priority: fc.option(fc.integer({ min: 0, max: 9 }), { nil: undefined }),
});
const frame = fc.record(
  {
    topic: fc.stringMatching(/^[a-z-]{1,20}$/),
    queueId: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
    producerId: fc.maxSafeNat().map(BigInt),
    sequence: fc.maxSafeNat().map(BigInt),
    frameId: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
    messages: fc.array(message, { minLength: 1, maxLength: 90 }),
  },
  { requiredKeys: ['topic', 'messages'] },
);

const bytesOf = (request: ProduceRequest): Buffer =>
  Buffer.from(toBinary(ProduceRequestSchema, request));
const scanner = new FrameScanner();

function expectSame(bytes: Buffer, request: ProduceRequest): void {
  expect(bytes.toString('utf8', scanner.topicAt, scanner.topicEnd)).toBe(request.topic);
  expect(scanner.queueId).toBe(request.queueId ?? -1);
  expect(scanner.producerId).toBe(Number(request.producerId));
  expect(scanner.sequence).toBe(Number(request.sequence));
  expect(scanner.frameId).toBe(request.frameId);
  expect(scanner.count).toBe(request.messages.length);
  for (const [i, one] of request.messages.entries()) {
    const at = scanner.starts[i] as number;
    const part = bytes.subarray(at, at + (scanner.lengths[i] as number));
    const found = fromBinary(MessageSchema, new Uint8Array(part));
    expect(found).toEqual(one);
    const tag = Buffer.from(one.tag);
    expect(scanner.tagHashes[i]).toBe(tag.length === 0 ? 0 : tagHash(tag, 0, tag.length));
  }
  const priorities = request.messages.flatMap(({ priority }) => priority ?? []);
  expect(scanner.prioritized).toBe(priorities.length);
  if (priorities.length > 0) {
    expect(scanner.priorityMin).toBe(Math.min(...priorities));
    expect(scanner.priorityMax).toBe(Math.max(...priorities));
  }
  const { orderingKeyAt, orderingKeyEnd } = scanner;
  const key = bytes.toString('utf8', orderingKeyAt, orderingKeyEnd);
  expect(key).toBe(request.messages[0]?.orderingKey);
}

/** Fields that neither frames nor messages have. */
const UNKNOWN = Buffer.concat([
  Buffer.from([0xf8, 0x7f, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01]),
  Buffer.from([0xf9, 0x7f, 1, 2, 3, 4, 5, 6, 7, 8]),
  Buffer.from([0xfa, 0x7f, 3, 0x0a, 0x0a, 0x0a]),
  Buffer.from([0xfd, 0x7f, 1, 2, 3, 4]),
]);

describe('a valid frame', () => {
  test('is read as protobuf-es reads it', () => {
    fc.assert(
      fc.property(frame, (init) => {
        const request = create(
          ProduceRequestSchema,
          init as Parameters<typeof create<typeof ProduceRequestSchema>>[1],
        );
        const bytes = bytesOf(request);
        expect(scanner.scan(bytes)).toBeUndefined();
        expectSame(bytes, request);
      }),
      { numRuns: 150 },
    );
  });

  test('may have fields that are not known, in the frame and in its messages', () => {
    fc.assert(
      fc.property(frame, (init) => {
        const request = create(ProduceRequestSchema, { topic: init.topic });
        const messages = init.messages.map((one) => {
          const bytes = toBinary(MessageSchema, create(MessageSchema, one));
          return Buffer.concat([UNKNOWN, bytes, UNKNOWN]);
        });
        const fields = messages.map((bytes) =>
          Buffer.concat([Buffer.from([0x32]), lengthOf(bytes.length), bytes]),
        );
        const bytes = Buffer.concat([UNKNOWN, bytesOf(request), ...fields, UNKNOWN]);
        expect(scanner.scan(bytes)).toBeUndefined();
        expect(scanner.count).toBe(messages.length);
        for (const [i, one] of messages.entries()) {
          const at = scanner.starts[i] as number;
          expect(bytes.subarray(at, at + (scanner.lengths[i] as number)).equals(one)).toBe(true);
        }
      }),
      { numRuns: 50 },
    );
  });

  test('of SendRequest is read too, with its one-way flag', () => {
    for (const oneWay of [false, true]) {
      const messages = [{ body: new Uint8Array([1]) }];
      const bytes = toBinary(
        SendRequestSchema,
        create(SendRequestSchema, { topic: 'a', oneWay, messages }),
      );
      expect(scanner.scan(Buffer.from(bytes))).toBeUndefined();
      expect(scanner.oneWay).toBe(oneWay);
    }
  });
});

function lengthOf(length: number): Buffer {
  const bytes: number[] = [];
  for (let rest = length; ; rest >>>= 7) {
    if (rest < 128) return Buffer.from([...bytes, rest]);
    bytes.push((rest & 127) | 128);
  }
}

describe('what is malformed', () => {
  test('never throws or loops, and reads what it accepts as protobuf-es does', () => {
    const flips = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 4 });
    fc.assert(
      fc.property(frame, flips, fc.nat(), fc.boolean(), (init, changes, cut, cuts) => {
        const whole = bytesOf(
          create(ProduceRequestSchema, {
            ...init,
            messages: init.messages.slice(0, 3),
          } as Parameters<typeof create<typeof ProduceRequestSchema>>[1]),
        );
        for (const [at, value] of changes) whole[at % whole.length] = value;
        const bytes = cuts ? whole.subarray(0, cut % (whole.length + 1)) : whole;
        const refusal = scanner.scan(bytes);
        if (refusal !== undefined) {
          expect(refusal.reason).toMatch(/^[A-Z_]+$/);
          return;
        }
        // Field number 0 and the like are protobuf-es's to refuse. A field with another field's wire type is skipped here,
        // and read as what it is not there; bytes that protobuf-es would write itself have no such field.
        let request: ProduceRequest;
        try {
          request = fromBinary(ProduceRequestSchema, new Uint8Array(bytes));
        } catch {
          return;
        }
        if (!bytesOf(request).equals(bytes)) return;
        expectSame(bytes, request);
      }),
      { numRuns: 1500 },
    );
  });

  test('never throws or loops on random bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        scanner.scan(Buffer.from(bytes));
      }),
      { numRuns: 3000 },
    );
  });
});

describe('limits', () => {
  const refusalOf = (one: Record<string, unknown>): string | undefined => {
    const body = new Uint8Array([1]);
    const request = create(ProduceRequestSchema, { topic: 'a', messages: [{ body, ...one }] });
    return scanner.scan(bytesOf(request))?.reason;
  };
  const pairs = (count: number, value: string): Record<string, string> =>
    Object.fromEntries(Array.from({ length: count }, (_, i) => [String(i), value]));

  test.each<[string, Record<string, unknown>, string | undefined]>([
    ['an empty body', { body: new Uint8Array() }, 'BODY_EMPTY'],
    ['a body of 4 MiB', { body: new Uint8Array(4 << 20) }, undefined],
    ['a body of 4 MiB and a byte', { body: new Uint8Array((4 << 20) + 1) }, 'BODY_TOO_LARGE'],
    ['a tag of 127 bytes', { tag: 't'.repeat(127) }, undefined],
    ['a tag of 128 bytes', { tag: 't'.repeat(128) }, 'INVALID_TAG'],
    ['a tag of 128 bytes in 64 characters', { tag: 'ä'.repeat(64) }, 'INVALID_TAG'],
    ['a tag with a bar', { tag: 'a|b' }, 'INVALID_TAG'],
    ['a tag with a line break', { tag: 'a\nb' }, 'INVALID_TAG'],
    ['a tag with DEL', { tag: 'a\x7f' }, 'INVALID_TAG'],
    ['an empty key', { keys: [''] }, 'INVALID_KEY'],
    ['a key of 255 bytes', { keys: ['k'.repeat(255)] }, undefined],
    ['a key of 256 bytes', { keys: ['k'.repeat(256)] }, 'INVALID_KEY'],
    ['an ordering key of 127 bytes', { orderingKey: 'o'.repeat(127) }, undefined],
    ['an ordering key of 128 bytes', { orderingKey: 'o'.repeat(128) }, 'INVALID_ORDERING_KEY'],
    ['128 properties', { properties: pairs(128, 'v') }, undefined],
    ['129 properties', { properties: pairs(129, 'v') }, 'PROPERTIES_TOO_LARGE'],
    ['16 KiB of properties', { properties: pairs(2, 'v'.repeat(8100)) }, undefined],
    [
      'more than 16 KiB of properties',
      { properties: pairs(2, 'v'.repeat(8200)) },
      'PROPERTIES_TOO_LARGE',
    ],
    ['more than 16 KiB of keys', { keys: Array(80).fill('k'.repeat(255)) }, 'PROPERTIES_TOO_LARGE'],
  ])('%s', (_what, one, reason) => {
    expect(refusalOf(one)).toBe(reason);
  });

  test('a frame without messages is refused, and one with a bad message whole, with its id', () => {
    expect(scanner.scan(bytesOf(create(ProduceRequestSchema, { topic: 'a' })))?.reason).toBe(
      'MALFORMED_FRAME',
    );
    expect(scanner.scan(Buffer.alloc(0))?.reason).toBe('MALFORMED_FRAME');
    const good = { body: new Uint8Array([1]) };
    const request = create(ProduceRequestSchema, {
      topic: 'a',
      frameId: 77,
      messages: [good, { body: new Uint8Array() }, good],
    });
    // The id may come behind the messages.
    const bytes = bytesOf(request);
    expect(scanner.scan(Buffer.concat([bytes, Buffer.from([0x2d, 78, 0, 0, 0])]))?.reason).toBe(
      'BODY_EMPTY',
    );
    expect(scanner.frameId).toBe(78);
  });

  test.each([
    ['topic', 0x0a],
    ['message', 0x32],
  ])('a %s whose length goes past the end is refused', (_what, tag) => {
    for (const length of [
      [0x05],
      [0xff, 0xff, 0xff, 0xff, 0x0f],
      [0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
    ]) {
      expect(scanner.scan(Buffer.from([tag, ...length, 1, 2]))?.reason).toBe('MALFORMED_FRAME');
    }
  });

  test('text that is no UTF-8 is refused wherever it may be', () => {
    const bad = Buffer.from([0xc3, 0x28]);
    const inMessage = (tag: number, bytes: Buffer): Buffer => {
      const fields = Buffer.concat([Buffer.from([0x0a, 1, 1, tag, bytes.length]), bytes]);
      return Buffer.concat([Buffer.from([0x0a, 1, 0x61, 0x32, fields.length]), fields]);
    };
    expect(scanner.scan(inMessage(0x12, bad))?.reason).toBe('INVALID_TAG');
    expect(scanner.scan(inMessage(0x1a, bad))?.reason).toBe('INVALID_KEY');
    expect(scanner.scan(inMessage(0x2a, bad))?.reason).toBe('INVALID_ORDERING_KEY');
    const pair = Buffer.concat([Buffer.from([0x0a, 2]), bad]);
    expect(scanner.scan(inMessage(0x22, pair))?.reason).toBe('MALFORMED_FRAME');
  });
});
