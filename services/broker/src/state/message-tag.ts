// The tag, the keys and the ordering key of a message, found in its bytes without decoding the rest.

const TAG_FIELD = 0x12;
const KEY_FIELD = 0x1a;
const ORDERING_KEY_FIELD = 0x2a;

/** Where a length-delimited field's bytes lie. */
export interface Slice {
  start: number;
  end: number;
}

/**
 * Finds the tag of the message whose bytes are [at, end); false when it has none. The bytes are a valid message.
 *
 * @param out where the tag's bytes lie
 */
export function findTag(bytes: Uint8Array, at: number, end: number, out: Slice): boolean {
  return findText(TAG_FIELD, bytes, at, end, out);
}

/** The last field of a number counts; an empty one is as none. */
function findText(field: number, bytes: Uint8Array, at: number, end: number, out: Slice): boolean {
  let found = false;
  let behind = nextText(field, bytes, at, end, out);
  while (behind >= 0) {
    found = out.end > out.start;
    behind = nextText(field, bytes, behind, end, out);
  }
  return found;
}

/**
 * Finds the next key of the message whose bytes reach to `end`; returns where to look for the one behind it, -1 when there
 * is none. The bytes are a valid message.
 *
 * @param at index of the message, or what the call before has returned
 * @param out where the key's bytes lie
 */
export function nextKey(bytes: Uint8Array, at: number, end: number, out: Slice): number {
  return nextText(KEY_FIELD, bytes, at, end, out);
}

/** The next field of a number, as `nextKey` finds keys. */
function nextText(field: number, bytes: Uint8Array, from: number, end: number, out: Slice): number {
  let at = from;
  while (at < end) {
    let tag = bytes[at++] as number;
    let shift = 0;
    let length = 0;
    if (tag > 127) {
      // A field number above 15, or one that is written longer than needed.
      tag &= 127;
      for (let bits = 7; ; bits += 7) {
        const byte = bytes[at++] as number;
        if (bits < 32) tag |= (byte & 127) << bits;
        if (!(byte > 127)) break;
      }
    }
    switch (tag & 7) {
      case 0:
        while ((bytes[at++] as number) > 127);
        break;
      case 1:
        at += 8;
        break;
      case 5:
        at += 4;
        break;
      case 2:
        for (;;) {
          const byte = bytes[at++] as number;
          if (shift < 32) length |= (byte & 127) << shift;
          if (!(byte > 127)) break;
          shift += 7;
        }
        // Bytes that are no message end the search, and never turn it back.
        if (length < 0 || at + length > end) return -1;
        if (tag === field) {
          out.start = at;
          out.end = at + length;
          return out.end;
        }
        at += length;
        break;
      default:
        return -1;
    }
  }
  return -1;
}

/** FNV-1a, 32 bits, of the bytes in [start, end). */
export function fnv1a(bytes: Uint8Array, start: number, end: number): number {
  let hash = 0x811c9dc5;
  for (let i = start; i < end; i++) hash = Math.imul(hash ^ (bytes[i] as number), 0x01000193);
  return hash >>> 0;
}

/** FNV-1a, 32 bits, of a tag's UTF-8 bytes; never 0, which stands for no tag. */
export function tagHash(bytes: Uint8Array, start: number, end: number): number {
  return fnv1a(bytes, start, end) || 1;
}

const scratch: Slice = { start: 0, end: 0 };

/** The tag hash of a message; 0 when it has no tag. */
export function tagHashOfMessage(bytes: Uint8Array, at: number, end: number): number {
  return findTag(bytes, at, end, scratch) ? tagHash(bytes, scratch.start, scratch.end) : 0;
}

/** 20 bits of the hash of an ordering key's UTF-8 bytes; never 0, which stands for no key. */
export function keyHash(bytes: Uint8Array, start: number, end: number): number {
  // The low bits choose the queue, and are alike in all of its keys.
  return fnv1a(bytes, start, end) >>> 12 || 1;
}

/** Finds the ordering key of a message, as `findTag` finds tags. */
export function orderingKeyOf(bytes: Uint8Array, at: number, end: number, out: Slice): boolean {
  return findText(ORDERING_KEY_FIELD, bytes, at, end, out);
}

/** The key hash of a message; 0 when it has no ordering key. */
export function keyHashOfMessage(bytes: Uint8Array, at: number, end: number): number {
  const found = findText(ORDERING_KEY_FIELD, bytes, at, end, scratch);
  return found ? keyHash(bytes, scratch.start, scratch.end) : 0;
}
