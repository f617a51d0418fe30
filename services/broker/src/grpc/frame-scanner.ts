// Reads a ProduceRequest or SendRequest byte by byte, without making an object of it: finds where each message
// lies, checks it against the limits, and leaves the bytes alone. All or nothing: a frame with one bad message
// is refused whole, before anything is stored.
//
//   ProduceRequest / SendRequest: 1 topic, 2 queue id, 3 producer id, 4 sequence, 5 frame id (fixed32) or one-way
//   flag (varint), 6 messages, 7 how a transaction begins. Message: 1 body, 2 tag, 3 keys, 4 properties, 5 ordering key, 6 born time, 7 time of
//   delivery (fixed64), 8 delay (varint), 9 priority, 10 reply address, 11 body encoding, 12 trace context, 13 the producer's own id.
//
// The tables grow to the largest frame seen and are used again; a frame is appended before the next is scanned.

import { isUtf8 } from 'node:buffer';
import { BodyEncoding } from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import { keyHash, tagHash } from '../state/message-tag.ts';
import type { Refusal } from './frame-refusal.ts';

/** Largest body, in bytes. */
export const BODY_BYTES_MAX = 4 << 20;
/** Largest tag and ordering key, in bytes of UTF-8. */
export const NAME_BYTES_MAX = 127;
/** Largest key, in bytes of UTF-8. */
export const KEY_BYTES_MAX = 255;
/** Largest reply address, in bytes of UTF-8. */
export const REPLY_TO_BYTES_MAX = 255;
/** Largest trace context and producer's own id, in bytes of UTF-8. */
export const LABEL_BYTES_MAX = 255;
/** Most urgent priority. */
export const PRIORITY_MAX = 9;
/** Most properties of a message. */
export const PROPERTIES_MAX = 128;
/** Largest sum of tag, keys, ordering key and properties, in bytes of UTF-8. */
export const PROPERTIES_BYTES_MAX = 16 << 10;

const MALFORMED = (what: string): Refusal => ({
  reason: 'MALFORMED_FRAME',
  message: `the frame is no valid protobuf message: ${what}`,
});
const REFUSALS = {
  bodyEmpty: {
    reason: 'BODY_EMPTY',
    message: 'a message has an empty body; give it at least one byte',
  },
  bodyTooLarge: {
    reason: 'BODY_TOO_LARGE',
    message: 'a message body is larger than 4 MiB (4194304 bytes); split it or store it elsewhere',
  },
  properties: {
    reason: 'PROPERTIES_TOO_LARGE',
    message:
      'a message has more than 128 properties, or more than 16 KiB of tag, keys and properties',
  },
  tag: {
    reason: 'INVALID_TAG',
    message: 'a tag has more than 127 bytes, a control character, a "|", or is no UTF-8',
  },
  key: {
    reason: 'INVALID_KEY',
    message: 'a key is empty, has more than 255 bytes, or is no UTF-8',
  },
  orderingKey: {
    reason: 'INVALID_ORDERING_KEY',
    message: 'an ordering key has more than 127 bytes or is no UTF-8',
  },
  delay: {
    reason: 'INVALID_DELAY',
    message: 'a message has both deliver_at_ms and delay_ms; set one of them',
  },
  priority: {
    reason: 'INVALID_PRIORITY',
    message: 'a message has a priority that is not 0 to 9',
  },
  replyTo: {
    reason: 'INVALID_REPLY_TO',
    message: 'a reply address has more than 255 bytes or is no UTF-8',
  },
  traceContext: {
    reason: 'INVALID_TRACE_CONTEXT',
    message: 'a trace context has more than 255 bytes or is no UTF-8',
  },
  producerMessageId: {
    reason: 'INVALID_PRODUCER_MESSAGE_ID',
    message: "a producer's own id of a message has more than 255 bytes or is no UTF-8",
  },
  encoding: {
    reason: 'INVALID_BODY_ENCODING',
    message: 'a message has a body encoding that this broker does not know; use gzip, zstd or none',
  },
  noMessages: { reason: 'MALFORMED_FRAME', message: 'the frame has no messages' },
} as const satisfies Record<string, Refusal>;

const BODY_ENCODINGS = Object.values<unknown>(BodyEncoding);
/** Tags of the message's texts with a number above 5. */
const LATER_TEXTS: ReadonlySet<number> = new Set([0x52, 0x62, 0x6a]);
const VERTICAL_BAR = 0x7c;
const DELETE = 0x7f;

/** Is [from, to) UTF-8? */
function validText(bytes: Buffer, from: number, to: number): boolean {
  for (let i = from; i < to; i++) {
    if ((bytes[i] as number) > 127) return isUtf8(bytes.subarray(from, to));
  }
  return true;
}

/** What one frame holds. */
export class FrameScanner {
  /** Where the topic's name lies. */
  topicAt = 0;
  topicEnd = 0;
  /** Queue of the topic; -1 when the frame does not say. */
  queueId = -1;
  /** 0 for none. */
  producerId = 0;
  sequence = 0;
  frameId = 0;
  /** SendRequest only. */
  oneWay = false;
  /** Where it is said how a transaction begins; -1 when none does. SendRequest only. */
  transactionAt = -1;
  transactionEnd = -1;
  /** Number of messages. */
  count = 0;
  /** Where the messages lie, and the hashes of their tags and ordering keys (0 for none). */
  starts = new Uint32Array(64);
  lengths = new Uint32Array(64);
  tagHashes = new Uint32Array(64);
  keyHashes = new Uint32Array(64);
  /** How many business keys each has. */
  keyCounts = new Uint32Array(64);
  /** When the messages may be delivered: a time in ms since the Unix epoch, minus a delay in ms, or 0 for at once. */
  dues = new Float64Array(64);
  /** Messages that have an ordering key, and those that are delayed. */
  keyed = 0;
  delayed = 0;
  /** Messages that have a priority, and the least and most urgent of theirs. */
  prioritized = 0;
  priorityMin = PRIORITY_MAX;
  priorityMax = 0;
  /** Where the first message's ordering key lies; empty when it has none. */
  orderingKeyAt = 0;
  orderingKeyEnd = 0;

  #at = 0;

  /** Reads a frame; returns why it is refused, or undefined. */
  scan(bytes: Buffer): Refusal | undefined {
    this.topicAt = 0;
    this.topicEnd = 0;
    this.queueId = -1;
    this.producerId = 0;
    this.sequence = 0;
    this.frameId = 0;
    this.oneWay = false;
    this.transactionAt = -1;
    this.transactionEnd = -1;
    this.count = 0;
    this.orderingKeyAt = 0;
    this.orderingKeyEnd = 0;
    this.keyed = 0;
    this.delayed = 0;
    this.prioritized = 0;
    this.priorityMin = PRIORITY_MAX;
    this.priorityMax = 0;
    const end = bytes.length;
    this.#at = 0;
    let refusal: Refusal | undefined;
    while (this.#at < end) {
      const tag = this.#varint(bytes, end);
      switch (tag) {
        case 0x0a: {
          const length = this.#length(bytes, end);
          if (length < 0) return MALFORMED('the topic is cut off');
          this.topicAt = this.#at;
          this.topicEnd = this.#at + length;
          this.#at = this.topicEnd;
          break;
        }
        case 0x10: {
          const queueId = this.#varint(bytes, end);
          if (queueId < 0) return MALFORMED('the queue id is cut off');
          this.queueId = queueId;
          break;
        }
        case 0x19:
        case 0x21: {
          if (this.#at + 8 > end) return MALFORMED('a number is cut off');
          const high = bytes.readUInt32LE(this.#at + 4);
          const value = bytes.readUInt32LE(this.#at) + high * 4294967296;
          if (!Number.isSafeInteger(value)) {
            return MALFORMED('producer_id and sequence are below 2^53');
          }
          if (tag === 0x19) this.producerId = value;
          else this.sequence = value;
          this.#at += 8;
          break;
        }
        case 0x2d:
          if (this.#at + 4 > end) return MALFORMED('the frame id is cut off');
          this.frameId = bytes.readUInt32LE(this.#at);
          this.#at += 4;
          break;
        case 0x28: {
          const oneWay = this.#varint(bytes, end);
          if (oneWay < 0) return MALFORMED('the one-way flag is cut off');
          this.oneWay = oneWay > 0;
          break;
        }
        case 0x32: {
          const length = this.#length(bytes, end);
          if (length < 0) return MALFORMED('a message is cut off');
          const messageEnd = this.#at + length;
          // The rest is still read, so that the outcome can name the frame.
          refusal ??= this.#message(bytes, this.#at, messageEnd);
          this.#at = messageEnd;
          break;
        }
        case 0x3a: {
          const length = this.#length(bytes, end);
          if (length < 0) return MALFORMED('the transaction is cut off');
          this.transactionAt = this.#at;
          this.transactionEnd = this.#at + length;
          this.#at = this.transactionEnd;
          break;
        }
        default:
          if (tag < 0 || !this.#skip(bytes, tag, end)) return MALFORMED('a field is cut off');
      }
    }
    return refusal ?? (this.count === 0 ? REFUSALS.noMessages : undefined);
  }

  #message(bytes: Buffer, start: number, end: number): Refusal | undefined {
    let bodyBytes = 0;
    let hash = 0;
    let ofKey = 0;
    let keys = 0;
    let due = 0;
    let properties = 0;
    let propertyBytes = 0;
    let priority = -1;
    const first = this.count === 0;
    this.#at = start;
    while (this.#at < end) {
      const tag = this.#varint(bytes, end);
      if ((tag & 7) !== 2 || (tag > 0x2a && !LATER_TEXTS.has(tag))) {
        if (tag === 0x48 || tag === 0x58) {
          const value = this.#varint(bytes, end);
          if (tag === 0x48) {
            if (value < 0 || value > PRIORITY_MAX) return REFUSALS.priority;
            priority = value;
          } else if (!BODY_ENCODINGS.includes(value)) return REFUSALS.encoding;
          continue;
        }
        if (tag === 0x39 || tag === 0x40) {
          const value = tag === 0x39 ? this.#fixed64(bytes, end) : -this.#varint64(bytes, end);
          if (Number.isNaN(value)) return MALFORMED('a message is cut off');
          if (value !== 0 && due !== 0 && value < 0 !== due < 0) return REFUSALS.delay;
          if (value !== 0) due = value;
          continue;
        }
        if (tag < 0 || !this.#skip(bytes, tag, end)) return MALFORMED('a message is cut off');
        continue;
      }
      const length = this.#length(bytes, end);
      if (length < 0) return MALFORMED('a message is cut off');
      const from = this.#at;
      const to = from + length;
      this.#at = to;
      switch (tag) {
        case 0x0a:
          bodyBytes = length;
          break;
        case 0x12:
          if (length > NAME_BYTES_MAX || !validText(bytes, from, to)) return REFUSALS.tag;
          for (let i = from; i < to; i++) {
            const byte = bytes[i] as number;
            if (byte < 0x20 || byte === VERTICAL_BAR || byte === DELETE) return REFUSALS.tag;
          }
          hash = length === 0 ? 0 : tagHash(bytes, from, to);
          propertyBytes += length;
          break;
        case 0x1a:
          if (length === 0 || length > KEY_BYTES_MAX) return REFUSALS.key;
          if (!validText(bytes, from, to)) return REFUSALS.key;
          keys++;
          propertyBytes += length;
          break;
        case 0x22:
          properties++;
          propertyBytes += length;
          if (!this.#validProperty(bytes, from, to))
            return MALFORMED('a property is no UTF-8 pair');
          break;
        case 0x2a:
          if (length > NAME_BYTES_MAX || !validText(bytes, from, to)) return REFUSALS.orderingKey;
          ofKey = length === 0 ? 0 : keyHash(bytes, from, to);
          propertyBytes += length;
          if (first) {
            this.orderingKeyAt = from;
            this.orderingKeyEnd = to;
          }
          break;
        case 0x52:
          if (length > REPLY_TO_BYTES_MAX || !validText(bytes, from, to)) return REFUSALS.replyTo;
          propertyBytes += length;
          break;
        case 0x62:
        case 0x6a:
          if (length > LABEL_BYTES_MAX || !validText(bytes, from, to)) {
            return tag === 0x62 ? REFUSALS.traceContext : REFUSALS.producerMessageId;
          }
          break;
      }
    }
    if (this.#at !== end) return MALFORMED('a message is cut off');
    if (bodyBytes === 0) return REFUSALS.bodyEmpty;
    if (bodyBytes > BODY_BYTES_MAX) return REFUSALS.bodyTooLarge;
    if (properties > PROPERTIES_MAX || propertyBytes > PROPERTIES_BYTES_MAX)
      return REFUSALS.properties;
    this.#add(start, end - start, hash, ofKey, keys, due);
    if (priority >= 0) {
      this.prioritized++;
      this.priorityMin = Math.min(this.priorityMin, priority);
      this.priorityMax = Math.max(this.priorityMax, priority);
    }
    return undefined;
  }

  /** A map entry: field 1 the name, field 2 the value, both text. */
  #validProperty(bytes: Buffer, from: number, to: number): boolean {
    this.#at = from;
    while (this.#at < to) {
      const tag = this.#varint(bytes, to);
      if (tag !== 0x0a && tag !== 0x12) {
        if (tag < 0 || !this.#skip(bytes, tag, to)) return false;
        continue;
      }
      const length = this.#length(bytes, to);
      if (length < 0 || !validText(bytes, this.#at, this.#at + length)) return false;
      this.#at += length;
    }
    return this.#at === to;
  }

  #add(
    start: number,
    length: number,
    hash: number,
    ofKey: number,
    keys: number,
    due: number,
  ): void {
    if (this.count === this.starts.length) {
      this.starts = grown(this.starts);
      this.lengths = grown(this.lengths);
      this.tagHashes = grown(this.tagHashes);
      this.keyHashes = grown(this.keyHashes);
      this.keyCounts = grown(this.keyCounts);
      const dues = new Float64Array(this.dues.length * 2);
      dues.set(this.dues);
      this.dues = dues;
    }
    this.starts[this.count] = start;
    this.lengths[this.count] = length;
    this.tagHashes[this.count] = hash;
    this.keyHashes[this.count] = ofKey;
    this.keyCounts[this.count] = keys;
    this.dues[this.count] = due;
    if (ofKey !== 0) this.keyed++;
    if (due !== 0) this.delayed++;
    this.count++;
  }

  /** A varint below 2^32 at the cursor; -1 when it is cut off or larger. */
  #varint(bytes: Buffer, end: number): number {
    const only = bytes[this.#at] as number;
    if (only < 128 && this.#at < end) {
      this.#at++;
      return only;
    }
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      if (this.#at >= end) return -1;
      const byte = bytes[this.#at++] as number;
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value <= 0xffffffff ? value : -1;
    }
    return -1;
  }

  /** Eight bytes as a number, exact below 2^53; NaN when they are cut off. */
  #fixed64(bytes: Buffer, end: number): number {
    if (this.#at + 8 > end) return Number.NaN;
    const value = bytes.readUInt32LE(this.#at) + bytes.readUInt32LE(this.#at + 4) * 4294967296;
    this.#at += 8;
    return value;
  }

  /** A varint of up to 64 bits, exact below 2^53; NaN when it is cut off or longer. */
  #varint64(bytes: Buffer, end: number): number {
    let value = 0;
    for (let scale = 1, count = 0; count < 10 && this.#at < end; scale *= 128, count++) {
      const byte = bytes[this.#at++] as number;
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
    return Number.NaN;
  }

  /** The length of a field whose bytes follow and lie before `end`; -1 when they do not. */
  #length(bytes: Buffer, end: number): number {
    const length = this.#varint(bytes, end);
    return length >= 0 && this.#at + length <= end ? length : -1;
  }

  /** Goes past a field that is not known; false when it is cut off or malformed. */
  #skip(bytes: Buffer, tag: number, end: number): boolean {
    switch (tag & 7) {
      case 0:
        // A varint may have ten bytes.
        for (let i = 0; i < 10; i++) {
          if (this.#at >= end) return false;
          if ((bytes[this.#at++] as number) < 128) return true;
        }
        return false;
      case 1:
        this.#at += 8;
        return this.#at <= end;
      case 2: {
        const length = this.#length(bytes, end);
        if (length < 0) return false;
        this.#at += length;
        return true;
      }
      case 5:
        this.#at += 4;
        return this.#at <= end;
      default:
        return false;
    }
  }
}

function grown(table: Uint32Array): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(table.length * 2);
  larger.set(table);
  return larger;
}
