// Bodies that say which message they are, and whose every byte follows from that.

import { crc32 } from 'node:zlib';
import { seededRandom } from '@ternmq/runtime';
import type { MessageName } from './ledger-event.ts';

// producer u16 and 0 u16, id u32, little-endian; then a stretch of the pool that depends on both.
const HEAD_BYTES = 8;
const POOL = seededRandom(1).bytes(1024 * 1024);

/** The body of a message. @param size bytes, at least 8 and at most 512 KiB */
export function bodyOf({ producer, id }: MessageName, size: number): Buffer {
  const body = Buffer.allocUnsafe(size);
  body.writeUInt32LE(producer, 0);
  body.writeUInt32LE(id, 4);
  const from = Math.imul(id + 1, 0x9e3779b1 + producer) >>> 13;
  POOL.copy(body, HEAD_BYTES, from, from + size - HEAD_BYTES);
  return body;
}

/** Which message a body says that it is; a name that nobody has when it is too short to say. */
export function nameIn(body: Uint8Array): MessageName {
  if (body.length < HEAD_BYTES) return { producer: 0xffff, id: 0xffffffff };
  const view = new DataView(body.buffer, body.byteOffset, HEAD_BYTES);
  // A ledger holds 16 bits of it; more than that was never sent.
  return { producer: Math.min(view.getUint32(0, true), 0xffff), id: view.getUint32(4, true) };
}

/** CRC-32 of a body. */
export function digestOf(body: Uint8Array): number {
  return crc32(body);
}
