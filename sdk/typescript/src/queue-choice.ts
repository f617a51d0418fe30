// Which queue a message goes to. Pure.

import type { RouteQueue } from './transport/route.ts';

/** FNV-1a, 32 bits, over the key's UTF-8 bytes: how every client finds the queue of an ordering key. */
export function keyHash(key: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(key)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

/** The queue of an ordering key: its hash modulo the number of queues, in the order of broker and number. */
export function queueOfKey(queues: readonly RouteQueue[], key: string): RouteQueue {
  return queues[keyHash(key) % queues.length] as RouteQueue;
}

/** How many priorities there are. */
const PRIORITIES = 10;

/**
 * The queue of a priority in the broker group that another queue is in: the broker delivers queues of higher numbers first.
 *
 * @param queues all queues of the topic
 */
export function queueOfPriority(
  queues: readonly RouteQueue[],
  inGroupOf: RouteQueue,
  priority: number,
): RouteQueue {
  const there = queues.filter(({ broker }) => broker === inGroupOf.broker);
  const queueId = Math.floor((priority * there.length) / PRIORITIES);
  return there.find((queue) => queue.queueId === queueId) ?? inGroupOf;
}

/**
 * The next queue by turns: one whose broker is neither suspect nor to be avoided, if there is one.
 *
 * @param turn grows from call to call
 */
export function queueOfTurn(
  queues: readonly RouteQueue[],
  turn: number,
  avoided: (queue: RouteQueue) => boolean,
): RouteQueue {
  for (let step = 0; step < queues.length; step++) {
    const queue = queues[(turn + step) % queues.length] as RouteQueue;
    if (!queue.suspect && !avoided(queue)) return queue;
  }
  const suspect = queues.filter((queue) => !avoided(queue));
  const rest = suspect.length > 0 ? suspect : queues;
  return rest[turn % rest.length] as RouteQueue;
}
