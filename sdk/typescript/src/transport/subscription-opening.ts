// The first message of a consumer's stream, and the start point that goes with a subscription.

import { create, toBinary } from '@bufbuild/protobuf';
import {
  SubscribeRequestSchema,
  SubscriptionMode,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import {
  type OffsetTarget,
  OffsetTargetSchema,
} from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import type { StartPoint } from '../message.ts';

/** A topic and which of its messages are wanted. */
export interface SubscriptionChoice {
  readonly topic: string;
  readonly tags: string;
  readonly sql: string;
}

/** A start point as brokers understand it. */
export function targetOf(from: StartPoint): OffsetTarget {
  if (from === 'first') return create(OffsetTargetSchema, { target: { case: 'begin', value: {} } });
  if (from === 'last') return create(OffsetTargetSchema, { target: { case: 'end', value: {} } });
  if (from instanceof Date) {
    const value = BigInt(from.getTime());
    return create(OffsetTargetSchema, { target: { case: 'timeMs', value } });
  }
  const value = BigInt(from.offset);
  return create(OffsetTargetSchema, { target: { case: 'offset', value } });
}

/** Encodes the message that opens a subscription. */
export function encodeOpening(
  opening: {
    readonly group: string;
    readonly consumerId: string;
    readonly broadcasting: boolean;
    readonly ordered?: boolean | undefined;
    readonly leaseMs: number;
    readonly from: StartPoint;
    readonly subscriptions: readonly SubscriptionChoice[];
  },
  credit: { readonly messages: number; readonly bytes: number },
): Buffer {
  const { group, consumerId, leaseMs, broadcasting, ordered, subscriptions } = opening;
  const from = targetOf(opening.from);
  const request = create(SubscribeRequestSchema, {
    open: {
      group,
      consumerId,
      leaseMs,
      mode: broadcasting ? SubscriptionMode.BROADCASTING : SubscriptionMode.CLUSTERING,
      subscriptions: subscriptions.map(({ topic, tags, sql }) => ({ topic, tags, sql, from })),
      ...(ordered === undefined ? {} : { ordered }),
    },
    creditMessages: credit.messages,
    creditBytes: credit.bytes,
  });
  return Buffer.from(toBinary(SubscribeRequestSchema, request));
}
