import { expect, test } from 'vitest';
import { queuePlaces } from './queue-places.ts';
import type { RouteQueue } from './transport/route.ts';

const queues = (broker: string, count: number, address = `${broker}:1`): RouteQueue[] =>
  Array.from({ length: count }, (_, queueId) => ({ broker, queueId, address, suspect: false }));

test('a broker group that the route no longer names keeps its place among the others', () => {
  const before = [...queues('a', 1), ...queues('b', 2), ...queues('c', 1)];
  const now = [...queues('a', 1), ...queues('c', 1)];
  expect(queuePlaces(before, now)).toEqual(before);
});

test('a broker group that comes, comes back elsewhere or gets more queues is taken as it is', () => {
  const before = [...queues('a', 1), ...queues('b', 2)];
  const now = [...queues('a', 3), ...queues('aa', 1), ...queues('b', 2, 'b:2')];
  expect(queuePlaces(before, now)).toEqual(now);
});

test('a topic that was created anew with fewer queues has those', () => {
  expect(queuePlaces(queues('a', 4), queues('a', 1))).toEqual(queues('a', 1));
});

test('a route that names none leaves all places', () => {
  expect(queuePlaces(queues('a', 2), [])).toEqual(queues('a', 2));
});
