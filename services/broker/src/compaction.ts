// What compaction retains: of each ordering key of a compacted topic the newest message, unless it is a tombstone. When a
// part of the log is about to go, these are appended again with their old offsets; older ones go.
//
// No older message of a key comes back when its tombstone goes: copies of it lie in front of the tombstone and go
// before, or with it. That is why older messages are not appended again for those who have not settled them, either.

import { fromBinary } from '@bufbuild/protobuf';
import { MessageSchema } from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import type { Clock } from '@ternmq/runtime';
import { RECORD_HEADER_BYTES, viewOf } from './log/record.ts';
import type { BrokerState } from './state/broker-state.ts';
import { compactionDigest, LatestUse } from './state/latest-table.ts';
import { MESSAGE_AT, messageBytesOf } from './state/message-record.ts';
import type { Queue } from './state/queue.ts';
import type { Topic } from './state/topics.ts';

/** A message with this property, whatever its value, removes its key: it is the last of the key, and not retained. */
const TOMBSTONE_PROPERTY = 'ternmq.tombstone';
/** Rows that are looked at in one turn of the event loop. */
const ROWS_A_TURN = 4096;

/** The newest messages of their keys that would go, by queue and offset; what was sent since the last batch stays anyway. */
export async function newestThatGo(
  state: BrokerState,
  topic: Topic,
  goes: (queue: Queue, offset: number) => boolean,
  clock: Clock,
): Promise<{ queue: Queue; offset: number }[]> {
  const going: { queue: Queue; offset: number }[] = [];
  for (let from: Buffer | undefined; ; ) {
    const { rows, next } = state.latest.rows(topic.id, from, ROWS_A_TURN);
    for (const { use, queueId, offset } of rows) {
      const queue = topic.queues[queueId];
      if (use === LatestUse.COMPACTION && queue !== undefined && goes(queue, offset)) {
        going.push({ queue, offset });
      }
    }
    if (next === undefined) break;
    from = next;
    await new Promise<void>((resolve) => clock.defer(resolve));
  }
  return going.sort(
    (one, other) => one.queue.queueId - other.queue.queueId || one.offset - other.offset,
  );
}

/** Is the message of a record the newest of its key? */
export function isNewest(
  state: BrokerState,
  { topicId, queueId }: Queue,
  offset: number,
  record: Buffer,
): boolean {
  const ofKey = compactionDigest(record, MESSAGE_AT, messageEnd(record));
  const latest = ofKey === undefined ? undefined : state.latest.find(topicId, ofKey);
  return latest?.queueId === queueId && latest.offset === offset;
}

/** Does the message of a record remove its key? */
export function isTombstone(record: Buffer): boolean {
  const message = fromBinary(MessageSchema, record.subarray(MESSAGE_AT, messageEnd(record)));
  return Object.hasOwn(message.properties, TOMBSTONE_PROPERTY);
}

function messageEnd(record: Buffer): number {
  return MESSAGE_AT + messageBytesOf(viewOf(record), RECORD_HEADER_BYTES);
}
