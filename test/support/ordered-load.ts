// Sends messages with ordering keys, and consumes them as members of an ordered group that fail, come and go.

import { setTimeout as sleep } from 'node:timers/promises';
import type { Random } from '@ternmq/runtime';
import { type Client, type Consumer, RetryAfter } from '@ternmq/sdk';
import type { BrokerClient } from './broker-client.ts';
import { bodyOf, digestOf } from './message-body.ts';
import type { OrderedEvent } from './ordered-checker.ts';
import { SettlingReader } from './settling-reader.ts';
import { deliveredSighting, sightingOf } from './sighting.ts';

const BODY_BYTES = 128;
const KEYS = 40;
const PAUSE_MS = 3;
const UNDER_WAY_MAX = 512;
const SEND_MS_MAX = 60_000;
const MEMBERS = 2;
const PREFETCH = { messages: 64 };
const CONCURRENCY = 8;
const WORK_MS_MAX = 20;
/** One handler of so many works for so long that the broker is away and back meanwhile. */
const SLOW_ONE_IN = 100;
const SLOW_MS_MAX = 2500;
/** One delivery of so many fails. */
const FAILURE_ONE_IN = 40;
const RETRY_MS_MAX = 100;
/** Members come and go after at most so long. */
const STAY_MS_MAX = 3000;
/** Most messages at a time that are settled by single calls, so that members on streams have their share. */
const BATCH_MESSAGES = 32;

/** How long members of the group lease a message, in milliseconds. */
export const ORDERED_LEASE_MS = 4000;
/** With less left of a lease than a handler takes and this, the message may be another member's before it ends. */
const LEASE_LEFT_MS_MIN = 1000;

type Tell = (event: OrderedEvent) => void;

/** What sending and consuming ordered messages needs. */
export interface OrderedLoad {
  readonly client: Client;
  readonly topic: string;
  readonly random: Random;
  readonly tell: Tell;
  /** Tells it to finish. */
  readonly signal: AbortSignal;
}

/** Sends until it is told to finish; resolves when every message has its outcome. */
export async function sendOrdered({
  client,
  topic,
  random,
  tell,
  signal,
}: OrderedLoad): Promise<void> {
  const producer = client.producer();
  const underWay = new Set<Promise<void>>();
  for (let id = 0; !signal.aborted; id++) {
    const body = bodyOf({ producer: 0, id }, BODY_BYTES);
    const key = random.integer(KEYS);
    tell({ kind: 'intent', id, digest: digestOf(body), key });
    const sent: Promise<void> = producer
      .send(topic, { body, orderingKey: `key ${key}` }, { deadlineMs: SEND_MS_MAX })
      .then(() => tell({ kind: 'ack', id }))
      .catch((error: unknown) => console.error(`ordered message ${id}: ${error}`))
      .finally(() => underWay.delete(sent));
    underWay.add(sent);
    if (underWay.size >= UNDER_WAY_MAX) await Promise.race(underWay);
    if (id % 2 === 0) await sleep(PAUSE_MS);
  }
  await Promise.all(underWay);
}

/** Consumes until it is told to finish; resolves when nothing more will be told. */
export async function consumeOrdered(
  { client, topic, random, tell, signal }: OrderedLoad,
  broker: BrokerClient,
  group: string,
): Promise<void> {
  const fails = (): boolean => random.integer(FAILURE_ONE_IN) === 0;
  const join = (): Consumer => {
    const consumer = client.consumer(group, {
      from: 'first',
      ordered: true,
      leaseMs: ORDERED_LEASE_MS,
      prefetch: PREFETCH,
      concurrency: CONCURRENCY,
    });
    const run = consumer.subscribe(topic).run(async (message) => {
      const slow = random.integer(SLOW_ONE_IN) === 0;
      const workMs = random.integer(slow ? SLOW_MS_MAX : WORK_MS_MAX);
      const leftMs = message.leaseDeadlineMs - Date.now();
      if (leftMs < workMs + LEASE_LEFT_MS_MIN) throw new RetryAfter(1);
      const { attempt } = message;
      const sighting = deliveredSighting(message);
      tell({ kind: 'received', atMs: Date.now(), attempt, ...sighting });
      await sleep(workMs);
      const { id } = sighting;
      if (fails()) {
        tell({ kind: 'failed', id });
        throw new RetryAfter(random.integer(RETRY_MS_MAX));
      }
      tell({ kind: 'handled', id });
    });
    // A refused subscription ends the process with an error.
    run.ended.catch((error: unknown) => {
      console.error(error);
      process.exit(1);
    });
    return consumer;
  };
  await using _reader = new SettlingReader(broker, {
    group,
    topic,
    ordered: true,
    messagesMax: BATCH_MESSAGES,
    received: (message, attempt) => {
      const sighting = sightingOf(message);
      const { id } = sighting;
      tell({ kind: 'received', atMs: Date.now(), attempt, ...sighting });
      const done = !fails();
      tell({ kind: done ? 'handled' : 'failed', id });
      return done;
    },
    settled: (queue, offset) => tell({ kind: 'settled', queue, offset }),
  });
  const members = Array.from({ length: MEMBERS }, join);
  while (!signal.aborted) {
    await sleep(random.integer(STAY_MS_MAX), undefined, { signal }).catch(() => {});
    if (signal.aborted) break;
    members.push(join());
    await members.splice(random.integer(MEMBERS), 1)[0]?.close();
  }
  await Promise.all(members.map((member) => member.close()));
}
