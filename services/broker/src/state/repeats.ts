// Which message of a topic is a repeat of another, and for how long.

import type { RepeatsDropped } from '@ternmq/proto/gen/ternmq/log/v1/log_pb';
import type { BrokerState } from './broker-state.ts';
import { type Latest, LatestUse, repeatDigest } from './latest-table.ts';
import { producerOf } from './queue-rows.ts';
import type { Topic } from './topics.ts';

/** Longest window within which repeats are known, in milliseconds. */
export const REPEAT_WINDOW_MS_MAX = 86_400_000;

/** The message that one with these bytes would repeat; undefined when it is the first of its key within the window. */
export function findRepeated(
  state: BrokerState,
  topic: Topic,
  bytes: Buffer,
  at: number,
  end: number,
  nowMs: number,
): Latest | undefined {
  const digest = repeatDigest(bytes, at, end);
  const latest = digest === undefined ? undefined : state.latest.find(topic.id, digest);
  return latest !== undefined && isRepeated(state, topic, latest, nowMs) ? latest : undefined;
}

/** Is a message with the key of this one a repeat? */
export function isRepeated(
  state: BrokerState,
  topic: Topic,
  { queueId, offset, timeMs }: Latest,
  nowMs: number,
): boolean {
  const queue = topic.queues[queueId];
  const { deduplicationWindowMs } = topic.settings;
  const within = timeMs >= topic.deduplicatedSinceMs && timeMs + deduplicationWindowMs > nowMs;
  return within && queue !== undefined && offset >= state.beginOf(queue);
}

/** May a row of LATEST still count, whatever its topic's window will be? */
export function mayCount(state: BrokerState, topicId: number, latest: Latest): boolean {
  const queue = state.topics.findById(topicId)?.queues[latest.queueId];
  if (queue === undefined) return false;
  const { use, offset, timeMs } = latest;
  if (use === LatestUse.REPEATS) {
    return timeMs + REPEAT_WINDOW_MS_MAX > state.lastTimeMs && offset >= state.beginOf(queue);
  }
  return offset >= state.beginOf(queue) || queue.relocated?.has(offset) === true;
}

/** Messages of a producer were dropped because they repeat others: their sequences are used up. */
export function applyRepeats(state: BrokerState, dropped: RepeatsDropped, timeMs: number): void {
  const { topicId, queueId, producerId, sequence, count, firstQueueId, firstOffset } = dropped;
  const queue = state.topics.findById(topicId)?.queues[queueId];
  if (queue === undefined) return;
  const first = { queueId: firstQueueId, offset: Number(firstOffset) };
  producerOf(queue, Number(producerId)).repeated(Number(sequence), count, first, timeMs);
  state.changed(queue);
}
