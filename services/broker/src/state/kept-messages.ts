// Which messages of a queue can still be read: all from its begin on, and in a compacted queue what is retained below.

import type { BrokerState } from './broker-state.ts';
import type { Queue } from './queue.ts';

/** Offset of the oldest message that can be read; the end when there is none. */
export function firstKept(state: BrokerState, queue: Queue): number {
  return nextKept(state, queue, 0);
}

/** Offset of the first message from an offset on that can be read; that offset itself when it is at or behind the begin. */
export function nextKept(state: BrokerState, queue: Queue, offset: number): number {
  const begin = state.beginOf(queue);
  if (offset >= begin) return offset;
  const { retained } = queue;
  const next = retained?.at(retained.indexOf(offset)) ?? begin;
  return Math.min(next, begin);
}

/** How many messages from an offset on can be read. */
export function countKept(state: BrokerState, queue: Queue, offset: number): number {
  const begin = state.beginOf(queue);
  const fromBegin = Math.max(0, queue.visibleEnd - Math.max(offset, begin));
  const { retained } = queue;
  if (retained === undefined || offset >= begin) return fromBegin;
  return fromBegin + retained.indexOf(begin) - retained.indexOf(offset);
}

/** Can the message of an offset be read? */
export function isKept(state: BrokerState, queue: Queue, offset: number): boolean {
  if (offset >= queue.visibleEnd) return false;
  return offset >= state.beginOf(queue) || queue.relocated?.has(offset) === true;
}
