// Sends delayed messages, and takes some of them back.

import { setTimeout as sleep } from 'node:timers/promises';
import type { Random } from '@ternmq/runtime';
import { type Client, isMqError, type Producer, type Receipt } from '@ternmq/sdk';
import type { DelayedEvent } from './delayed-checker.ts';
import { bodyOf, digestOf } from './message-body.ts';

const BODY_BYTES = 128;
const PAUSE_MS = 4;
const UNDER_WAY_MAX = 512;
const SEND_MS_MAX = 60_000;
const DELAY_MS_MIN = 100;
/** One message of so many is recalled. */
const RECALLED_ONE_IN = 6;
const RECALL_TRIES = 6;
const RECALL_MS_MAX = 5000;
const RECALL_PAUSE_MS = 300;

/** What sending delayed messages needs. */
export interface DelayedLoad {
  readonly client: Client;
  readonly topic: string;
  /** Longest delay, in milliseconds. */
  readonly delayMsMax: number;
  readonly random: Random;
  readonly tell: (event: DelayedEvent) => void;
  /** Tells it to finish. */
  readonly signal: AbortSignal;
}

/** Sends until it is told to finish; resolves when every message has its outcome. */
export async function sendDelayed(load: DelayedLoad): Promise<void> {
  const { random, tell, signal } = load;
  const producer = load.client.producer();
  const underWay = new Set<Promise<void>>();
  for (let id = 0; !signal.aborted; id++) {
    const body = bodyOf({ producer: 0, id }, BODY_BYTES);
    const delay = DELAY_MS_MIN + random.integer(load.delayMsMax - DELAY_MS_MIN);
    const dueMs = Date.now() + delay;
    const when = random.integer(2) === 0 ? { delay } : { deliverAt: new Date(dueMs) };
    const recalled = random.integer(RECALLED_ONE_IN) === 0;
    // Some come too late.
    const recallMs = random.integer(Math.ceil(delay * 1.2));
    tell({ kind: 'intent', id, digest: digestOf(body), dueMs });
    const stored = async ({ messageId }: Receipt): Promise<void> => {
      tell({ kind: 'ack', id });
      if (!recalled) return;
      await sleep(recallMs, undefined, { signal }).catch(() => {});
      if (!signal.aborted) await recall(producer, id, messageId, tell);
    };
    const sent: Promise<void> = producer
      .send(load.topic, { body, ...when }, { deadlineMs: SEND_MS_MAX })
      .then(stored)
      .catch((error: unknown) => console.error(`delayed message ${id}: ${error}`))
      .finally(() => underWay.delete(sent));
    underWay.add(sent);
    if (underWay.size >= UNDER_WAY_MAX) await Promise.race(underWay);
    await sleep(PAUSE_MS);
  }
  await Promise.all(underWay);
}

async function recall(
  producer: Producer,
  id: number,
  messageId: string,
  tell: DelayedLoad['tell'],
): Promise<void> {
  for (let tries = 0; tries < RECALL_TRIES; tries++) {
    tell({ kind: 'recalling', id });
    try {
      await producer.recall(messageId, { deadlineMs: RECALL_MS_MAX });
      tell({ kind: 'recalled', id });
      return;
    } catch (error) {
      if (isMqError(error, 'NOT_WAITING')) {
        tell({ kind: 'recallRefused', id });
        return;
      }
      if (!isMqError(error) || !error.retryable) throw error;
      await sleep(RECALL_PAUSE_MS);
    }
  }
}
