// Compressed bodies. The broker keeps them as they come, and says so beside them; consumers get what was sent.

import zlib from 'node:zlib';
import { MqError } from './errors.ts';
import type { OutgoingMessage } from './message.ts';

/** How bodies may be compressed. */
export type Compression = 'gzip' | 'zstd';

/** Numbers of `ternmq.message.v1.BodyEncoding`. */
export const BodyEncoding = { GZIP: 1, ZSTD: 2 } as const;

/** A message whose body may be compressed already. */
export interface EncodedMessage extends OutgoingMessage {
  readonly bodyEncoding?: (typeof BodyEncoding)[keyof typeof BodyEncoding];
}

/** Largest body, in bytes; what is compressed must not become more. */
const BODY_BYTES_MAX = 4 << 20;

/** Throws INVALID_OPTION when this Node cannot compress so. */
export function assertCompression(compression: Compression): void {
  if (compression === 'gzip') return;
  if (compression === 'zstd' && zlib.zstdCompressSync !== undefined) return;
  throw new MqError(
    'INVALID_OPTION',
    compression === 'zstd'
      ? 'this Node has no zstd; it came with Node 22.15: use gzip, or a newer Node'
      : `there is no compression ${compression}; use gzip or zstd`,
  );
}

/**
 * The message with its body compressed, where that makes it smaller. Works at once and not in the background, so that
 * messages keep their order: 4 MiB take some 40 ms by gzip and 15 ms by zstd.
 *
 * @param bytesMin smaller bodies stay as they are
 */
export function compressed(
  message: OutgoingMessage,
  compression: Compression,
  bytesMin: number,
): EncodedMessage {
  const { body } = message;
  // UTF-8 has one to three bytes for each UTF-16 unit.
  if (3 * body.length < bytesMin) return message;
  const bytes = typeof body === 'string' ? Buffer.from(body) : body;
  if (bytes.length < bytesMin) return message;
  const smaller =
    compression === 'gzip'
      ? zlib.gzipSync(bytes, { level: zlib.constants.Z_BEST_SPEED })
      : zlib.zstdCompressSync(bytes);
  if (smaller.length >= bytes.length) return message;
  const bodyEncoding = compression === 'gzip' ? BodyEncoding.GZIP : BodyEncoding.ZSTD;
  return { ...message, body: smaller, bodyEncoding };
}

/** The body as it was sent. Throws BODY_DAMAGED, BODY_ENCODING_UNKNOWN. */
export function decompressed(body: Buffer, encoding: number): Buffer {
  const options = { maxOutputLength: BODY_BYTES_MAX };
  try {
    if (encoding === BodyEncoding.GZIP) return zlib.gunzipSync(body, options);
    if (encoding === BodyEncoding.ZSTD && zlib.zstdDecompressSync !== undefined) {
      return zlib.zstdDecompressSync(body, options);
    }
  } catch (cause) {
    throw new MqError(
      'BODY_DAMAGED',
      'the body cannot be decompressed to at most 4 MiB; its producer has compressed it wrongly',
      { cause },
    );
  }
  throw new MqError(
    'BODY_ENCODING_UNKNOWN',
    encoding === BodyEncoding.ZSTD
      ? 'the body is compressed by zstd, which came with Node 22.15; use a newer Node'
      : `the body is compressed in a way (${encoding}) that this version does not know; use a newer one`,
  );
}
