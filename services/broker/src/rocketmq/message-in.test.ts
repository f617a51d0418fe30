import { create, type MessageInitShape } from '@bufbuild/protobuf';
import {
  Code,
  Encoding,
  MessageSchema,
  MessageType,
  type SystemPropertiesSchema,
} from '@ternmq/proto/gen/apache/rocketmq/v2/definition_pb';
import { BodyEncoding } from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import { describe, expect, test } from 'vitest';
import { messageIn } from './message-in.ts';
import { timestampOf } from './message-out.ts';
import { durationOf } from './settings.ts';

type System = MessageInitShape<typeof SystemPropertiesSchema>;

const NOW_MS = 1_700_000_000_000;

function read(
  system: System,
  rest: { body?: Uint8Array; userProperties?: Record<string, string> } = {},
) {
  const message = create(MessageSchema, {
    topic: { name: 't' },
    body: Buffer.from('body'),
    systemProperties: { messageId: 'id', ...system },
    ...rest,
  });
  return messageIn(message, NOW_MS);
}

test('everything that a message says is kept', () => {
  const { type, id, orderingKey, message } = read(
    {
      tag: 'a',
      keys: ['k1', 'k2'],
      messageGroup: 'one',
      messageType: MessageType.FIFO,
      bornTimestamp: timestampOf(NOW_MS - 5),
      bodyEncoding: Encoding.GZIP,
      traceContext: '00-trace',
    },
    { userProperties: { region: 'eu' } },
  );
  expect({ type, id, orderingKey }).toEqual({
    type: MessageType.FIFO,
    id: 'id',
    orderingKey: 'one',
  });
  expect(message).toMatchObject({
    tag: 'a',
    keys: ['k1', 'k2'],
    properties: { region: 'eu' },
    orderingKey: 'one',
    bornTimeMs: BigInt(NOW_MS - 5),
    bodyEncoding: BodyEncoding.GZIP,
    traceContext: '00-trace',
    producerMessageId: 'id',
  });
});

describe('the kind of a message', () => {
  const at = timestampOf(NOW_MS + 1000);
  test.each<[string, System, MessageType]>([
    ['plain', {}, MessageType.NORMAL],
    ['of a message group', { messageGroup: 'g' }, MessageType.FIFO],
    ['with a time', { deliveryTimestamp: at }, MessageType.DELAY],
    ['with a priority', { priority: 3 }, MessageType.PRIORITY],
    ['of a transaction', { messageType: MessageType.TRANSACTION }, MessageType.TRANSACTION],
  ])('%s', (_, system, type) => {
    expect(read(system).type).toBe(type);
    expect(read({ ...system, messageType: type }).type).toBe(type);
  });

  test.each<[string, System]>([
    ['a group and another kind', { messageGroup: 'g', messageType: MessageType.NORMAL }],
    ['no group', { messageType: MessageType.FIFO }],
    ['no time', { messageType: MessageType.DELAY }],
    ['a group and a time', { messageGroup: 'g', deliveryTimestamp: at }],
    ['a transaction with a time', { messageType: MessageType.TRANSACTION, deliveryTimestamp: at }],
  ])('is refused when it does not go with the rest: %s', (_, system) => {
    expect(() => read(system)).toThrow(
      expect.objectContaining({ code: Code.MESSAGE_PROPERTY_CONFLICT_WITH_TYPE }),
    );
  });
});

test('a time in the past is kept, and delivers at once', () => {
  const { message } = read({ deliveryTimestamp: timestampOf(NOW_MS - 20_000) });
  expect(message.deliverAtMs).toBe(BigInt(NOW_MS - 20_000));
});

test('a producer may be asked for an outcome after a second at the soonest', () => {
  const transaction = { messageType: MessageType.TRANSACTION };
  const first = (ms: number) =>
    read({ ...transaction, orphanedTransactionRecoveryDuration: durationOf(ms) }).firstCheckMs;
  expect(read(transaction).firstCheckMs).toBe(0);
  expect(first(10)).toBe(1000);
  expect(first(9000)).toBe(9000);
  expect(() => first(3_600_001)).toThrow(expect.objectContaining({ code: Code.BAD_REQUEST }));
});

describe('what breaks a rule is refused with its code', () => {
  const many = Object.fromEntries(Array.from({ length: 129 }, (_, i) => [`k${i}`, 'v']));
  test.each<[string, System, Parameters<typeof read>[1], keyof typeof Code]>([
    ['no id', { messageId: ' ' }, {}, 'ILLEGAL_MESSAGE_ID'],
    ['no body', {}, { body: new Uint8Array(0) }, 'MESSAGE_BODY_EMPTY'],
    ['too large', {}, { body: new Uint8Array((4 << 20) + 1) }, 'MESSAGE_BODY_TOO_LARGE'],
    ['blank tag', { tag: ' ' }, {}, 'ILLEGAL_MESSAGE_TAG'],
    ['tag with a bar', { tag: 'a|b' }, {}, 'ILLEGAL_MESSAGE_TAG'],
    ['blank key', { keys: ['a', ''] }, {}, 'ILLEGAL_MESSAGE_KEY'],
    ['key with a control character', { keys: ['a\n'] }, {}, 'ILLEGAL_MESSAGE_KEY'],
    ['blank group', { messageGroup: '  ' }, {}, 'ILLEGAL_MESSAGE_GROUP'],
    ['long group', { messageGroup: 'x'.repeat(64) }, {}, 'ILLEGAL_MESSAGE_GROUP'],
    ['reserved property', {}, { userProperties: { TAGS: 'x' } }, 'ILLEGAL_MESSAGE_PROPERTY_KEY'],
    ['control in a property', {}, { userProperties: { a: '\t' } }, 'ILLEGAL_MESSAGE_PROPERTY_KEY'],
    ['many properties', {}, { userProperties: many }, 'MESSAGE_PROPERTIES_TOO_LARGE'],
    [
      'large properties',
      {},
      { userProperties: { a: 'x'.repeat(16 << 10) } },
      'MESSAGE_PROPERTIES_TOO_LARGE',
    ],
    ['lite', { liteTopic: 'x' }, {}, 'NOT_IMPLEMENTED'],
  ])('%s', (_, system, rest, code) => {
    expect(() => read(system, rest)).toThrow(expect.objectContaining({ code: Code[code] }));
  });

  test('a body of exactly 4 MiB is taken', () => {
    expect(read({}, { body: new Uint8Array(4 << 20) }).message.body).toHaveLength(4 << 20);
  });
});
