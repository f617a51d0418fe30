// What ordering keys are spread over: all queues that a topic was seen to have. A broker group that its route no longer
// names keeps its place, so that no key moves to another queue because a broker is away. Pure.

import type { RouteQueue } from './transport/route.ts';

/**
 * The queues that the route names now, and those of broker groups that it named before and does not now, by broker and
 * number. What a group has now counts, also when it had more queues before.
 */
export function queuePlaces(
  before: readonly RouteQueue[],
  now: readonly RouteQueue[],
): readonly RouteQueue[] {
  const named = new Set(now.map(({ broker }) => broker));
  const away = before.filter(({ broker }) => !named.has(broker));
  if (away.length === 0) return now;
  return [...away, ...now].sort((one, other) =>
    one.broker === other.broker ? one.queueId - other.queueId : one.broker < other.broker ? -1 : 1,
  );
}
