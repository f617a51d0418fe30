// Settles a message that cannot be delivered any more, because its record is damaged or gone.

import { create } from '@bufbuild/protobuf';
import { SettledOutcome, SettledSchema } from '@ternmq/proto/gen/ternmq/log/v1/log_pb';
import type { TopicProgress } from '../state/groups.ts';
import type { StateLog } from '../state/state-log.ts';

/** Drops a message from a group's progress. The caller says so in the log file. */
export function dropMessage(
  stateLog: StateLog,
  progress: TopicProgress,
  queueId: number,
  offset: number,
): void {
  const range = {
    progressId: progress.id,
    queueId,
    firstOffset: BigInt(offset),
    endOffset: BigInt(offset + 1),
    outcome: SettledOutcome.DROPPED,
  };
  stateLog.change({ case: 'settled', value: create(SettledSchema, { ranges: [range] }) });
}
