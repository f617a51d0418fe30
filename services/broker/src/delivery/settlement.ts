// What consumers say of messages, and what the log says of that.

import { create } from '@bufbuild/protobuf';
import {
  type SettledOutcome,
  type SettledRange,
  SettledRangeSchema,
} from '@ternmq/proto/gen/ternmq/log/v1/log_pb';
import type { UnsettledRange } from '../progress/unsettled-range.ts';
import type { TopicProgress } from '../state/groups.ts';

/** What a consumer says of messages. */
export interface SettlementChoice {
  readonly topicId: number;
  readonly queueId: number;
  readonly first: number;
  readonly end: number;
  readonly leaseId: number;
  readonly action: 'acknowledge' | 'retry' | 'extend' | 'deadLetter' | 'giveBack';
  /** For retry and extend, in milliseconds. */
  readonly delayMs: number;
  /** For deadLetter. */
  readonly reason: string;
}

/** Why a settlement was not carried out: a stable reason and a sentence. */
export interface SettlementRefusal {
  readonly reason: string;
  readonly message: string;
}

/** Why settlements are refused. */
export const REFUSALS = {
  LEASE_EXPIRED: {
    reason: 'LEASE_EXPIRED',
    message:
      'the lease has ended, and the messages are delivered again; settle sooner, or extend the lease in time',
  },
  NOT_DELIVERED: {
    reason: 'NOT_DELIVERED',
    message:
      'the messages were not delivered to this group; settle with the offsets and the lease id of a delivery',
  },
  TOPIC_NOT_FOUND: {
    reason: 'TOPIC_NOT_FOUND',
    message: 'the topic was deleted, or the group does not read it; there is nothing to settle',
  },
} as const satisfies Record<string, SettlementRefusal>;

/** What the log says of messages that are settled. */
export function settledRange(
  progress: TopicProgress,
  queueId: number,
  range: UnsettledRange,
  outcome: SettledOutcome,
  atMs: number,
): SettledRange {
  return create(SettledRangeSchema, {
    progressId: progress.id,
    queueId,
    firstOffset: BigInt(range.first),
    endOffset: BigInt(range.end),
    leaseId: BigInt(range.leaseId),
    outcome,
    atMs: BigInt(Math.round(atMs)),
  });
}
