// A stored message from the object that a unary call brings.

import { toBinary } from '@bufbuild/protobuf';
import {
  type StoredMessage,
  StoredMessageSchema,
} from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import { ReceivedMessage } from '../received-message.ts';

/** The bytes of a stored message. */
export function storedMessageBytes(message: StoredMessage | undefined): Buffer {
  return message === undefined
    ? Buffer.alloc(0)
    : Buffer.from(toBinary(StoredMessageSchema, message));
}

/** A stored message for applications. */
export function receivedOf(
  message: StoredMessage | undefined,
  topic: string,
  brokerName: string,
): ReceivedMessage {
  const bytes = storedMessageBytes(message);
  const slice = { bytes, start: 0, end: bytes.length };
  return new ReceivedMessage(slice, { topic, broker: brokerName, attempt: 1 });
}
