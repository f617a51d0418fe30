// Single batches: the unary Receive of the brokers that have the topics.

import { pause } from './clock.ts';
import type { ConsumerModules, ConsumerSettings } from './consumer.ts';
import { DeliveredMessage, leaseFinder } from './delivered-message.ts';
import { isMqError, type MqError } from './errors.ts';
import type { TopicHandle } from './topic-handle.ts';
import { broker } from './transport/methods.ts';
import { targetOf } from './transport/subscription-opening.ts';
import type { UnarySettler } from './unary-settler.ts';
import type { Wanted } from './wanted.ts';
import { readDelivery } from './wire/delivery.ts';
import { recordPlace } from './wire/record-place.ts';
import type { Settlement } from './wire/subscribe-request.ts';

/** What one call to one broker may wait when there are several to ask, in milliseconds. */
const SLICE_MS = 250;
const WAIT_MS_MAX = 30_000;
const CALL_MARGIN_MS = 2000;
const AGAIN_MS = 200;

interface Source {
  readonly topic: string;
  readonly wanted: Wanted;
  readonly brokerName: string;
  readonly address: string;
}

/** What receiving needs to know. */
export interface Receiving<Value> {
  readonly settings: ConsumerSettings;
  /** Tags by topic. */
  readonly topics: ReadonlyMap<string, Wanted>;
  readonly handles: ReadonlyMap<string, TopicHandle<Value>>;
  readonly modules: ConsumerModules;
  readonly settler: UnarySettler;
  /** Which broker is asked first; grows from call to call, so that none is left out. */
  readonly turn: number;
  /** Most messages, 1 to 256. */
  readonly max: number;
  /** How long to wait for the first one, in milliseconds. */
  readonly waitMs: number;
  readonly signal: AbortSignal | undefined;
}

/**
 * Leases a batch of messages. A broker that is away is passed over; throws MqError when all are, or when the broker
 * refuses for good.
 */
export async function receiveBatch<Value>(
  receiving: Receiving<Value>,
): Promise<DeliveredMessage<Value>[]> {
  const { clock } = receiving.modules;
  const { topics, modules, signal } = receiving;
  const untilMs = clock.monotonicMs() + receiving.waitMs;
  let failures = 0;
  for (let round = 0; ; round++) {
    const leftMs = Math.max(0, untilMs - clock.monotonicMs());
    const sources = await sourcesOf(topics, modules, Math.max(1000, leftMs), signal);
    const over = (): boolean => round + 1 >= sources.length && clock.monotonicMs() >= untilMs;
    const source = sources[(receiving.turn + round) % Math.max(1, sources.length)];
    if (source === undefined) {
      if (over()) return [];
      await pause(clock, Math.min(AGAIN_MS, leftMs), signal);
      continue;
    }
    try {
      const messages = await receiveFrom(source, receiving, waitFor(round, sources.length, leftMs));
      if (messages.length > 0) return messages;
      failures = 0;
      if (over()) return messages;
    } catch (error) {
      if (!isMqError(error) || !(error as MqError).retryable) throw error;
      failures++;
      if (over()) {
        if (failures >= sources.length) throw error;
        return [];
      }
      await pause(clock, Math.min(AGAIN_MS, leftMs), signal);
    }
  }
}

/** Several brokers are asked at once whether they have something, and then waited for by turns. */
function waitFor(round: number, sources: number, leftMs: number): number {
  if (sources === 1) return Math.min(WAIT_MS_MAX, leftMs);
  return round < sources ? 0 : Math.min(SLICE_MS, leftMs);
}

async function sourcesOf(
  topics: ReadonlyMap<string, Wanted>,
  { routes }: ConsumerModules,
  deadlineMs: number,
  signal: AbortSignal | undefined,
): Promise<Source[]> {
  const sources = new Map<string, Source>();
  for (const [topic, wanted] of topics) {
    const route = await routes.find(topic, { deadlineMs, signal }).catch((error: unknown) => {
      if (isMqError(error, 'TOPIC_NOT_FOUND') && topics.size > 1) return undefined;
      throw error;
    });
    for (const { broker: brokerName, consumeAt: address } of route?.groups ?? []) {
      if (address === undefined) continue;
      sources.set(`${topic} ${brokerName}`, { topic, wanted, brokerName, address });
    }
  }
  return [...sources.values()];
}

async function receiveFrom<Value>(
  { topic, wanted, brokerName, address }: Source,
  { settings, handles, modules, settler, max, signal }: Receiving<Value>,
  waitMs: number,
): Promise<DeliveredMessage<Value>[]> {
  const { group, consumerId, leaseMs, from, ordered } = settings;
  const channel = modules.channels.get(address);
  const bytes = await channel.unaryBytes(
    broker.receive,
    {
      group,
      consumerId,
      leaseMs,
      subscription: { topic, ...wanted, from: targetOf(from) },
      messagesMax: Math.min(256, max),
      waitMs: Math.floor(waitMs),
      ...(ordered === undefined ? {} : { ordered }),
    },
    { deadlineMs: waitMs + CALL_MARGIN_MS, signal },
  );
  const settle = (settlement: Settlement): void => settler.settle(topic, channel, settlement);
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
