// A message's name in its cluster, told from where it is: CRC-32 of the broker group's name (4 bytes), topic number
// (4), queue (2) and offset (6), big-endian, as 32 hexadecimal digits.

import { crc32 } from 'node:zlib';

/** Writes the name of a message. */
export function messageId(
  broker: string,
  topicId: number,
  queueId: number,
  offset: number,
): string {
  const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0');
  return hex(crc32(broker), 8) + hex(topicId, 8) + hex(queueId, 4) + hex(offset, 12);
}

/** Could a broker group of this name keep the message? */
export function mayKeep(broker: string, id: string): boolean {
  return id.slice(0, 8).toLowerCase() === crc32(broker).toString(16).padStart(8, '0');
}
