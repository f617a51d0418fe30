import type { BrokerDescription, TopicDescription } from '@ternmq/sdk';
import { describe, expect, test } from 'vitest';
import type { BrokerRow } from './broker-rows.ts';
import { problemsOf } from './health.ts';

const details = (of: Partial<BrokerDescription>): BrokerDescription => ({
  ...{ name: 'a', id: 0, version: '1', uptimeMs: 1, flushMode: 'sync', logStartPosition: 0 },
  ...{ writtenPosition: 0, durablePosition: 0, statePosition: 0, diskFreeBytes: 1 },
  ...{ diskTotalBytes: 1, acceptingSends: true, topics: 0, groups: 0, corruptRanges: 0 },
  ...{ leading: false, epoch: 1, inSync: [], replicas: [], masterAddress: 'a:1' },
  ...{ divergentBytes: 0, standingIn: false, ...of },
});
const member = (name: string, id: number, of: Partial<BrokerDescription>): BrokerRow => ({
  ...{ name, id, address: `${name}:${id}`, master: of.leading ?? false, suspect: false },
  standIn: of.standingIn ?? false,
  ...{ cluster: 'c', version: '1', topics: 0, silenceMs: 0, details: details(of) },
});
const leader = (name: string, inSync: number[], of: Partial<BrokerDescription> = {}) =>
  member(name, 0, { leading: true, masterAddress: '', inSync, ...of });
const topic = (name: string, broker: string, queues = 4): TopicDescription =>
  ({ name, broker, settings: { queues } }) as TopicDescription;

test('a cluster in which everybody is in sync and has every topic is healthy', () => {
  const brokers = [leader('a', [0, 1]), member('a', 1, {}), leader('b', [0])];
  expect(problemsOf(brokers, [topic('t', 'a'), topic('t', 'b'), topic('%DLQ%g', 'a')])).toEqual([]);
});

describe('what is wrong is told:', () => {
  const plants: [string, BrokerRow[], TopicDescription[], RegExp][] = [
    ['no broker', [], [], /knows no broker/],
    ['no leader', [member('a', 1, { masterAddress: '' })], [], /nobody leads/],
    ['two leaders', [leader('a', [0]), { ...leader('a', [0, 1]), id: 1 }], [], /two members lead/],
    ['a member that lags', [leader('a', [0]), member('a', 1, {})], [], /member 1 is not in sync/],
    ['a member that is lost', [leader('a', [0, 1])], [], /member 1 is waited for/],
    [
      'a member that is silent',
      [{ ...leader('a', [0]), error: 'gone' }],
      [],
      /does not answer: gone/,
    ],
    ['a suspect', [{ ...leader('a', [0]), suspect: true }], [], /is suspect/],
    ['damage', [leader('a', [0], { corruptRanges: 2 })], [], /2 damaged ranges/],
    ['refusals', [leader('a', [0], { acceptingSends: false })], [], /refuses messages/],
    [
      'a topic that is missing',
      [leader('a', [0]), leader('b', [0])],
      [topic('t', 'a')],
      /b lacks it/,
    ],
    [
      'settings that differ',
      [leader('a', [0]), leader('b', [0])],
      [topic('t', 'a'), topic('t', 'b', 8)],
      /settings differ/,
    ],
  ];
  test.each(plants)('%s', (_, brokers, topics, text) => {
    expect(problemsOf(brokers, topics).join('\n')).toMatch(text);
  });
});
