import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { ProduceResponseSchema } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isMqError } from '../errors.ts';
import { type Outcome, readOutcomes } from './outcomes.ts';

const uint32 = fc.nat(0xffffffff);
const text = fc.string({ unit: 'binary' });
const outcome = fc.record({
  frameId: uint32,
  queueId: uint32,
  baseOffset: fc.maxSafeNat(),
  topicId: uint32,
  reason: text,
  message: text,
  parts: fc.array(
    fc.record({
      firstIndex: uint32,
      offset: fc.maxSafeNat(),
      queueId: fc.option(uint32, { nil: undefined }),
      duplicate: fc.boolean(),
    }),
    { maxLength: 3 },
  ),
});

function read(bytes: Uint8Array): Outcome[] {
  const outcomes: Outcome[] = [];
  readOutcomes(Buffer.from(bytes), (one) => outcomes.push(one));
  return outcomes;
}

describe('outcomes', () => {
  test('are read as a generic encoder writes them', () => {
    fc.assert(
      fc.property(fc.array(outcome, { maxLength: 8 }), (list) => {
        const bytes = toBinary(
          ProduceResponseSchema,
          create(ProduceResponseSchema, {
            outcomes: list.map((one) => ({
              ...one,
              baseOffset: BigInt(one.baseOffset),
              parts: one.parts.map(({ offset, queueId, ...part }) => ({
                ...part,
                ...(queueId === undefined ? {} : { queueId }),
                offset: BigInt(offset),
              })),
            })),
          }),
        );
        const expected = list.map((one) => ({
          ...one,
          parts: one.parts.length === 0 ? undefined : one.parts,
        }));
        expect(read(bytes)).toEqual(expected);
      }),
    );
  });

  test('that are any bytes are read or refused with a typed error, and never for ever', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          read(bytes);
        } catch (error) {
          expect(isMqError(error, 'MALFORMED_RESPONSE')).toBe(true);
        }
      }),
      { numRuns: 1000 },
    );
  });

  test('that are cut short are refused wherever the cut is within a field', () => {
    const whole = toBinary(
      ProduceResponseSchema,
      create(ProduceResponseSchema, {
        outcomes: [{ frameId: 1, queueId: 2, baseOffset: 3n, topicId: 4, reason: 'DISK_FULL' }],
      }),
    );
    for (let length = 1; length < whole.length; length++) {
      expect(() => read(whole.subarray(0, length))).toThrow(/no valid message/);
    }
    expect(fromBinary(ProduceResponseSchema, whole).outcomes).toHaveLength(1);
  });
});
