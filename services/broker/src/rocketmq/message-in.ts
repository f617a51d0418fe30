// A message of a client of RocketMQ 5 as TernMQ stores it, with the rules that RocketMQ has for it.

import type { MessageInitShape } from '@bufbuild/protobuf';
import {
  Code,
  Encoding,
  type Message,
  MessageType,
  MessageTypeSchema,
} from '@ternmq/proto/gen/apache/rocketmq/v2/definition_pb';
import { BodyEncoding, type MessageSchema } from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import { PRIORITY_MAX, PROPERTIES_BYTES_MAX, PROPERTIES_MAX } from '../grpc/frame-scanner.ts';
import { msOf } from './settings.ts';
import { Refused } from './status.ts';

const GROUP_BYTES_MAX = 63;
const BODY_BYTES_MAX = 4 << 20;
/** Longest time until a producer is asked first for the outcome of a transaction, in milliseconds. */
const RECOVERY_MS_MAX = 3_600_000;
const RECOVERY_MS_MIN = 1000;
// biome-ignore lint/suspicious/noControlCharactersInRegex: it finds them
const CONTROL = /[\u0000-\u001f\u007f]/;

/** Names of properties that RocketMQ keeps for itself. */
const RESERVED: ReadonlySet<string> = new Set(
  (
    'KEYS TAGS WAIT DELAY RETRY_TOPIC REAL_TOPIC REAL_QID TRAN_MSG PGROUP MIN_OFFSET MAX_OFFSET BUYER_ID ' +
    'ORIGIN_MESSAGE_ID TRANSFER_FLAG CORRECTION_FLAG MQ2_FLAG RECONSUME_TIME MSG_REGION TRACE_ON UNIQ_KEY ' +
    'EXTEND_UNIQ_INFO MAX_RECONSUME_TIMES CONSUME_START_TIME POP_CK POP_CK_OFFSET 1ST_POP_TIME ' +
    'TRAN_PREPARED_QUEUE_OFFSET DUP_INFO INSTANCE_ID CORRELATION_ID REPLY_TO_CLIENT TTL ARRIVE_TIME ' +
    'PUSH_REPLY_TIME CLUSTER MSG_TYPE INNER_MULTI_QUEUE_OFFSET TIMER_DELAY_MS TIMER_DELAY_SEC ' +
    'TIMER_DELIVER_MS TIMER_ENQUEUE_MS TIMER_DEQUEUE_MS TIMER_ROLL_TIMES TIMER_OUT_MS TIMER_DEL_UNIQKEY ' +
    'TIMER_DELAY_LEVEL __BORNHOST BORN_TIMESTAMP DLQ_ORIGIN_TOPIC DLQ_ORIGIN_MESSAGE_ID __CRC32#'
  ).split(' '),
);

/** A message that may be sent. */
export interface IncomingMessage {
  readonly type: MessageType;
  /** The id that the client gave it. */
  readonly id: string;
  readonly orderingKey: string;
  /** Of a transaction: when its producer is asked first, in milliseconds; 0 for the broker's default. */
  readonly firstCheckMs: number;
  readonly message: MessageInitShape<typeof MessageSchema>;
}

/**
 * Reads a message. Throws Refused with the code of the rule that it breaks.
 *
 * @param nowMs the time that a message without one was born at
 */
export function messageIn(message: Message, nowMs: number): IncomingMessage {
  const { systemProperties: system, userProperties, body } = message;
  const id = system?.messageId ?? '';
  if (system === undefined || id.trim() === '' || id.length > 255) {
    throw new Refused(Code.ILLEGAL_MESSAGE_ID, 'a message has an id of 1 to 255 characters');
  }
  checkBody(body);
  checkTag(system.tag);
  for (const key of system.keys) {
    if (key.trim() === '' || CONTROL.test(key)) {
      throw new Refused(
        Code.ILLEGAL_MESSAGE_KEY,
        'a key of a message is not blank, and has no control characters',
      );
    }
  }
  const { messageGroup } = system;
  if (messageGroup !== undefined && !isGroup(messageGroup)) {
    throw new Refused(
      Code.ILLEGAL_MESSAGE_GROUP,
      `a message group is not blank, has at most ${GROUP_BYTES_MAX} bytes, and no control characters`,
    );
  }
  checkProperties(userProperties, system.tag ?? '', system.keys);
  const type = typeOf(message);
  const deliverAt = system.deliveryTimestamp;
  const deliverAtMs =
    deliverAt === undefined
      ? 0
      : Math.max(1, Number(deliverAt.seconds) * 1000 + Math.floor(deliverAt.nanos / 1e6));
  const born = system.bornTimestamp;
  const bornMs =
    born === undefined ? nowMs : Number(born.seconds) * 1000 + Math.floor(born.nanos / 1e6);
  const { priority } = system;
  return {
    type,
    id,
    orderingKey: messageGroup ?? '',
    firstCheckMs: type === MessageType.TRANSACTION ? firstCheckOf(message) : 0,
    message: {
      body,
      tag: system.tag ?? '',
      keys: system.keys,
      properties: userProperties,
      orderingKey: messageGroup ?? '',
      bornTimeMs: BigInt(Math.max(0, bornMs)),
      deliverAtMs: BigInt(deliverAtMs),
      ...(priority === undefined
        ? {}
        : { priority: Math.min(Math.max(0, priority), PRIORITY_MAX) }),
      bodyEncoding:
        system.bodyEncoding === Encoding.GZIP ? BodyEncoding.GZIP : BodyEncoding.UNSPECIFIED,
      traceContext: system.traceContext ?? '',
      producerMessageId: id,
    },
  };
}

function checkBody({ length }: Uint8Array): void {
  if (length === 0) throw new Refused(Code.MESSAGE_BODY_EMPTY, 'a message has at least one byte');
  if (length <= BODY_BYTES_MAX) return;
  throw new Refused(
    Code.MESSAGE_BODY_TOO_LARGE,
    `the body has ${length} bytes, and may have 4 MiB (${BODY_BYTES_MAX})`,
  );
}

function checkTag(tag: string | undefined): void {
  if (tag === undefined) return;
  if (tag.trim() !== '' && !tag.includes('|') && !CONTROL.test(tag)) return;
  throw new Refused(
    Code.ILLEGAL_MESSAGE_TAG,
    "a tag is not blank, and has neither '|' nor control characters",
  );
}

function isGroup(group: string): boolean {
  return group.trim() !== '' && Buffer.byteLength(group) <= GROUP_BYTES_MAX && !CONTROL.test(group);
}

function checkProperties(
  properties: Readonly<Record<string, string>>,
  tag: string,
  keys: readonly string[],
): void {
  const pairs = Object.entries(properties);
  let bytes = Buffer.byteLength(tag);
  for (const key of keys) bytes += Buffer.byteLength(key);
  for (const [key, value] of pairs) {
    if (RESERVED.has(key)) {
      throw new Refused(
        Code.ILLEGAL_MESSAGE_PROPERTY_KEY,
        `${key} is a name that RocketMQ keeps for itself; call the property otherwise`,
      );
    }
    if (CONTROL.test(key) || CONTROL.test(value)) {
      throw new Refused(
        Code.ILLEGAL_MESSAGE_PROPERTY_KEY,
        'names and values of properties have no control characters',
      );
    }
    bytes += Buffer.byteLength(key) + Buffer.byteLength(value);
  }
  if (pairs.length <= PROPERTIES_MAX && bytes <= PROPERTIES_BYTES_MAX) return;
  throw new Refused(
    Code.MESSAGE_PROPERTIES_TOO_LARGE,
    `a message has at most ${PROPERTIES_MAX} properties, and ${PROPERTIES_BYTES_MAX} bytes of them, its tag and its keys`,
  );
}

/** The kind of a message: as its properties say, which what the client says must agree with. */
function typeOf({ systemProperties: system }: Message): MessageType {
  const said = system?.messageType ?? MessageType.MESSAGE_TYPE_UNSPECIFIED;
  const keyed = system?.messageGroup !== undefined;
  const delayed = system?.deliveryTimestamp !== undefined;
  const prioritized = system?.priority !== undefined;
  if (said === MessageType.TRANSACTION) {
    if (!keyed && !delayed && !prioritized) return said;
    throw conflict(said);
  }
  if (said === MessageType.LITE || system?.liteTopic !== undefined) {
    throw new Refused(Code.NOT_IMPLEMENTED, 'this version of TernMQ has no lite topics');
  }
  const is = delayed
    ? MessageType.DELAY
    : keyed
      ? MessageType.FIFO
      : prioritized
        ? MessageType.PRIORITY
        : MessageType.NORMAL;
  const several = Number(delayed) + Number(keyed) + Number(prioritized) > 1;
  const agrees = said === is || said === MessageType.MESSAGE_TYPE_UNSPECIFIED;
  if (several || !agrees) throw conflict(said);
  return is;
}

function conflict(said: MessageType): Refused {
  return new Refused(
    Code.MESSAGE_PROPERTY_CONFLICT_WITH_TYPE,
    `the properties of the message do not go with its type ${MessageTypeSchema.value[said]?.name ?? said}: message groups, delivery times, priorities and transactions exclude each other`,
  );
}

function firstCheckOf({ systemProperties: system }: Message): number {
  const ms = msOf(system?.orphanedTransactionRecoveryDuration);
  if (ms === undefined) return 0;
  if (ms > RECOVERY_MS_MAX) {
    throw new Refused(
      Code.BAD_REQUEST,
      'the orphaned transaction recovery duration is at most an hour',
    );
  }
  return Math.max(RECOVERY_MS_MIN, Math.round(ms));
}
