import { expect, test } from 'vitest';
import { repairsOf } from './repair.ts';
import type { GroupDescription, TopicDescription } from './transport/descriptions.ts';

function topic(broker: string, createdMs: number, settings: object = {}): TopicDescription {
  const all = {
    queues: 4,
    retentionMs: 0,
    retentionBytes: 0,
    kind: 'any' as const,
    deduplicationWindowMs: 0,
    compacted: false,
    acknowledgement: 'group' as const,
  };
  return { name: 't', broker, topicId: 1, createdMs, settings: { ...all, ...settings } };
}

function group(broker: string, createdMs: number, leaseMs: number): GroupDescription {
  return { name: 'g', broker, createdMs, settings: { leaseMs } } as GroupDescription;
}

test('what is alike everywhere needs nothing', () => {
  expect(repairsOf(['a', 'b'], [topic('a', 1), topic('b', 2)], [])).toEqual([]);
});

test('what a broker group lacks is created there, with the settings of the others', () => {
  const steps = repairsOf(['a', 'b'], [topic('a', 1, { queues: 9 })], [group('b', 1, 500)]);
  expect(steps).toMatchObject([
    { what: 'topic', name: 't', broker: 'b', action: 'create', settings: { queues: 9 } },
    { what: 'group', name: 'g', broker: 'a', action: 'create', settings: { leaseMs: 500 } },
  ]);
});

test('of settings that differ the oldest are right, or those of the broker group that is named', () => {
  const groups = [group('a', 2, 500), group('b', 1, 700)];
  expect(repairsOf(['a', 'b'], [], groups)).toMatchObject([
    { broker: 'a', action: 'update', settings: { leaseMs: 700 } },
  ]);
  expect(repairsOf(['a', 'b'], [], groups, 'a')).toMatchObject([
    { broker: 'b', action: 'update', settings: { leaseMs: 500 } },
  ]);
});

test('a topic gets the most queues, and what only one of its owners says', () => {
  const topics = [topic('a', 1, { queues: 4 }), topic('b', 2, { queues: 8, retentionMs: 1000 })];
  const settings = { queues: 8, retentionMs: 1000 };
  expect(repairsOf(['a', 'b'], topics, [])).toMatchObject([{ broker: 'a', settings }]);
});

test("the brokers' own topics are left to them", () => {
  expect(repairsOf(['a', 'b'], [{ ...topic('a', 1), name: '%DLQ%g' }], [])).toEqual([]);
});
