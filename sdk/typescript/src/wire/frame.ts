// Writes ProduceRequest frames by hand: twice as fast as an object and a generic encoder. What is known only when
// the frame is sent (queue, producer, sequence, number) has a fixed width and stands in front, so that a frame is
// encoded once, whatever happens to it:
//
//   0x0a length topic | 0x10 queue id 2 | 0x19 producer id 8 | 0x21 sequence 8 | 0x2d frame id 4 | 0x32 message …
//
//   message: 0x0a body | 0x12 tag | 0x1a key … | 0x22 property … | 0x2a ordering key | 0x31 born time 8
//            | 0x39 time of delivery 8 | 0x40 delay | 0x48 priority 1 | 0x58 body encoding 1 | 0x62 trace context

import type { EncodedMessage } from '../body-encoding.ts';
import { delayMsOf, isDelayed } from '../delay.ts';
import { MqError } from '../errors.ts';
import type { OutgoingMessage } from '../message.ts';
import { varintBytes, writeVarint } from './varint.ts';

const AFTER_TOPIC_BYTES = 3 + 9 + 9 + 5;
const QUEUE_IDS = 1 << 14;
const TWO_POW_32 = 4294967296;

/** The parts of a message that take room, measured once. */
interface Measured {
  readonly message: EncodedMessage;
  readonly body: Uint8Array | string;
  readonly bodyBytes: number;
  readonly propertyBytes: number[];
  readonly innerBytes: number;
}

/** Messages for one queue, encoded, and not yet addressed. */
export interface EncodedFrame {
  readonly bytes: Buffer;
  /** Where the fixed-width fields begin. */
  readonly headerAt: number;
  /** Number of messages. */
  readonly count: number;
}

function field(length: number): number {
  return 1 + varintBytes(length) + length;
}

function measure(message: EncodedMessage): Measured {
  const { body, tag, keys, properties, orderingKey } = message;
  const bodyBytes = typeof body === 'string' ? Buffer.byteLength(body) : body.length;
  let innerBytes = field(bodyBytes) + 9;
  if (tag !== undefined && tag !== '') innerBytes += field(Buffer.byteLength(tag));
  for (const key of keys ?? []) innerBytes += field(Buffer.byteLength(key));
  const propertyBytes: number[] = [];
  if (properties !== undefined) {
    for (const [name, value] of Object.entries(properties)) {
      const length = field(Buffer.byteLength(name)) + field(Buffer.byteLength(value));
      propertyBytes.push(length);
      innerBytes += field(length);
    }
  }
  if (orderingKey !== undefined && orderingKey !== '') {
    innerBytes += field(Buffer.byteLength(orderingKey));
  }
  if (isDelayed(message)) {
    const { delay, deliverAt } = message;
    innerBytes += deliverAt === undefined ? 1 + varintBytes(delayMsOf(delay) ?? 0) : 9;
  }
  if (message.priority !== undefined) innerBytes += 2;
  if (message.bodyEncoding !== undefined) innerBytes += 2;
  if (message.traceContext) innerBytes += field(Buffer.byteLength(message.traceContext));
  return { message, body, bodyBytes, propertyBytes, innerBytes };
}

function writeText(bytes: Buffer, at: number, tag: number, value: string): number {
  bytes[at] = tag;
  const length = Buffer.byteLength(value);
  const start = writeVarint(bytes, at + 1, length);
  // The longest texts here are short; utf8Write beats a copy of a temporary buffer.
  bytes.write(value, start, length, 'utf8');
  return start + length;
}

function writeMessage(
  bytes: Buffer,
  start: number,
  measured: Measured,
  bornTimeMs: number,
): number {
  const { message, body, bodyBytes, propertyBytes, innerBytes } = measured;
  bytes[start] = 0x32;
  let at = writeVarint(bytes, start + 1, innerBytes);
  bytes[at] = 0x0a;
  at = writeVarint(bytes, at + 1, bodyBytes);
  if (typeof body === 'string') bytes.write(body, at, bodyBytes, 'utf8');
  else bytes.set(body, at);
  at += bodyBytes;
  const { tag, keys, properties, orderingKey } = message;
  if (tag !== undefined && tag !== '') at = writeText(bytes, at, 0x12, tag);
  if (keys !== undefined) for (const key of keys) at = writeText(bytes, at, 0x1a, key);
  if (properties !== undefined) {
    let index = 0;
    for (const [name, value] of Object.entries(properties)) {
      bytes[at] = 0x22;
      at = writeVarint(bytes, at + 1, propertyBytes[index++] as number);
      at = writeText(bytes, at, 0x0a, name);
      at = writeText(bytes, at, 0x12, value);
    }
  }
  if (orderingKey !== undefined && orderingKey !== '') at = writeText(bytes, at, 0x2a, orderingKey);
  at = writeTime(bytes, at, 0x31, bornTimeMs);
  if (isDelayed(message)) at = writeDelay(bytes, at, message);
  if (message.priority !== undefined) {
    bytes[at] = 0x48;
    bytes[at + 1] = message.priority;
    at += 2;
  }
  if (message.bodyEncoding !== undefined) {
    bytes[at] = 0x58;
    bytes[at + 1] = message.bodyEncoding;
    at += 2;
  }
  if (message.traceContext) at = writeText(bytes, at, 0x62, message.traceContext);
  return at;
}

function writeDelay(bytes: Buffer, at: number, { delay, deliverAt }: OutgoingMessage): number {
  if (deliverAt !== undefined) return writeTime(bytes, at, 0x39, deliverAt.getTime());
  bytes[at] = 0x40;
  return writeVarint(bytes, at + 1, delayMsOf(delay) ?? 0);
}

function writeTime(bytes: Buffer, at: number, tag: number, timeMs: number): number {
  bytes[at] = tag;
  bytes.writeUInt32LE(timeMs >>> 0, at + 1);
  bytes.writeUInt32LE(Math.floor(timeMs / TWO_POW_32), at + 5);
  return at + 9;
}

/** Bytes that a message takes in a frame, about. */
export function messageBytes(message: OutgoingMessage): number {
  const { body, properties } = message;
  const FIXED = 64;
  const bodyBytes = typeof body === 'string' ? 3 * body.length : body.length;
  if (properties === undefined) return bodyBytes + FIXED;
  let sum = bodyBytes + FIXED;
  for (const [name, value] of Object.entries(properties)) sum += name.length + value.length + 8;
  return sum;
}

/** Encodes messages for one topic. `addressFrame` makes it a frame that can be sent. */
export function encodeFrame(
  topic: string,
  messages: readonly EncodedMessage[],
  bornTimeMs: number,
): EncodedFrame {
  const measured = messages.map(measure);
  const headerAt = field(Buffer.byteLength(topic));
  let length = headerAt + AFTER_TOPIC_BYTES;
  for (const { innerBytes } of measured) length += field(innerBytes);
  const bytes = Buffer.allocUnsafe(length);
  let at = writeText(bytes, 0, 0x0a, topic);
  at += AFTER_TOPIC_BYTES;
  for (const one of measured) at = writeMessage(bytes, at, one, bornTimeMs);
  return { bytes, headerAt, count: messages.length };
}

/** Writes what is known only when the frame is sent; may be done again for another try. */
export function addressFrame(
  frame: EncodedFrame,
  queueId: number,
  producerId: number,
  sequence: number,
  frameId: number,
): void {
  if (queueId >= QUEUE_IDS) throw new MqError('INVALID_OPTION', `there is no queue ${queueId}`);
  const { bytes, headerAt: at } = frame;
  bytes[at] = 0x10;
  bytes[at + 1] = (queueId & 127) | 128;
  bytes[at + 2] = queueId >> 7;
  bytes[at + 3] = 0x19;
  bytes.writeUInt32LE(producerId >>> 0, at + 4);
  bytes.writeUInt32LE(Math.floor(producerId / TWO_POW_32), at + 8);
  bytes[at + 12] = 0x21;
  bytes.writeUInt32LE(sequence >>> 0, at + 13);
  bytes.writeUInt32LE(Math.floor(sequence / TWO_POW_32), at + 17);
  bytes[at + 21] = 0x2d;
  bytes.writeUInt32LE(frameId >>> 0, at + 22);
}
