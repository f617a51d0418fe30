// Send: the unary twin of Produce. All messages are stored or none.

import { create, toBinary } from '@bufbuild/protobuf';
import type { handleUnaryCall } from '@grpc/grpc-js';
import {
  type SendResponse,
  SendResponseSchema,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { type ErrorCode, TernError, unary } from '@ternmq/runtime';
import type { CommitLog } from '../log/commit-log.ts';
import type { Acknowledgements } from './acknowledgements.ts';
import type { FrameAppender } from './append-frame.ts';
import { bornHostOf } from './born-host.ts';
import { type FramePart, placeIn } from './frame-parts.ts';
import { frameRefusal, type Refusal } from './frame-refusal.ts';
import { messageId } from './message-id.ts';

/** gRPC's view of why a frame is refused; the others are the sender's mistakes. */
const CODES: Readonly<Record<string, ErrorCode>> = {
  TOPIC_NOT_FOUND: 'NOT_FOUND',
  QUEUE_NOT_FOUND: 'NOT_FOUND',
  SEQUENCE_GAP: 'FAILED_PRECONDITION',
  SEQUENCE_TOO_OLD: 'FAILED_PRECONDITION',
  DISK_FULL: 'RESOURCE_EXHAUSTED',
  NOT_ENOUGH_REPLICAS: 'UNAVAILABLE',
  TOO_MANY_TOPICS: 'RESOURCE_EXHAUSTED',
  TOO_MANY_TRANSACTIONS: 'RESOURCE_EXHAUSTED',
  NOT_READY: 'UNAVAILABLE',
  LOG_FAILED: 'UNAVAILABLE',
  INTERNAL: 'INTERNAL',
};
const RETRY_AFTER_MS = 1000;

/** Why messages are refused, as the error of a call. */
export function refusalError({ reason, message }: Refusal): TernError {
  const code = CODES[reason] ?? 'INVALID_ARGUMENT';
  const again = code === 'RESOURCE_EXHAUSTED' || code === 'UNAVAILABLE';
  return new TernError(code, reason, message, again ? { retryAfterMs: RETRY_AFTER_MS } : {});
}

/** The RPC; takes and answers bytes. */
export function send(
  brokerName: string,
  modules: { log: CommitLog; acknowledgements: Acknowledgements; appender: FrameAppender },
): handleUnaryCall<Buffer, Buffer> {
  return unary<Buffer, Buffer>(async (request, context) => {
    const response = await store(brokerName, modules, request, bornHostOf(context.peer));
    return Buffer.from(toBinary(SendResponseSchema, response));
  });
}

/**
 * Stores the messages of an encoded SendRequest; resolves when they may be acknowledged, or are checked when that is enough.
 *
 * @param bornHost 16 bytes: where the request came from
 */
export async function store(
  brokerName: string,
  {
    log,
    acknowledgements,
    appender,
  }: { log: CommitLog; acknowledgements: Acknowledgements; appender: FrameAppender },
  request: Buffer,
  bornHost: Buffer,
): Promise<SendResponse> {
  let refusal: Refusal | undefined;
  try {
    refusal = appender.append(request, bornHost);
  } catch (error) {
    refusal = frameRefusal(error);
  }
  if (refusal !== undefined) throw refusalError(refusal);
  const { topic, queue, baseOffset, scanner, asked } = appender;
  const topicId = topic?.id ?? 0;
  const queueId = queue?.queueId ?? 0;
  const plain: FramePart = { firstIndex: 0, queueId, offset: baseOffset, duplicate: false };
  const parts = appender.parts ?? [plain];
  const { count, oneWay } = scanner;
  const begun = scanner.transactionAt >= 0;
  if (!oneWay) await acknowledgements.at(log.next, asked);
  const receipts = Array.from({ length: count }, (_, index) => {
    const place = placeIn(parts, index);
    return {
      messageId: messageId({ brokerName, topicId, ...place }),
      brokerName,
      queueId: place.queueId,
      offset: BigInt(place.offset),
      duplicate: place.duplicate,
    };
  });
  const transactionId = begun ? (receipts[0]?.messageId ?? '') : '';
  return create(SendResponseSchema, { receipts, transactionId });
}
