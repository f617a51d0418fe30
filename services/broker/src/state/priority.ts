// Priorities are queues: a topic of the kind PRIORITY keeps more urgent messages in queues of higher numbers.

import { TopicKind } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import type { TopicSettings } from './topics.ts';

/** How many priorities there are, and so the most queues of such a topic. */
export const PRIORITIES = 10;

/** The queue of messages of a priority, 0 (least urgent) to 9. */
export function queueOfPriority(priority: number, queues: number): number {
  return Math.floor((priority * queues) / PRIORITIES);
}

/** Do queues of higher numbers come first? */
export function isByPriority({ kind }: TopicSettings): boolean {
  return kind === TopicKind.PRIORITY;
}
