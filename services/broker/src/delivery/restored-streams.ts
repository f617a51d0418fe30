// Whose streams were open before the broker was restarted, by what is still leased to them.

import type { Group, TopicProgress } from '../state/groups.ts';

/**
 * The consumers of a group that have leases which end with their streams, and what they read.
 *
 * @param watch told of every queue in which something is leased or waits
 */
export function restoredStreams(
  group: Group,
  watch: (progress: TopicProgress, queueId: number) => void,
): Map<string, TopicProgress[]> {
  const restored = new Map<string, TopicProgress[]>();
  for (const progress of group.progress.values()) {
    const consumers = new Set<string>();
    for (const [queueId, queue] of progress.queues.entries()) {
      if (queue === undefined || queue.inFlight + queue.waitingForRetry === 0) continue;
      watch(progress, queueId);
      for (const consumerId of queue.streamingConsumers()) consumers.add(consumerId);
    }
    for (const consumerId of consumers) {
      restored.set(consumerId, [...(restored.get(consumerId) ?? []), progress]);
    }
  }
  return restored;
}
