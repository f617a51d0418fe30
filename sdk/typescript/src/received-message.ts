// A message as a consumer gets it. Decoded when something is asked for, from the bytes that the broker sent.

import { decompressed } from './body-encoding.ts';
import type { MessageOrigin } from './message.ts';
import { messageId } from './message-id.ts';
import type { TopicHandle } from './topic-handle.ts';
import type { RecordSlice } from './wire/delivery.ts';
import { FieldReader } from './wire/varint.ts';

interface Decoded {
  body: Buffer;
  tag: string;
  keys: string[];
  properties: Record<string, string>;
  orderingKey: string;
  bornTimeMs: number;
  priority: number | undefined;
  replyTo: string;
  traceContext: string;
  producerMessageId: string;
  bodyEncoding: number;
}

/** A stored message. */
export class ReceivedMessage<Value = unknown> {
  /** The topic. */
  readonly topic: string;
  /** The broker group that keeps it. */
  readonly broker: string;
  /** Its queue. */
  readonly queueId: number;
  /** Its offset in the queue. */
  readonly offset: number;
  /** When the broker stored it, in milliseconds since 1970 UTC. */
  readonly storeTimeMs: number;
  /** Which delivery to the group this is, from 1; 1 for messages that were pulled. */
  readonly attempt: number;
  /** The topic's number on its broker. */
  readonly topicId: number;
  readonly #slice: RecordSlice;
  readonly #handle: TopicHandle<Value> | undefined;
  #messageStart = 0;
  #messageEnd = 0;
  #originStart = 0;
  #originEnd = 0;
  #decoded: Decoded | undefined;
  #plainBody: Buffer | undefined;

  /** @param handle what bodies of the topic hold, if the application has said */
  constructor(
    slice: RecordSlice,
    place: { topic: string; broker: string; attempt: number },
    handle?: TopicHandle<Value>,
  ) {
    this.topic = place.topic;
    this.broker = place.broker;
    this.attempt = place.attempt;
    this.#slice = slice;
    this.#handle = handle;
    let topicId = 0;
    let queueId = 0;
    let offset = 0;
    let storeTimeMs = 0;
    const reader = new FieldReader(slice.bytes, slice.start, slice.end);
    while (reader.more) {
      const tag = reader.varint();
      if (tag === 0x25) topicId = reader.fixed32();
      else if (tag === 0x2d) queueId = reader.fixed32();
      else if (tag === 0x31) offset = reader.fixed64();
      else if (tag === 0x39) storeTimeMs = reader.fixed64();
      else if (tag === 0x5a) {
        const { start, end } = reader.skipBytes();
        this.#messageStart = start;
        this.#messageEnd = end;
      } else if (tag === 0x62) {
        const { start, end } = reader.skipBytes();
        this.#originStart = start;
        this.#originEnd = end;
      } else reader.skip(tag);
    }
    this.topicId = topicId;
    this.queueId = queueId;
    this.offset = offset;
    this.storeTimeMs = storeTimeMs;
  }

  /** Names the message in its cluster. */
  get messageId(): string {
    return messageId(this.broker, this.topicId, this.queueId, this.offset);
  }

  /**
   * The payload: a view of the bytes that the broker sent; copy it to keep it for long. A compressed one is undone here:
   * throws MqError BODY_DAMAGED, or BODY_ENCODING_UNKNOWN when this Node or version cannot.
   */
  get body(): Buffer {
    const { body, bodyEncoding } = this.#message;
    if (bodyEncoding === 0) return body;
    this.#plainBody ??= decompressed(body, bodyEncoding);
    return this.#plainBody;
  }

  /** The payload as text. */
  text(): string {
    return this.body.toString('utf8');
  }

  /** The payload as JSON. Throws SyntaxError when it is none. */
  json(): unknown {
    return JSON.parse(this.text());
  }

  /** The payload as the topic's handle decodes it; bytes without a handle. */
  get value(): Value {
    return this.#handle === undefined
      ? (this.body as unknown as Value)
      : this.#handle.body.decode(this.body);
  }

  /** The label; empty for none. */
  get tag(): string {
    return this.#message.tag;
  }

  /** Business keys. */
  get keys(): readonly string[] {
    return this.#message.keys;
  }

  /** Name-value pairs. */
  get properties(): Readonly<Record<string, string>> {
    return this.#message.properties;
  }

  /** The ordering key; empty for none. */
  get orderingKey(): string {
    return this.#message.orderingKey;
  }

  /** How urgent it is, 0 to 9; undefined in topics without priorities. */
  get priority(): number | undefined {
    return this.#message.priority;
  }

  /** Where an answer is to go, as `Producer.reply` takes it; empty when nobody waits for one. */
  get replyTo(): string {
    return this.#message.replyTo;
  }

  /** Where it stands in a distributed trace, as its producer has said; empty when it has not. */
  get traceContext(): string {
    return this.#message.traceContext;
  }

  /** The id that its producer gave it itself, as clients of RocketMQ 5 do; empty for none. */
  get producerMessageId(): string {
    return this.#message.producerMessageId;
  }

  /** When the producer made it, by its own clock, in milliseconds since 1970 UTC. */
  get bornTimeMs(): number {
    return this.#message.bornTimeMs;
  }

  /** Where a dead letter, or one that was sent again, was before; undefined for messages that producers sent. */
  get origin(): MessageOrigin | undefined {
    if (this.#originEnd === 0) return undefined;
    const origin = { topic: '', queueId: 0, offset: 0, group: '', attempts: 0, reason: '' };
    let topicId = 0;
    const reader = new FieldReader(this.#slice.bytes, this.#originStart, this.#originEnd);
    while (reader.more) {
      const tag = reader.varint();
      if (tag === 0x0a) origin.topic = reader.text();
      else if (tag === 0x10) topicId = reader.varint();
      else if (tag === 0x18) origin.queueId = reader.varint();
      else if (tag === 0x20) origin.offset = reader.varint();
      else if (tag === 0x2a) origin.group = reader.text();
      else if (tag === 0x38) origin.attempts = reader.varint();
      else if (tag === 0x42) origin.reason = reader.text();
      else reader.skip(tag);
    }
    const { queueId, offset } = origin;
    return { ...origin, messageId: messageId(this.broker, topicId, queueId, offset) };
  }

  get #message(): Decoded {
    this.#decoded ??= decode(
      new FieldReader(this.#slice.bytes, this.#messageStart, this.#messageEnd),
    );
    return this.#decoded;
  }
}

function decode(reader: FieldReader): Decoded {
  const decoded: Decoded = {
    body: reader.bytes.subarray(0, 0),
    tag: '',
    keys: [],
    properties: {},
    orderingKey: '',
    bornTimeMs: 0,
    priority: undefined,
    replyTo: '',
    traceContext: '',
    producerMessageId: '',
    bodyEncoding: 0,
  };
  while (reader.more) {
    const tag = reader.varint();
    if (tag === 0x0a) {
      const { start, end } = reader.skipBytes();
      decoded.body = reader.bytes.subarray(start, end);
    } else if (tag === 0x12) decoded.tag = reader.text();
    else if (tag === 0x1a) decoded.keys.push(reader.text());
    else if (tag === 0x22) {
      const { start, end } = reader.skipBytes();
      addProperty(decoded.properties, new FieldReader(reader.bytes, start, end));
    } else if (tag === 0x2a) decoded.orderingKey = reader.text();
    else if (tag === 0x31) decoded.bornTimeMs = reader.fixed64();
    else if (tag === 0x48) decoded.priority = reader.varint();
    else if (tag === 0x52) decoded.replyTo = reader.text();
    else if (tag === 0x62) decoded.traceContext = reader.text();
    else if (tag === 0x6a) decoded.producerMessageId = reader.text();
    else if (tag === 0x58) decoded.bodyEncoding = reader.varint();
    else reader.skip(tag);
  }
  return decoded;
}

function addProperty(properties: Record<string, string>, reader: FieldReader): void {
  let name = '';
  let value = '';
  while (reader.more) {
    const tag = reader.varint();
    if (tag === 0x0a) name = reader.text();
    else if (tag === 0x12) value = reader.text();
    else reader.skip(tag);
  }
  // A name such as `__proto__` is a name like any other.
  Object.defineProperty(properties, name, {
    value,
    enumerable: true,
    configurable: true,
    writable: true,
  });
}
