import { describe, expect, test } from 'vitest';
import { Findings, faultsFound } from './report.ts';
import { TOPIC_FAULTS, type TopicEvent, type TopicFault, TopicHistory } from './topic-history.ts';

const MESSAGES = 20;

const ids = Array.from({ length: MESSAGES }, (_, id) => id);
const sighting = (id: number) => ({
  id,
  digest: id * 7,
  queue: id % 3,
  offset: Math.floor(id / 3),
  storeMs: 1000 + id,
});
const received = (id: number): TopicEvent => ({
  kind: 'received',
  atMs: 2000,
  attempt: 1,
  ...sighting(id),
});
const settled = (id: number): TopicEvent => ({ kind: 'settled', ...sighting(id) });
const stored = (id: number): TopicEvent => ({ kind: 'stored', ...sighting(id) });

/** Every message is delivered, some twice, acknowledged, and found in the end. */
const healthy = [
  ...ids.flatMap((id) => [received(id), ...(id % 4 === 0 ? [received(id)] : []), settled(id)]),
  ...ids.map(stored),
];

function judge(events: readonly TopicEvent[]): TopicFault[] {
  const findings = new Findings<TopicFault>(TOPIC_FAULTS);
  const history = new TopicHistory(findings);
  for (const id of ids) history.intended(id, id * 7);
  for (const event of events) history.apply(event);
  history.check();
  return faultsFound({ faults: findings.byKind, counts: {}, timeline: [] });
}

/** Changes the sightings of one message, for whoever sees it. */
function changed(id: number, change: object): TopicEvent[] {
  return healthy.map((event) =>
    (event.kind === 'received' || event.kind === 'stored') && event.id === id
      ? { ...event, ...change }
      : event,
  );
}

describe('the history of a topic', () => {
  test('is healthy when every message is stored once and delivered at least once', () => {
    expect(judge(healthy)).toEqual([]);
  });

  test.each<[what: string, fault: TopicFault, events: (id: number) => readonly TopicEvent[]]>([
    [
      'a stored message that never came',
      'lost',
      (id) => healthy.filter((event) => event.kind !== 'received' || event.id !== id),
    ],
    [
      'a message that came and is not in the topic',
      'lost',
      (id) => healthy.filter((event) => event.kind !== 'stored' || event.id !== id),
    ],
    [
      'a message that is stored at a second offset',
      'duplicated',
      (id) => [...healthy, { kind: 'stored', ...sighting(id), offset: 100 }],
    ],
    [
      'a message that came from another place than it has',
      'duplicated',
      (id) => [received(id), ...changed(id, { offset: 100 }), stored(id)],
    ],
    [
      'a delivery after the confirmed acknowledgement',
      'redelivered',
      (id) => [...healthy, received(id)],
    ],
    ['a message that nobody sent', 'unexpected', (id) => changed(id, { id: MESSAGES })],
    ['a message with another body', 'altered', (id) => changed(id, { digest: 1 })],
  ])('finds %s', (_what, fault, plant) => {
    for (const id of ids) expect(judge(plant(id)), `planted at ${id}`).toContain(fault);
  });
});
