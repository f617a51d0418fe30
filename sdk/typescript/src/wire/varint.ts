// Protobuf's variable-length integers, below 2^53.

import { MqError } from '../errors.ts';

/** Bytes that a number takes. */
export function varintBytes(value: number): number {
  let count = 1;
  for (let rest = value; rest > 127; rest = Math.floor(rest / 128)) count++;
  return count;
}

/** Writes a number; returns where the next byte goes. */
export function writeVarint(bytes: Uint8Array, at: number, value: number): number {
  let rest = value;
  let index = at;
  while (rest > 127) {
    bytes[index++] = (rest % 128) | 128;
    rest = Math.floor(rest / 128);
  }
  bytes[index++] = rest;
  return index;
}

/** Reads fields one after the other. */
export class FieldReader {
  readonly bytes: Buffer;
  readonly end: number;
  at: number;

  constructor(bytes: Buffer, at = 0, end = bytes.length) {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
  }

  /** Are there more fields? */
  get more(): boolean {
    return this.at < this.end;
  }

  /** A varint. */
  varint(): number {
    let value = 0;
    let factor = 1;
    for (let count = 0; count < 10; count++) {
      if (this.at >= this.end) throw malformed();
      const byte = this.bytes[this.at++] as number;
      value += (byte & 127) * factor;
      if (byte < 128) return value;
      factor *= 128;
    }
    throw malformed();
  }

  /** Where a length-delimited field ends; it begins at `at`, and the cursor moves behind it. */
  skipBytes(): { start: number; end: number } {
    const length = this.varint();
    const start = this.at;
    if (length > this.end - start) throw malformed();
    this.at = start + length;
    return { start, end: this.at };
  }

  /** A field of four bytes. */
  fixed32(): number {
    if (this.at + 4 > this.end) throw malformed();
    const value = this.bytes.readUInt32LE(this.at);
    this.at += 4;
    return value;
  }

  /** A field of eight bytes, below 2^53. */
  fixed64(): number {
    if (this.at + 8 > this.end) throw malformed();
    const value =
      this.bytes.readUInt32LE(this.at) + this.bytes.readUInt32LE(this.at + 4) * 4294967296;
    this.at += 8;
    return value;
  }

  /** A length-delimited field as text. */
  text(): string {
    const { start, end } = this.skipBytes();
    return this.bytes.toString('utf8', start, end);
  }

  /** Goes past a field that is not known. */
  skip(tag: number): void {
    switch (tag % 8) {
      case 0:
        this.varint();
        return;
      case 1:
        this.fixed64();
        return;
      case 2:
        this.skipBytes();
        return;
      case 5:
        this.fixed32();
        return;
      default:
        throw malformed();
    }
  }
}

/** The error of bytes that are no valid message. */
export function malformed(): MqError {
  return new MqError('MALFORMED_RESPONSE', 'the broker sent bytes that are no valid message');
}
