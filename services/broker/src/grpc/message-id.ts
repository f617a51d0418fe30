// A message's name in its cluster: where it is, as 32 hexadecimal digits. Whoever knows a delivered message's
// broker, topic number, queue and offset can tell it without asking.
//
//   0  CRC-32 of the broker group's name  4      8  queue id  2
//   4  topic id                           4     10  offset    6     big-endian

import { crc32 } from 'node:zlib';
import { TernError } from '@ternmq/runtime';

const BYTES = 16;
const FORM = /^[0-9a-fA-F]{32}$/;

/** Writes a message's name. */
export function messageId(place: {
  brokerName: string;
  topicId: number;
  queueId: number;
  offset: number;
}): string {
  const bytes = Buffer.allocUnsafe(BYTES);
  bytes.writeUInt32BE(crc32(place.brokerName), 0);
  bytes.writeUInt32BE(place.topicId, 4);
  bytes.writeUInt16BE(place.queueId, 8);
  bytes.writeUIntBE(place.offset, 10, 6);
  return bytes.toString('hex');
}

/** Reads a message's name; `ours` tells whether it is one of this broker group. Throws INVALID_ARGUMENT. */
export function parseMessageId(
  text: string,
  brokerName: string,
): { ours: boolean; topicId: number; queueId: number; offset: number } {
  if (!FORM.test(text)) {
    const description = 'a message id has 32 hexadecimal digits';
    throw new TernError('INVALID_ARGUMENT', 'INVALID_MESSAGE_ID', description, {
      fields: [{ field: 'message_id', description }],
    });
  }
  const bytes = Buffer.from(text, 'hex');
  return {
    ours: bytes.readUInt32BE(0) === crc32(brokerName),
    topicId: bytes.readUInt32BE(4),
    queueId: bytes.readUInt16BE(8),
    offset: bytes.readUIntBE(10, 6),
  };
}
