// Single batches: the unary Receive of the brokers that have the topics, and Settle for each message.

import { pause } from './clock.ts';
import type { ConsumerModules, ConsumerSettings } from './consumer.ts';
import { DeliveredMessage, leaseFinder } from './delivered-message.ts';
import { isMqError, MqError } from './errors.ts';
import type { TopicHandle } from './topic-handle.ts';
import { broker } from './transport/methods.ts';
import { settlementMessage } from './transport/settlement-message.ts';
import { targetOf } from './transport/subscription-opening.ts';
import { readDelivery } from './wire/delivery.ts';
import { recordPlace } from './wire/record-place.ts';
import type { Settlement } from './wire/subscribe-request.ts';

/** What one call to one broker may wait when there are several to ask, in milliseconds. */
const SLICE_MS = 250;
const WAIT_MS_MAX = 30_000;
const CALL_MARGIN_MS = 2000;
const SETTLE_MS = 10_000;
const FIND_AGAIN_MS = 200;

interface Source {
  readonly topic: string;
  readonly tags: string;
  readonly brokerName: string;
  readonly address: string;
}

/** Leases a batch of messages. Throws MqError. */
export async function receiveBatch<Value>(
  settings: ConsumerSettings,
  topics: ReadonlyMap<string, string>,
  handles: ReadonlyMap<string, TopicHandle<Value>>,
  modules: ConsumerModules,
  options: { max: number; waitMs: number; signal: AbortSignal | undefined },
): Promise<DeliveredMessage<Value>[]> {
  const { clock } = modules;
  const untilMs = clock.monotonicMs() + options.waitMs;
  for (let turn = 0; ; turn++) {
    const leftMs = Math.max(0, untilMs - clock.monotonicMs());
    const sources = await sourcesOf(topics, modules, Math.max(1000, leftMs), options.signal);
    const source = sources[turn % Math.max(1, sources.length)];
    if (source === undefined) {
      if (leftMs === 0) return [];
      await pause(clock, Math.min(FIND_AGAIN_MS, leftMs), options.signal);
      continue;
    }
    const waitMs = Math.min(sources.length === 1 ? WAIT_MS_MAX : SLICE_MS, leftMs);
    const messages = await receiveFrom(source, waitMs, settings, handles, modules, options);
    const asked = turn + 1 >= sources.length;
    if (messages.length > 0 || (asked && clock.monotonicMs() >= untilMs)) return messages;
  }
}

async function sourcesOf(
  topics: ReadonlyMap<string, string>,
  { routes }: ConsumerModules,
  deadlineMs: number,
  signal: AbortSignal | undefined,
): Promise<Source[]> {
  const sources = new Map<string, Source>();
  for (const [topic, tags] of topics) {
    const route = await routes.find(topic, { deadlineMs, signal }).catch((error: unknown) => {
      if (isMqError(error, 'TOPIC_NOT_FOUND') && topics.size > 1) return undefined;
      throw error;
    });
    for (const { broker: brokerName, address } of route?.queues ?? []) {
      sources.set(`${topic} ${brokerName}`, { topic, tags, brokerName, address });
    }
  }
  return [...sources.values()];
}

async function receiveFrom<Value>(
  { topic, tags, brokerName, address }: Source,
  waitMs: number,
  settings: ConsumerSettings,
  handles: ReadonlyMap<string, TopicHandle<Value>>,
  modules: ConsumerModules,
  { max, signal }: { max: number; signal: AbortSignal | undefined },
): Promise<DeliveredMessage<Value>[]> {
  const { group, consumerId, leaseMs, from } = settings;
  const channel = modules.channels.get(address);
  const bytes = await channel.unaryBytes(
    broker.receive,
    {
      group,
      consumerId,
      leaseMs,
      subscription: { topic, tags, from: targetOf(from) },
      messagesMax: Math.min(256, max),
      waitMs: Math.floor(waitMs),
    },
    { deadlineMs: waitMs + CALL_MARGIN_MS, signal },
  );
  const settle = (settlement: Settlement): void => {
    const settlements = [settlementMessage(settlement)];
    channel.unary(broker.settle, { group, settlements }, { deadlineMs: SETTLE_MS }).then(
      ({ failures }) => {
        for (const { reason, message } of failures) {
          modules.events.emit({ type: 'settleFailed', topic, error: new MqError(reason, message) });
        }
      },
      (error: Error) => modules.events.emit({ type: 'settleFailed', topic, error }),
    );
  };
  const { records, leases } = readDelivery(bytes);
  const find = leaseFinder(leases);
  return records.flatMap((slice) => {
    const { topicId, queueId, offset } = recordPlace(slice);
    const lease = find(topicId, queueId, offset);
    if (lease === undefined) return [];
    const place = { topic, broker: brokerName, attempt: lease.attempt };
    return [new DeliveredMessage<Value>(slice, place, lease, settle, handles.get(topic))];
  });
}
