// The properties of a message, found in its bytes without decoding the rest. The bytes are a
// ternmq.message.v1.Message:
//
//   0x12 tag          length, UTF-8              shown as TAGS
//   0x1a key          length, UTF-8; repeated    shown as KEYS: all of them, with a space between two
//   0x22 property     length, an entry; repeated shown under its name
//     0x0a name       length, UTF-8
//     0x12 value      length, UTF-8
//
// TAGS and KEYS are RocketMQ's names, and never a property that a producer gave such a name. An empty tag is none. As
// protobuf has it, the last one of several tags, names or values counts, and one that is not there is empty.

import { Buffer } from 'node:buffer';
import type { PropertyLookup } from './compile.ts';

/** The tag of a message, among its properties. */
export const TAG_NAME = 'TAGS';
/** The keys of a message, among its properties. */
export const KEYS_NAME = 'KEYS';

const TAG_FIELD = 0x12;
const KEY_FIELD = 0x1a;
const PROPERTY_FIELD = 0x22;
const NAME_FIELD = 0x0a;
const VALUE_FIELD = 0x12;
/** Bits that the longest varint has, seven a byte. */
const VARINT_BITS = 70;

const NOTHING: Buffer = Buffer.alloc(0);
const ABSENT = -1;

/** One property that is looked for. */
interface Slot {
  /** Its name in UTF-8. */
  readonly name: Buffer;
  /** Where its value lies: [start, end); ABSENT when the message does not have it. */
  start: number;
  end: number;
  /** Its value as a text, made when it is asked for. */
  value: string | undefined;
}

/**
 * Some properties of one message after another. A message is read once, when it is first asked about; only the values
 * that are asked for become texts.
 */
export class MessageProperties implements PropertyLookup {
  readonly #slots = new Map<string, Slot>();
  /** The slots that are looked for among the message's properties. */
  readonly #named: Slot[] = [];
  readonly #tag: Slot | undefined;
  readonly #keys: Slot | undefined;
  /** Where further keys lie, start and end in turn; the first is in its slot. */
  readonly #moreKeys: number[] = [];
  #bytes = NOTHING;
  #start = 0;
  #end = 0;
  #isRead = true;
  /** Reading goes on here. */
  #at = 0;

  /** @param names the properties that will be asked for: those of a filter */
  constructor(names: readonly string[]) {
    for (const name of names) {
      const slot = { name: Buffer.from(name), start: ABSENT, end: ABSENT, value: undefined };
      this.#slots.set(name, slot);
      if (name !== TAG_NAME && name !== KEYS_NAME) this.#named.push(slot);
    }
    this.#tag = this.#slots.get(TAG_NAME);
    this.#keys = this.#slots.get(KEYS_NAME);
  }

  /**
   * Turns to the message whose bytes are [start, end). They are kept, and must not change, until the next message or
   * `clear`.
   */
  reset(bytes: Buffer, start: number, end: number): this {
    this.#bytes = bytes;
    this.#start = start;
    this.#end = end;
    this.#isRead = false;
    return this;
  }

  /** Lets go of the message's bytes. */
  clear(): void {
    this.reset(NOTHING, 0, 0);
  }

  /** The value of one of the properties; undefined when the message does not have it. */
  get(name: string): string | undefined {
    const slot = this.#slots.get(name);
    if (slot === undefined)
      throw new RangeError(`The property ${name} is not among those looked for.`);
    if (!this.#isRead) this.#read();
    if (slot.start === ABSENT) return undefined;
    slot.value ??= slot === this.#keys ? this.#joinKeys(slot) : this.#text(slot.start, slot.end);
    return slot.value;
  }

  #joinKeys({ start, end }: Slot): string {
    let keys = this.#text(start, end);
    for (let key = 0; key < this.#moreKeys.length; key += 2) {
      const from = this.#moreKeys[key] as number;
      keys += ` ${this.#text(from, this.#moreKeys[key + 1] as number)}`;
    }
    return keys;
  }

  #text(start: number, end: number): string {
    return this.#bytes.toString('utf8', start, end);
  }

  #read(): void {
    for (const slot of this.#slots.values()) {
      slot.start = ABSENT;
      slot.value = undefined;
    }
    this.#moreKeys.length = 0;
    this.#isRead = true;
    const end = this.#end;
    for (this.#at = this.#start; this.#at < end; ) {
      const field = this.#varint();
      const from = this.#value(field, end);
      if (from === ABSENT) return;
      const to = this.#at;
      switch (field) {
        case TAG_FIELD:
          if (this.#tag !== undefined) place(this.#tag, to > from ? from : ABSENT, to);
          break;
        case KEY_FIELD:
          if (this.#keys !== undefined) this.#addKey(this.#keys, from, to);
          break;
        case PROPERTY_FIELD:
          if (this.#named.length > 0) this.#readProperty(from, to);
          this.#at = to;
      }
    }
  }

  #addKey(keys: Slot, from: number, to: number): void {
    if (keys.start === ABSENT) place(keys, from, to);
    else this.#moreKeys.push(from, to);
  }

  /** Reads the entry at [from, to). */
  #readProperty(from: number, to: number): void {
    let nameAt = from;
    let nameEnd = from;
    let valueAt = from;
    let valueEnd = from;
    for (this.#at = from; this.#at < to; ) {
      const field = this.#varint();
      const start = this.#value(field, to);
      if (start === ABSENT) return;
      if (field === NAME_FIELD) {
        nameAt = start;
        nameEnd = this.#at;
      } else if (field === VALUE_FIELD) {
        valueAt = start;
        valueEnd = this.#at;
      }
    }
    const length = nameEnd - nameAt;
    for (const slot of this.#named) {
      if (slot.name.length !== length || !isEqual(slot.name, this.#bytes, nameAt)) continue;
      place(slot, valueAt, valueEnd);
      return;
    }
  }

  /** Goes past a field's value; returns where it starts, or ABSENT when the bytes are no message. */
  #value(field: number, end: number): number {
    let from = this.#at;
    switch (field & 7) {
      case 0:
        this.#varint();
        break;
      case 1:
        this.#at += 8;
        break;
      case 2: {
        const length = this.#varint();
        from = this.#at;
        this.#at += length;
        break;
      }
      case 5:
        this.#at += 4;
        break;
      default:
        return ABSENT;
    }
    return this.#at <= end ? from : ABSENT;
  }

  /** The lower 32 bits of a varint. */
  #varint(): number {
    let value = 0;
    for (let bits = 0; bits < VARINT_BITS; bits += 7) {
      const byte = this.#bytes[this.#at++] as number;
      if (bits < 32) value |= (byte & 127) << bits;
      if (byte < 128) break;
    }
    return value >>> 0;
  }
}

function place(slot: Slot, start: number, end: number): void {
  slot.start = start;
  slot.end = end;
}

function isEqual(name: Buffer, bytes: Buffer, start: number): boolean {
  for (let at = 0; at < name.length; at++) {
    if (name[at] !== bytes[start + at]) return false;
  }
  return true;
}
