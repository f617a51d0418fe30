// The leases of a delivered frame as they are on the wire: field 2 of SubscribeResponse and ReceiveResponse.
//
//   0x12 51 | 0x0d topic id 4 | 0x15 queue id 4 | 0x19 first offset 8 | 0x21 end offset 8 | 0x29 lease id 8
//           | 0x35 attempt 4 | 0x39 deadline 8

import { viewOf, writeUint64 } from '../log/record.ts';

const LEASE_BYTES = 51;

/** A stretch of one queue that is being leased. */
export interface LeasedStretch {
  readonly topicId: number;
  readonly queueId: number;
  readonly first: number;
  readonly end: number;
  readonly attempt: number;
}

/** The leases of one frame. */
export function encodeLeases(
  stretches: readonly LeasedStretch[],
  leaseId: number,
  deadlineMs: number,
): Buffer {
  const bytes = Buffer.allocUnsafe(stretches.length * (LEASE_BYTES + 2));
  const view = viewOf(bytes);
  let at = 0;
  for (const { topicId, queueId, first, end, attempt } of stretches) {
    view.setUint8(at, 0x12);
    view.setUint8(at + 1, LEASE_BYTES);
    view.setUint8(at + 2, 0x0d);
    view.setUint32(at + 3, topicId, true);
    view.setUint8(at + 7, 0x15);
    view.setUint32(at + 8, queueId, true);
    view.setUint8(at + 12, 0x19);
    writeUint64(view, at + 13, first);
    view.setUint8(at + 21, 0x21);
    writeUint64(view, at + 22, end);
    view.setUint8(at + 30, 0x29);
    writeUint64(view, at + 31, leaseId);
    view.setUint8(at + 39, 0x35);
    view.setUint32(at + 40, attempt, true);
    view.setUint8(at + 44, 0x39);
    writeUint64(view, at + 45, deadlineMs);
    at += LEASE_BYTES + 2;
  }
  return bytes;
}
