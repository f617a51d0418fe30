// SendMessage: stores messages of one topic. What may go together is one send of the own service, so a batch costs one.

import type { handleUnaryCall } from '@grpc/grpc-js';
import {
  Code,
  type Message,
  MessageType,
  type Status,
} from '@ternmq/proto/gen/apache/rocketmq/v2/definition_pb';
import {
  type SendMessageRequest,
  SendMessageResponseSchema,
  type SendResultEntry,
} from '@ternmq/proto/gen/apache/rocketmq/v2/service_pb';
import { BrokerService } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { type Clock, TernError } from '@ternmq/runtime';
import { fnv1a } from '../state/message-tag.ts';
import { answered } from './answered.ts';
import type { Brokers, ServingBroker } from './brokers.ts';
import type { Caller } from './caller.ts';
import { type IncomingMessage, messageIn } from './message-in.ts';
import { servingBrokers } from './query-route.ts';
import { writeRecallHandle } from './recall-handle.ts';
import { nameOf, topicNameOf } from './resource.ts';
import { togetherOf } from './settle.ts';
import { failureStatus, okStatus, Refused } from './status.ts';

const MESSAGES_MAX = 1024;

/** What the RPC uses. */
export interface SendModules {
  readonly brokers: Brokers;
  readonly clock: Clock;
}

/** Where messages go that are sent together. */
interface Place {
  readonly broker: ServingBroker;
  /** Queue of the broker; undefined for one of its choice. */
  readonly queueId: number | undefined;
}

/** The RPC. */
export function sendMessage(modules: SendModules): handleUnaryCall<SendMessageRequest, unknown> {
  let turn = 0;
  return answered(
    SendMessageResponseSchema,
    async ({ messages }: SendMessageRequest, caller: Caller) => {
      const topic = topicOf(messages, caller);
      const entries: SendResultEntry[] = [];
      for (const batch of batchesOf(messages, modules.clock.nowMs(), entries)) {
        try {
          await send(topic, batch, entries, turn++, caller, modules.brokers);
        } catch (error) {
          const status = failureStatus(error);
          for (const { index, id } of batch) entries[index] = entryOf(status, id);
        }
      }
      return { status: togetherOf(entries.map((entry) => entry.status as Status)), entries };
    },
  );
}

/** The one topic of all messages. Throws Refused (MESSAGE_CORRUPTED, ILLEGAL_TOPIC). */
function topicOf(messages: readonly Message[], { namespace }: Caller): string {
  const [first] = messages;
  if (first === undefined || messages.length > MESSAGES_MAX) {
    throw new Refused(Code.MESSAGE_CORRUPTED, `a request has 1 to ${MESSAGES_MAX} messages`);
  }
  const topic = topicNameOf(first.topic, namespace);
  if (messages.every((message) => nameOf(message.topic, namespace) === topic)) return topic;
  throw new Refused(Code.MESSAGE_CORRUPTED, 'the messages of a request are of one topic');
}

type Numbered = IncomingMessage & { readonly index: number };

/** Messages that may be sent together, in their order; what is wrong with the others goes into their entries. */
function batchesOf(
  messages: readonly Message[],
  nowMs: number,
  entries: SendResultEntry[],
): Numbered[][] {
  const batches: Numbered[][] = [];
  let last: Numbered | undefined;
  for (const [index, message] of messages.entries()) {
    let incoming: IncomingMessage;
    try {
      incoming = messageIn(message, nowMs);
    } catch (error) {
      const id = message.systemProperties?.messageId ?? '';
      entries[index] = entryOf(failureStatus(error), id);
      continue;
    }
    const numbered = { ...incoming, index };
    if (last !== undefined && goTogether(last, numbered)) batches.at(-1)?.push(numbered);
    else batches.push([numbered]);
    last = numbered;
  }
  return batches;
}

/** A transaction is decided by itself; a queue, as of keys and priorities, is chosen for all. */
function goTogether(one: IncomingMessage, other: IncomingMessage): boolean {
  return (
    one.type === other.type &&
    one.type !== MessageType.TRANSACTION &&
    one.orderingKey === other.orderingKey &&
    one.message.priority === other.message.priority
  );
}

async function send(
  topic: string,
  batch: readonly Numbered[],
  entries: SendResultEntry[],
  turn: number,
  caller: Caller,
  brokers: Brokers,
): Promise<void> {
  const [{ type, orderingKey, firstCheckMs } = {} as Numbered] = batch;
  const { broker, queueId } =
    orderingKey === ''
      ? { broker: await anyBroker(brokers, topic, turn), queueId: undefined }
      : await placeOfKey(brokers, topic, orderingKey);
  const inTransaction = type === MessageType.TRANSACTION;
  const { receipts, transactionId } = await broker.link.call(
    BrokerService.method.send,
    {
      topic,
      ...(queueId === undefined ? {} : { queueId }),
      messages: batch.map(({ message }) => message),
      // Whoever sends to the topic may be asked for the outcome.
      ...(inTransaction ? { transaction: { producerGroup: topic, firstCheckMs } } : {}),
    },
    caller,
  );
  for (const [at, { index, id }] of batch.entries()) {
    const receipt = receipts[at];
    const messageId = receipt?.messageId ?? '';
    entries[index] = {
      ...entryOf(okStatus(), id),
      ...(inTransaction ? { transactionId } : {}),
      offset: receipt?.offset ?? 0n,
      recallHandle:
        type === MessageType.DELAY
          ? writeRecallHandle({ brokerName: broker.brokerName, messageId, producerMessageId: id })
          : '',
    };
  }
}

/** A broker that takes messages of the topic: this one, or others by turns. */
async function anyBroker(brokers: Brokers, topic: string, turn: number): Promise<ServingBroker> {
  const own = brokers.own(topic);
  if (own?.writable) return own;
  const writable = (await servingBrokers(brokers, topic)).filter((broker) => broker.writable);
  const broker = writable[turn % writable.length];
  if (broker !== undefined) return broker;
  throw new Refused(Code.FORBIDDEN, `no queue of topic ${topic} takes messages now`);
}

/**
 * The queue of an ordering key, which all clients agree about: the hash of the key modulo the number of all queues, in the
 * order of broker and number. A broker that is away keeps its place.
 */
async function placeOfKey(brokers: Brokers, topic: string, orderingKey: string): Promise<Place> {
  const serving = await servingBrokers(brokers, topic);
  const places = brokers.placesOf(topic, serving);
  const bytes = Buffer.from(orderingKey);
  const total = places.reduce((sum, { queues }) => sum + queues, 0);
  let queueId = fnv1a(bytes, 0, bytes.length) % total;
  for (const { brokerName, queues } of places) {
    if (queueId >= queues) {
      queueId -= queues;
      continue;
    }
    const broker = serving.find((one) => one.brokerName === brokerName);
    if (broker?.writable) return { broker, queueId };
    throw new TernError(
      'UNAVAILABLE',
      'KEY_HAS_NO_MASTER',
      `messages of this message group belong to broker ${brokerName}, which takes none now; try again`,
    );
  }
  throw new Refused(Code.FORBIDDEN, `no queue of topic ${topic} takes messages now`);
}

/** An entry. A transaction id equal to the message's is what clients expect of all other messages. */
function entryOf(status: Status, id: string): SendResultEntry {
  return {
    $typeName: 'apache.rocketmq.v2.SendResultEntry',
    status,
    messageId: id,
    transactionId: id,
    offset: 0n,
    recallHandle: '',
  };
}
