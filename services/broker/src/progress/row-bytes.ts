// Rows of whole numbers below 2^53 and short texts, as bytes.
//
//   number   base 128, lowest 7 bits first; the high bit of a byte says that another follows
//   text     number of bytes as a number, and then the bytes in UTF-8

import { TernError } from '@ternmq/runtime';

const BYTES_AT_FIRST = 64;
const NUMBER_BYTES_MAX = 8;

/** Writes a row. */
export class RowWriter {
  #bytes = Buffer.allocUnsafe(BYTES_AT_FIRST);
  #length = 0;

  /** Appends a whole number, 0 to 2^53 - 1. */
  number(value: number): void {
    this.#reserve(NUMBER_BYTES_MAX);
    let rest = value;
    while (rest > 127) {
      this.#bytes[this.#length++] = (rest % 128) | 128;
      rest = Math.floor(rest / 128);
    }
    this.#bytes[this.#length++] = rest;
  }

  /** Appends a text. */
  text(value: string): void {
    const length = Buffer.byteLength(value);
    this.number(length);
    this.#reserve(length);
    this.#length += this.#bytes.write(value, this.#length);
  }

  /** The row; the writer is used up. */
  finish(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  #reserve(count: number): void {
    if (this.#length + count <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.#length + count, 2 * this.#bytes.length));
    this.#bytes.copy(larger, 0, 0, this.#length);
    this.#bytes = larger;
  }
}

/**
 * Reads a row that a RowWriter wrote. Every read throws DATA_LOSS with reason CORRUPT_STATE when the row is
 * damaged.
 */
export class RowReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** The next number. */
  number(): number {
    let value = 0;
    let scale = 1;
    for (let count = 0; count < NUMBER_BYTES_MAX; count++) {
      const byte = this.#bytes[this.#at++];
      if (byte === undefined) throw corruptRow('it ends within a number');
      value += (byte & 127) * scale;
      if (byte < 128) {
        if (!Number.isSafeInteger(value)) break;
        return value;
      }
      scale *= 128;
    }
    throw corruptRow('it has a number above 2^53');
  }

  /** The next text. */
  text(): string {
    const length = this.number();
    const end = this.#at + length;
    if (end > this.#bytes.length) throw corruptRow('it ends within a text');
    const value = this.#bytes.toString('utf8', this.#at, end);
    this.#at = end;
    return value;
  }

  /** Has everything been read? */
  get ended(): boolean {
    return this.#at === this.#bytes.length;
  }

  /** The row must end here. */
  end(): void {
    if (this.#at !== this.#bytes.length) throw corruptRow('it has bytes behind its end');
  }
}

/** A row of the state store does not hold what was written. */
export function corruptRow(what: string): TernError {
  return new TernError(
    'DATA_LOSS',
    'CORRUPT_STATE',
    `A row of a group's progress is damaged: ${what}. Stop the broker and delete its state directory; ` +
      'it is rebuilt from the log.',
  );
}
