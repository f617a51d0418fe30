// A stored message as bytes, from the object that a unary call brings.

import { toBinary } from '@bufbuild/protobuf';
import {
  type StoredMessage,
  StoredMessageSchema,
} from '@ternmq/proto/gen/ternmq/message/v1/message_pb';

/** The bytes of a stored message. */
export function storedMessageBytes(message: StoredMessage | undefined): Buffer {
  return message === undefined
    ? Buffer.alloc(0)
    : Buffer.from(toBinary(StoredMessageSchema, message));
}
