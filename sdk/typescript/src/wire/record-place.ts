// Where a delivered message is, read from the first fields of its record. They have fixed places; a record that is
// written in another way is read field by field.

import type { RecordSlice } from './delivery.ts';
import { FieldReader } from './varint.ts';

const TWO_POW_32 = 4294967296;

/** Where a message is. */
export interface RecordPlace {
  topicId: number;
  queueId: number;
  offset: number;
  storeTimeMs: number;
}

/** Reads where a message is. */
export function recordPlace({ bytes, start, end }: RecordSlice): RecordPlace {
  const fixed =
    end - start > 47 &&
    bytes[start] === 0x0d &&
    bytes[start + 19] === 0x25 &&
    bytes[start + 24] === 0x2d &&
    bytes[start + 29] === 0x31 &&
    bytes[start + 38] === 0x39;
  if (fixed) {
    return {
      topicId: bytes.readUInt32LE(start + 20),
      queueId: bytes.readUInt32LE(start + 25),
      offset: bytes.readUInt32LE(start + 30) + bytes.readUInt32LE(start + 34) * TWO_POW_32,
      storeTimeMs: bytes.readUInt32LE(start + 39) + bytes.readUInt32LE(start + 43) * TWO_POW_32,
    };
  }
  const place = { topicId: 0, queueId: 0, offset: 0, storeTimeMs: 0 };
  const reader = new FieldReader(bytes, start, end);
  while (reader.more) {
    const tag = reader.varint();
    if (tag === 0x25) place.topicId = reader.fixed32();
    else if (tag === 0x2d) place.queueId = reader.fixed32();
    else if (tag === 0x31) place.offset = reader.fixed64();
    else if (tag === 0x39) place.storeTimeMs = reader.fixed64();
    else reader.skip(tag);
  }
  return place;
}
