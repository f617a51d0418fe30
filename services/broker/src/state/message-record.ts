// The body of a message record: what the broker adds, and then the producer's bytes. Indexes count from the
// body's start; a record's body begins at RECORD_HEADER_BYTES.
//
//    0  0x25  topic id        4
//    5  0x2d  queue id        4
//   10  0x31  offset          8
//   19  0x39  store time      8  ms since the Unix epoch
//   28  0x41  producer id     8
//   37  0x49  sequence        8
//   46  0x52 0x10  born host 16  IPv6, or IPv4 mapped into it
//   64  0x5a  length          4  varint of exactly four bytes
//   69        the message
//         [   0x62  origin: only on messages that the broker moved here ]
//
// These are the fields 4 to 12 of `ternmq.message.v1.StoredMessage`.

import {
  RECORD_HEADER_BYTES,
  readLength,
  readUint64,
  writeLength,
  writeUint64,
} from '../log/record.ts';

/** Bytes of the body in front of the message. */
export const MESSAGE_HEADER_BYTES = 69;
/** Bytes of a record in front of the message. */
export const MESSAGE_AT = RECORD_HEADER_BYTES + MESSAGE_HEADER_BYTES;
/** An address that is not known. */
export const NO_HOST: Buffer = Buffer.alloc(16);

const TOPIC_ID = 1;
const QUEUE_ID = 6;
const OFFSET = 11;
const STORE_TIME = 20;
const PRODUCER_ID = 29;
const SEQUENCE = 38;
const BORN_HOST = 48;
const MESSAGE_LENGTH = 65;

/**
 * Writes the body in front of a message of `messageBytes` bytes.
 *
 * @param at index of the body
 * @param bornHost 16 bytes
 */
export function writeMessageHeader(
  buffer: Buffer,
  view: DataView,
  at: number,
  topicId: number,
  queueId: number,
  offset: number,
  storeTimeMs: number,
  producerId: number,
  sequence: number,
  bornHost: Buffer,
  messageBytes: number,
): void {
  view.setUint8(at, 0x25);
  view.setUint32(at + TOPIC_ID, topicId, true);
  view.setUint8(at + 5, 0x2d);
  view.setUint32(at + QUEUE_ID, queueId, true);
  view.setUint8(at + 10, 0x31);
  writeUint64(view, at + OFFSET, offset);
  view.setUint8(at + 19, 0x39);
  writeUint64(view, at + STORE_TIME, storeTimeMs);
  view.setUint8(at + 28, 0x41);
  writeUint64(view, at + PRODUCER_ID, producerId);
  view.setUint8(at + 37, 0x49);
  writeUint64(view, at + SEQUENCE, sequence);
  view.setUint16(at + 46, 0x1052, true);
  buffer.set(bornHost, at + BORN_HOST);
  view.setUint8(at + 64, 0x5a);
  writeLength(view, at + MESSAGE_LENGTH, messageBytes);
}

/** Topic of the message record whose body is at `at`. */
export function topicIdOf(view: DataView, at: number): number {
  return view.getUint32(at + TOPIC_ID, true);
}

/** Queue of the message. */
export function queueIdOf(view: DataView, at: number): number {
  return view.getUint32(at + QUEUE_ID, true);
}

/** Offset of the message in its queue. */
export function offsetOf(view: DataView, at: number): number {
  return readUint64(view, at + OFFSET);
}

/** When the message was stored, in milliseconds since the Unix epoch. */
export function storeTimeOf(view: DataView, at: number): number {
  return readUint64(view, at + STORE_TIME);
}

/** The idempotent producer of the message; 0 for none. */
export function producerIdOf(view: DataView, at: number): number {
  return readUint64(view, at + PRODUCER_ID);
}

/** Messages that the producer had sent to the queue before. */
export function sequenceOf(view: DataView, at: number): number {
  return readUint64(view, at + SEQUENCE);
}

/** Bytes of the address that a message came from. */
export const BORN_HOST_BYTES = 16;

/** Index of that address. */
export function bornHostAt(at: number): number {
  return at + BORN_HOST;
}

/** Bytes of the producer's message. */
export function messageBytesOf(view: DataView, at: number): number {
  return readLength(view, at + MESSAGE_LENGTH);
}
