import { fromBinary } from '@bufbuild/protobuf';
import { SubscribeRequestSchema } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { Settlement_Action } from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { encodeSubscribeRequest, SettleAction } from './subscribe-request.ts';

const uint32 = fc.nat(0xffffffff);
const settlement = fc.record({
  topicId: uint32,
  queueId: uint32,
  first: fc.maxSafeNat(),
  end: fc.maxSafeNat(),
  leaseId: fc.maxSafeNat(),
  action: fc.constantFrom(...Object.values(SettleAction)),
  delayMs: uint32,
  reason: fc.string({ unit: 'binary', maxLength: 200 }),
});

describe('what a consumer says', () => {
  test('is what a generic decoder reads', () => {
    fc.assert(
      fc.property(
        uint32,
        uint32,
        fc.array(settlement, { maxLength: 6 }),
        (messages, size, list) => {
          const read = fromBinary(
            SubscribeRequestSchema,
            encodeSubscribeRequest(messages, size, list),
          );
          expect(read.open).toBeUndefined();
          expect(read.creditMessages).toBe(messages);
          expect(read.creditBytes).toBe(size);
          expect(
            read.settlements.map(({ $typeName, firstOffset, endOffset, ...rest }) => ({
              ...rest,
              leaseId: Number(rest.leaseId),
              first: Number(firstOffset),
              end: Number(endOffset),
            })),
          ).toEqual(list);
        },
      ),
    );
  });

  test('names actions by the numbers of the schema', () => {
    for (const [name, value] of Object.entries(SettleAction)) {
      expect(Settlement_Action[name as keyof typeof Settlement_Action]).toBe(value);
    }
  });
});
