// A stored message as clients of RocketMQ 5 get it. No enum is left unspecified, and every body has its digest: some clients
// fall over what is missing.

import { hash } from 'node:crypto';
import { zstdDecompressSync } from 'node:zlib';
import { create } from '@bufbuild/protobuf';
import { type Timestamp, TimestampSchema } from '@bufbuild/protobuf/wkt';
import {
  DigestType,
  Encoding,
  type Message,
  MessageType,
  type Resource,
  type SystemProperties,
} from '@ternmq/proto/gen/apache/rocketmq/v2/definition_pb';
import {
  BodyEncoding,
  type Message as OwnMessage,
  type StoredMessage,
} from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import { hostText } from '../grpc/born-host.ts';
import { BODY_BYTES_MAX } from '../grpc/frame-scanner.ts';
import { messageId } from '../grpc/message-id.ts';
import { durationOf } from './settings.ts';

/** What a delivery adds to a message. */
export interface Delivered {
  readonly receiptHandle: string;
  readonly attempt: number;
  /** How long it stays invisible to others, in milliseconds. */
  readonly invisibleMs: number;
}

/**
 * The message.
 *
 * @param topic as the client has named it
 * @param delivered undefined when it is only read
 */
export function messageOut(
  stored: StoredMessage,
  brokerName: string,
  topic: Resource | undefined,
  delivered?: Delivered,
): Message {
  const message = unpacked(stored.message as OwnMessage);
  const { topicId, queueId, offset, origin } = stored;
  const storeMs = Number(stored.storeTimeMs);
  const deliverAtMs = Number(message.deliverAtMs) || delayedUntil(message, storeMs);
  const systemProperties: SystemProperties = {
    $typeName: 'apache.rocketmq.v2.SystemProperties',
    ...(message.tag === '' ? {} : { tag: message.tag }),
    keys: message.keys,
    messageId:
      message.producerMessageId ||
      messageId({ brokerName, topicId, queueId, offset: Number(offset) }),
    bodyDigest: {
      $typeName: 'apache.rocketmq.v2.Digest',
      type: DigestType.MD5,
      checksum: hash('md5', message.body, 'hex').toUpperCase(),
    },
    bodyEncoding: message.bodyEncoding === BodyEncoding.GZIP ? Encoding.GZIP : Encoding.IDENTITY,
    messageType: typeOf(stored, message, deliverAtMs),
    bornTimestamp: timestampOf(Number(message.bornTimeMs) || storeMs),
    bornHost: stored.bornHost.length === 16 ? hostText(Buffer.from(stored.bornHost)) : '',
    storeTimestamp: timestampOf(storeMs),
    storeHost: brokerName,
    ...(deliverAtMs === 0 ? {} : { deliveryTimestamp: timestampOf(deliverAtMs) }),
    queueId,
    queueOffset: offset,
    ...(delivered === undefined
      ? {}
      : {
          receiptHandle: delivered.receiptHandle,
          invisibleDuration: durationOf(delivered.invisibleMs),
          deliveryAttempt: delivered.attempt,
        }),
    ...(message.orderingKey === '' ? {} : { messageGroup: message.orderingKey }),
    ...(message.traceContext === '' ? {} : { traceContext: message.traceContext }),
    ...(message.priority === undefined ? {} : { priority: message.priority }),
    ...(origin === undefined
      ? {}
      : {
          deadLetterQueue: {
            $typeName: 'apache.rocketmq.v2.DeadLetterQueue' as const,
            topic: origin.topic,
            messageId: message.producerMessageId,
          },
        }),
  };
  return {
    $typeName: 'apache.rocketmq.v2.Message',
    ...(topic === undefined ? {} : { topic }),
    userProperties: message.properties,
    systemProperties,
    body: message.body,
  };
}

/** Those clients know gzip alone: what is packed otherwise is unpacked. */
function unpacked(message: OwnMessage): OwnMessage {
  if (message.bodyEncoding !== BodyEncoding.ZSTD) return message;
  try {
    const body = zstdDecompressSync(message.body, { maxOutputLength: BODY_BYTES_MAX });
    return { ...message, body, bodyEncoding: BodyEncoding.UNSPECIFIED };
  } catch {
    // What is no Zstandard nobody could ever read; the reader gets what the producer sent.
    return { ...message, bodyEncoding: BodyEncoding.UNSPECIFIED };
  }
}

function delayedUntil({ delayMs }: OwnMessage, storeMs: number): number {
  return delayMs === 0n ? 0 : storeMs;
}

function typeOf(
  { released }: StoredMessage,
  { priority, orderingKey }: OwnMessage,
  deliverAtMs: number,
): MessageType {
  if (priority !== undefined) return MessageType.PRIORITY;
  if (deliverAtMs > 0) return MessageType.DELAY;
  // It waited, and for no time: for the end of a transaction.
  if (released !== undefined) return MessageType.TRANSACTION;
  return orderingKey === '' ? MessageType.NORMAL : MessageType.FIFO;
}

/** A time. */
export function timestampOf(ms: number): Timestamp {
  return create(TimestampSchema, {
    seconds: BigInt(Math.floor(ms / 1000)),
    nanos: Math.round((ms % 1000) * 1e6),
  });
}
