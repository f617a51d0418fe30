// Receipt handles: what clients name a delivery by. They hold all that its settlement needs, so that any broker can take
// them, also after a restart; that the lease still stands is the core's to say. In base64url:
//
//   0  version        1     14  lease id      6     28  times changed       2
//   1  renewed        1     20  deadline, ms  6     30  broker's name, UTF-8
//   2  topic id       4     26  attempt       2     ..  CRC-32 of all before  4     big-endian
//   6  queue id       2
//   8  offset         6

import { crc32 } from 'node:zlib';
import { Code } from '@ternmq/proto/gen/apache/rocketmq/v2/definition_pb';
import { Refused } from './status.ts';

/** A delivery of a message under a lease. */
export interface Delivery {
  readonly brokerName: string;
  readonly topicId: number;
  readonly queueId: number;
  readonly offset: number;
  readonly leaseId: number;
  /** When the lease ends, in wall milliseconds; of a renewed one, when it would have at first. */
  readonly deadlineMs: number;
  /** Which delivery of the message, from 1 on. */
  readonly attempt: number;
  /** The server renews the lease while the client lives. */
  readonly renewed: boolean;
  /** How often the client has set its end anew: a handle is void when there is a newer one. */
  readonly changes: number;
}

const VERSION = 1;
const NAME_AT = 30;
const CHECKSUM_BYTES = 4;
const LENGTH_MAX = 1024;

/** Writes a handle. */
export function writeHandle(delivery: Delivery): string {
  const name = Buffer.from(delivery.brokerName);
  const end = NAME_AT + name.length;
  const bytes = Buffer.allocUnsafe(end + CHECKSUM_BYTES);
  bytes.writeUInt8(VERSION, 0);
  bytes.writeUInt8(delivery.renewed ? 1 : 0, 1);
  bytes.writeUInt32BE(delivery.topicId, 2);
  bytes.writeUInt16BE(delivery.queueId, 6);
  bytes.writeUIntBE(delivery.offset, 8, 6);
  bytes.writeUIntBE(delivery.leaseId, 14, 6);
  bytes.writeUIntBE(delivery.deadlineMs, 20, 6);
  bytes.writeUInt16BE(Math.min(delivery.attempt, 0xffff), 26);
  bytes.writeUInt16BE(delivery.changes & 0xffff, 28);
  bytes.set(name, NAME_AT);
  bytes.writeUInt32BE(crc32(bytes.subarray(0, end)), end);
  return bytes.toString('base64url');
}

/** Reads a handle. Throws Refused (INVALID_RECEIPT_HANDLE). */
export function readHandle(text: string): Delivery {
  const bytes = Buffer.from(text.slice(0, LENGTH_MAX), 'base64url');
  const end = bytes.length - CHECKSUM_BYTES;
  const whole =
    end >= NAME_AT &&
    bytes.readUInt8(0) === VERSION &&
    bytes.readUInt32BE(end) === crc32(bytes.subarray(0, end));
  if (!whole) {
    throw new Refused(
      Code.INVALID_RECEIPT_HANDLE,
      'this is no handle of a delivery of this cluster',
    );
  }
  return {
    renewed: bytes.readUInt8(1) === 1,
    topicId: bytes.readUInt32BE(2),
    queueId: bytes.readUInt16BE(6),
    offset: bytes.readUIntBE(8, 6),
    leaseId: bytes.readUIntBE(14, 6),
    deadlineMs: bytes.readUIntBE(20, 6),
    attempt: bytes.readUInt16BE(26),
    changes: bytes.readUInt16BE(28),
    brokerName: bytes.toString('utf8', NAME_AT, end),
  };
}
