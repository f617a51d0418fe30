import { fromBinary } from '@bufbuild/protobuf';
import { ProduceRequestSchema } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { EncodedMessage } from '../body-encoding.ts';
import { DELAY_LEVELS, delayMsOf } from '../delay.ts';
import { addressFrame, encodeFrame, messageBytes } from './frame.ts';

const text = fc.string({ unit: 'binary', maxLength: 200 });
const message: fc.Arbitrary<EncodedMessage> = fc.record(
  {
    body: fc.oneof(fc.uint8Array({ maxLength: 400 }), text),
    tag: text,
    keys: fc.array(text, { maxLength: 4 }),
    properties: fc.dictionary(text, text, { maxKeys: 5 }),
    orderingKey: text,
    priority: fc.integer({ min: 0, max: 9 }),
    traceContext: fc.string({ maxLength: 60 }),
    bodyEncoding: fc.constantFrom(1 as const, 2 as const),
    delay: fc.oneof(fc.nat(3_456_000_000), fc.constantFrom(...DELAY_LEVELS)),
    deliverAt: fc.date({ min: new Date(1), max: new Date(2 ** 42), noInvalidDate: true }),
  },
  { requiredKeys: ['body'] },
);
const safe = fc.maxSafeNat();

describe('a frame', () => {
  test('is what a generic decoder reads, whatever the messages are', () => {
    fc.assert(
      fc.property(
        text,
        fc.array(message, { minLength: 1, maxLength: 6 }),
        fc.nat(1023),
        safe,
        safe,
        fc.nat(0xffffffff),
        safe,
        (topic, messages, queueId, producerId, sequence, frameId, bornTimeMs) => {
          const frame = encodeFrame(topic, messages, bornTimeMs);
          addressFrame(frame, queueId, producerId, sequence, frameId);
          const read = fromBinary(ProduceRequestSchema, frame.bytes);
          expect(read).toMatchObject({
            topic,
            queueId,
            producerId: BigInt(producerId),
            sequence: BigInt(sequence),
            frameId,
          });
          expect(frame.count).toBe(messages.length);
          expect(read.messages).toHaveLength(messages.length);
          for (const [i, message] of messages.entries()) {
            const { body, tag, keys, properties, orderingKey, delay, deliverAt } = message;
            expect(read.messages[i]?.priority).toBe(message.priority);
            expect(read.messages[i]?.traceContext).toBe(message.traceContext ?? '');
            expect(read.messages[i]?.bodyEncoding).toBe(message.bodyEncoding ?? 0);
            expect(Buffer.from(read.messages[i]?.body ?? [])).toEqual(Buffer.from(body as string));
            expect(read.messages[i]).toMatchObject({
              tag: tag ?? '',
              keys: keys ?? [],
              orderingKey: orderingKey ?? '',
              bornTimeMs: BigInt(bornTimeMs),
              deliverAtMs: BigInt(deliverAt?.getTime() ?? 0),
              delayMs: deliverAt === undefined ? BigInt(delayMsOf(delay) ?? 0) : 0n,
            });
            expect(Object.entries(read.messages[i]?.properties ?? {}).sort()).toEqual(
              Object.entries(properties ?? {}).sort(),
            );
          }
        },
      ),
    );
  });

  test('may be addressed again, and only the address changes', () => {
    const frame = encodeFrame('orders', [{ body: 'x', keys: ['k'] }], 5);
    addressFrame(frame, 1023, 2 ** 48, 2 ** 40, 7);
    addressFrame(frame, 3, 9, 0, 8);
    const read = fromBinary(ProduceRequestSchema, frame.bytes);
    expect(read).toMatchObject({ queueId: 3, producerId: 9n, sequence: 0n, frameId: 8 });
    expect(read.messages[0]?.keys).toEqual(['k']);
  });

  test('is written where text is no well-formed Unicode, as the replacement character', () => {
    const frame = encodeFrame('t', [{ body: 'a\ud800b', tag: '\udfff' }], 0);
    addressFrame(frame, 0, 1, 0, 0);
    const [read] = fromBinary(ProduceRequestSchema, frame.bytes).messages;
    expect(Buffer.from(read?.body ?? []).toString()).toBe('a\ufffdb');
    expect(read?.tag).toBe('\ufffd');
  });

  test('is counted with at least the bytes of its bodies', () => {
    fc.assert(
      fc.property(message, (one) => {
        expect(messageBytes(one)).toBeGreaterThanOrEqual(Buffer.byteLength(one.body as string));
      }),
    );
  });
});
