import { create, toBinary } from '@bufbuild/protobuf';
import {
  PullResponseSchema,
  SubscribeResponseSchema,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { StoredMessageSchema } from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isMqError } from '../errors.ts';
import { messageId } from '../message-id.ts';
import { ReceivedMessage } from '../received-message.ts';
import { readDelivery, readPull } from './delivery.ts';
import { recordPlace } from './record-place.ts';

const uint32 = fc.nat(0xffffffff);
const safe = fc.maxSafeNat();
const text = fc.string({ unit: 'binary', maxLength: 60 });

const lease = fc.record({
  topicId: uint32,
  queueId: uint32,
  first: safe,
  end: safe,
  leaseId: safe,
  attempt: uint32,
  deadlineMs: safe,
});
const stored = fc.record({
  topicId: uint32,
  queueId: uint32,
  offset: safe,
  storeTimeMs: safe,
  body: fc.uint8Array({ maxLength: 200 }),
  tag: text,
  keys: fc.array(text, { maxLength: 3 }),
  properties: fc.dictionary(text, text, { maxKeys: 4 }),
  orderingKey: text,
  bornTimeMs: safe,
  origin: fc.option(
    fc.record({
      topic: text,
      topicId: uint32,
      queueId: fc.nat(0xffff),
      offset: fc.nat(2 ** 48 - 1),
      group: text,
      attempts: uint32,
      reason: text,
    }),
    { nil: undefined },
  ),
});
type Stored = typeof stored extends fc.Arbitrary<infer T> ? T : never;

function storedMessage(one: Stored) {
  const { body, tag, keys, properties, orderingKey, bornTimeMs, origin } = one;
  return create(StoredMessageSchema, {
    checksum: 1,
    epoch: 2,
    position: 3n,
    topicId: one.topicId,
    queueId: one.queueId,
    offset: BigInt(one.offset),
    storeTimeMs: BigInt(one.storeTimeMs),
    producerId: 4n,
    sequence: 5n,
    bornHost: new Uint8Array(16),
    message: { body, tag, keys, properties, orderingKey, bornTimeMs: BigInt(bornTimeMs) },
    ...(origin === undefined ? {} : { origin: { ...origin, offset: BigInt(origin.offset) } }),
  });
}

function expectSame(message: ReceivedMessage, one: Stored): void {
  expect(message.body).toEqual(Buffer.from(one.body));
  const { topicId, queueId, offset, storeTimeMs, tag, keys, orderingKey, bornTimeMs } = one;
  expect(message).toMatchObject({ topicId, queueId, offset, storeTimeMs });
  expect(message).toMatchObject({ tag, keys, orderingKey, bornTimeMs });
  expect(Object.entries(message.properties).sort()).toEqual(Object.entries(one.properties).sort());
  const { topicId: originTopicId = 0, ...origin } = one.origin ?? { queueId: 0, offset: 0 };
  const id = messageId('b', originTopicId, origin.queueId, origin.offset);
  expect(message.origin).toEqual(one.origin && { ...origin, messageId: id });
}

describe('a delivery', () => {
  test('is read as a generic encoder writes it', () => {
    fc.assert(
      fc.property(
        fc.array(stored, { maxLength: 4 }),
        fc.array(lease, { maxLength: 4 }),
        fc.array(fc.record({ topic: text, topicId: uint32 }), { maxLength: 3 }),
        fc.array(fc.record({ reason: text, message: text }), { maxLength: 3 }),
        (messages, leases, topics, failures) => {
          const response = create(SubscribeResponseSchema, {
            messages: messages.map(storedMessage),
            leases: leases.map((one) => ({
              ...one,
              firstOffset: BigInt(one.first),
              endOffset: BigInt(one.end),
              leaseId: BigInt(one.leaseId),
              deadlineMs: BigInt(one.deadlineMs),
            })),
            topics,
            failures: failures.map((one) => ({ ...one, settlement: { topicId: 1 } })),
          });
          const frame = readDelivery(Buffer.from(toBinary(SubscribeResponseSchema, response)));
          expect(frame.leases).toEqual(leases);
          expect(frame.topics).toEqual(topics);
          expect(frame.failures).toEqual(failures);
          expect(frame.records).toHaveLength(messages.length);
          for (const [i, one] of messages.entries()) {
            const slice = frame.records[i];
            if (slice === undefined) throw new Error('a record is missing');
            const { topicId, queueId, offset, storeTimeMs } = one;
            expect(recordPlace(slice)).toEqual({ topicId, queueId, offset, storeTimeMs });
            const place = { topic: 't', broker: 'b', attempt: 1 };
            expectSame(new ReceivedMessage(slice, place), one);
          }
        },
      ),
    );
  });

  test('whose record has its fields in another order is read, too', () => {
    // store time, offset, queue, topic: the reverse of what brokers write.
    const bytes = Buffer.concat([
      Buffer.from([0x39, 8, 0, 0, 0, 0, 0, 0, 0, 0x31, 7, 0, 0, 0, 1, 0, 0, 0]),
      Buffer.from([0x2d, 6, 0, 0, 0, 0x25, 5, 0, 0, 0, 0x52, 30, ...new Array(30).fill(0)]),
    ]);
    const slice = { bytes, start: 0, end: bytes.length };
    const place = { topicId: 5, queueId: 6, offset: 7 + 2 ** 32, storeTimeMs: 8 };
    expect(recordPlace(slice)).toEqual(place);
    expect(new ReceivedMessage(slice, { topic: '', broker: '', attempt: 1 })).toMatchObject(place);
  });

  const REFUSALS = new Set(['MALFORMED_RESPONSE', 'BODY_ENCODING_UNKNOWN', 'BODY_DAMAGED']);

  test('that is any bytes is read or refused with a typed error, and never for ever', () => {
    const visit = (bytes: Buffer): void => {
      for (const slice of readDelivery(bytes).records) {
        recordPlace(slice);
        const message = new ReceivedMessage(slice, { topic: '', broker: '', attempt: 1 });
        void [message.body, message.properties, message.origin];
      }
      readPull(bytes);
    };
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), stored, fc.nat(), (noise, one, at) => {
        const response = create(SubscribeResponseSchema, { messages: [storedMessage(one)] });
        const whole = Buffer.from(toBinary(SubscribeResponseSchema, response));
        const altered = Buffer.from(whole);
        altered[at % altered.length] = noise[0] ?? 0;
        for (const bytes of [Buffer.from(noise), altered, whole.subarray(0, at % whole.length)]) {
          try {
            visit(bytes);
          } catch (error) {
            // A body may also say that it is compressed when it is not.
            expect(isMqError(error) && REFUSALS.has(error.code) ? '' : String(error)).toBe('');
          }
        }
      }),
      { numRuns: 1000 },
    );
  });
});

describe('a pull', () => {
  test('is read as a generic encoder writes it', () => {
    fc.assert(
      fc.property(
        fc.array(stored, { maxLength: 3 }),
        safe,
        safe,
        safe,
        fc.string(),
        (list, next, begin, end, readAt) => {
          const response = create(PullResponseSchema, {
            messages: list.map(storedMessage),
            nextOffset: BigInt(next),
            beginOffset: BigInt(begin),
            endOffset: BigInt(end),
            readAt,
          });
          const frame = readPull(Buffer.from(toBinary(PullResponseSchema, response)));
          const offsets = { nextOffset: next, beginOffset: begin, endOffset: end };
          expect(frame).toMatchObject({ ...offsets, readAt });
          expect(frame.records.map((slice) => recordPlace(slice).offset)).toEqual(
            list.map(({ offset }) => offset),
          );
        },
      ),
    );
  });
});
