// Writes what a consumer says after its stream is open: credit and settlements.
//
//   SubscribeRequest: 0x15 credit messages 4 | 0x1d credit bytes 4 | 0x22 settlement …
//   settlement: 0x0d topic id 4 | 0x15 queue id 4 | 0x19 first 8 | 0x21 end 8 | 0x29 lease id 8 | 0x30 action
//               | 0x38 delay, ms | 0x42 reason

import { varintBytes, writeVarint } from './varint.ts';

/** What shall happen to delivered messages; the numbers are the schema's. */
export const SettleAction = {
  ACKNOWLEDGE: 1,
  RETRY: 2,
  EXTEND: 3,
  DEAD_LETTER: 4,
  RETURN: 5,
} as const;
export type SettleAction = (typeof SettleAction)[keyof typeof SettleAction];

/** What a consumer says of delivered messages. */
export interface Settlement {
  readonly topicId: number;
  readonly queueId: number;
  readonly first: number;
  end: number;
  readonly leaseId: number;
  readonly action: SettleAction;
  /** For RETRY and EXTEND, in milliseconds. */
  readonly delayMs: number;
  /** For DEAD_LETTER. */
  readonly reason: string;
}

const FIXED_BYTES = 5 + 5 + 9 + 9 + 9 + 2;
const TWO_POW_32 = 4294967296;

function sizeOf({ delayMs, reason }: Settlement): number {
  let size = FIXED_BYTES;
  if (delayMs > 0) size += 1 + varintBytes(delayMs);
  if (reason !== '') {
    const length = Buffer.byteLength(reason);
    size += 1 + varintBytes(length) + length;
  }
  return size;
}

function writeFixed64(bytes: Buffer, at: number, tag: number, value: number): number {
  bytes[at] = tag;
  bytes.writeUInt32LE(value >>> 0, at + 1);
  bytes.writeUInt32LE(Math.floor(value / TWO_POW_32), at + 5);
  return at + 9;
}

function writeFixed32(bytes: Buffer, at: number, tag: number, value: number): number {
  bytes[at] = tag;
  bytes.writeUInt32LE(value, at + 1);
  return at + 5;
}

/** Encodes credit and settlements. */
export function encodeSubscribeRequest(
  creditMessages: number,
  creditBytes: number,
  settlements: readonly Settlement[],
): Buffer {
  const sizes = settlements.map(sizeOf);
  let length = 10;
  for (const size of sizes) length += 1 + varintBytes(size) + size;
  const bytes = Buffer.allocUnsafe(length);
  let at = writeFixed32(bytes, 0, 0x15, creditMessages);
  at = writeFixed32(bytes, at, 0x1d, creditBytes);
  for (const [index, settlement] of settlements.entries()) {
    bytes[at] = 0x22;
    at = writeVarint(bytes, at + 1, sizes[index] as number);
    at = writeFixed32(bytes, at, 0x0d, settlement.topicId);
    at = writeFixed32(bytes, at, 0x15, settlement.queueId);
    at = writeFixed64(bytes, at, 0x19, settlement.first);
    at = writeFixed64(bytes, at, 0x21, settlement.end);
    at = writeFixed64(bytes, at, 0x29, settlement.leaseId);
    bytes[at] = 0x30;
    bytes[at + 1] = settlement.action;
    at += 2;
    if (settlement.delayMs > 0) {
      bytes[at] = 0x38;
      at = writeVarint(bytes, at + 1, settlement.delayMs);
    }
    if (settlement.reason !== '') {
      bytes[at] = 0x42;
      const reasonBytes = Buffer.byteLength(settlement.reason);
      at = writeVarint(bytes, at + 1, reasonBytes);
      at += bytes.write(settlement.reason, at, reasonBytes, 'utf8');
    }
  }
  return bytes;
}
