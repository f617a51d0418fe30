// What may follow the producer's message in a record: where the message comes from or belongs. One at most, fields 12 to
// 14 of `ternmq.message.v1.StoredMessage`.
//
//   origin    0x62  length 4 (varint of exactly four bytes)  Origin, encoded as usual
//   held      0x6a 0x13  0x0d topic id 4 | 0x15 queue id 4 | 0x19 due time 8
//   released  0x72 0x0e  0x0d topic id 4 | 0x11 offset 8

import { readUint64, writeUint64 } from '../log/record.ts';

/** What a trailer is. */
export const TrailerTag = {
  /** The message was moved here. */
  ORIGIN: 0x62,
  /** The message waits here for its own queue. */
  HELD: 0x6a,
  /** The message was held before. */
  RELEASED: 0x72,
} as const;
export type TrailerTag = (typeof TrailerTag)[keyof typeof TrailerTag];

/** Bytes of a trailer that says where a held message belongs. */
export const HELD_BYTES = 21;
/** Bytes of a trailer that says where a message was held. */
export const RELEASED_BYTES = 16;

/** Where a held message belongs. */
export interface Held {
  readonly topicId: number;
  readonly queueId: number;
  /** When it is due, in milliseconds since the Unix epoch; 0 when that is not a matter of time. */
  readonly dueMs: number;
}

/** Where a message was held. */
export interface Released {
  readonly topicId: number;
  readonly offset: number;
}

/** What follows a message; 0 when nothing does. */
export function trailerTag(bytes: Uint8Array, messageEnd: number, recordEnd: number): number {
  return messageEnd < recordEnd ? (bytes[messageEnd] as number) : 0;
}

/** Writes where a held message belongs. */
export function writeHeld(view: DataView, at: number, held: Held): void {
  view.setUint16(at, 0x136a, true);
  view.setUint8(at + 2, 0x0d);
  view.setUint32(at + 3, held.topicId, true);
  view.setUint8(at + 7, 0x15);
  view.setUint32(at + 8, held.queueId, true);
  view.setUint8(at + 12, 0x19);
  writeUint64(view, at + 13, held.dueMs);
}

/** Where a held message belongs. */
export function readHeld(view: DataView, at: number): Held {
  return {
    topicId: view.getUint32(at + 3, true),
    queueId: view.getUint32(at + 8, true),
    dueMs: readUint64(view, at + 13),
  };
}

/** Writes where a message was held. */
export function writeReleased(view: DataView, at: number, released: Released): void {
  view.setUint16(at, 0x0e72, true);
  view.setUint8(at + 2, 0x0d);
  view.setUint32(at + 3, released.topicId, true);
  view.setUint8(at + 7, 0x11);
  writeUint64(view, at + 8, released.offset);
}

/** Where a message was held. */
export function readReleased(view: DataView, at: number): Released {
  return { topicId: view.getUint32(at + 3, true), offset: readUint64(view, at + 8) };
}
