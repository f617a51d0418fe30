import { fromBinary } from '@bufbuild/protobuf';
import { StoredMessageSchema } from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { viewOf } from '../log/record.ts';
import {
  HELD_BYTES,
  RELEASED_BYTES,
  readHeld,
  readReleased,
  TrailerTag,
  trailerTag,
  writeHeld,
  writeReleased,
} from './message-trailer.ts';

const id = fc.integer({ min: 0, max: 2 ** 32 - 1 });

test('where a held message belongs is a protobuf field, and is read as it was written', () => {
  fc.assert(
    fc.property(id, id, fc.maxSafeNat(), (topicId, queueId, dueMs) => {
      const bytes = Buffer.alloc(HELD_BYTES);
      writeHeld(viewOf(bytes), 0, { topicId, queueId, dueMs });
      expect(trailerTag(bytes, 0, bytes.length)).toBe(TrailerTag.HELD);
      expect(readHeld(viewOf(bytes), 0)).toEqual({ topicId, queueId, dueMs });
      const { held } = fromBinary(StoredMessageSchema, bytes);
      expect(held).toMatchObject({ topicId, queueId, dueMs: BigInt(dueMs) });
    }),
  );
});

test('where a message was held is a protobuf field, and is read as it was written', () => {
  fc.assert(
    fc.property(id, fc.maxSafeNat(), (topicId, offset) => {
      const bytes = Buffer.alloc(RELEASED_BYTES);
      writeReleased(viewOf(bytes), 0, { topicId, offset });
      expect(trailerTag(bytes, 0, bytes.length)).toBe(TrailerTag.RELEASED);
      expect(readReleased(viewOf(bytes), 0)).toEqual({ topicId, offset });
      const { released } = fromBinary(StoredMessageSchema, bytes);
      expect(released).toMatchObject({ topicId, offset: BigInt(offset) });
    }),
  );
});

test('a record that ends with the message has no trailer', () => {
  expect(trailerTag(Buffer.from([TrailerTag.HELD]), 1, 1)).toBe(0);
});
