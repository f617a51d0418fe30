import { AssignmentStrategy } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Candidate, ownersOf } from './strategies.ts';

const { AVERAGE, CIRCLE, CONSISTENT_HASH, MACHINE_ROOM } = AssignmentStrategy;
const ALL = [AVERAGE, CIRCLE, CONSISTENT_HASH, MACHINE_ROOM];

const room = fc.constantFrom('eu', 'us', 'eu-west');
const id = fc.string({ minLength: 1, maxLength: 12 });
const members = fc
  .uniqueArray(fc.record({ id, room }), { selector: (one) => one.id, minLength: 1, maxLength: 20 })
  .map((list): Candidate[] => list);
const shared = fc.record({
  queues: fc.integer({ min: 1, max: 100 }),
  broker: fc.constantFrom('eu-a', 'us_b', 'europe', 'eu-west-c', 'broker-a'),
});

/** How many queues each member has, also those who have none. */
function loads(list: readonly Candidate[], owners: readonly Candidate[]): number[] {
  return list.map((member) => owners.filter((owner) => owner === member).length);
}

describe.each(ALL)('strategy %i', (strategy) => {
  test('gives every queue exactly one owner, who is a member', () => {
    fc.assert(
      fc.property(members, shared, (list, what) => {
        const owners = ownersOf(strategy, list, what);
        expect(owners).toHaveLength(what.queues);
        for (const owner of owners) expect(list).toContain(owner);
      }),
    );
  });

  test('does not ask in which order members came', () => {
    fc.assert(
      fc.property(members, shared, (list, what) => {
        const owners = ownersOf(strategy, list, what);
        expect(ownersOf(strategy, list.toReversed(), what)).toEqual(owners);
      }),
    );
  });

  test('gives nobody anything when there is nobody', () => {
    expect(ownersOf(strategy, [], { queues: 4, broker: 'a' })).toEqual([]);
  });
});

test.each([AVERAGE, CIRCLE])(
  'strategy %i gives nobody more than one queue more than others',
  (strategy) => {
    fc.assert(
      fc.property(members, shared, (list, what) => {
        const counts = loads(list, ownersOf(strategy, list, what));
        expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
      }),
    );
  },
);

test('average gives each member a range of queues', () => {
  fc.assert(
    fc.property(members, shared, (list, what) => {
      const owners = ownersOf(AVERAGE, list, what);
      const changes = owners.filter((owner, i) => i === 0 || owner !== owners[i - 1]);
      expect(changes).toHaveLength(new Set(owners).size);
    }),
  );
});

test('circle deals queues like cards', () => {
  const list = ['c', 'a', 'b'].map((name) => ({ id: name, room: '' }));
  const names = ownersOf(CIRCLE, list, { queues: 7, broker: 'broker-a' }).map((one) => one.id);
  expect(names.slice(3)).toEqual(names.slice(0, 4));
  expect('abcab').toContain(names.slice(0, 3).join(''));
});

test.each([AVERAGE, CIRCLE])(
  'strategy %i gives the odd queue to others on other brokers',
  (strategy) => {
    const list = ['a', 'b', 'c'].map((name) => ({ id: name, room: '' }));
    const favoured = new Set<string>();
    for (let i = 0; i < 20; i++) {
      const owners = ownersOf(strategy, list, { queues: 1, broker: `broker-${i}` });
      favoured.add(owners[0]?.id ?? '');
    }
    expect(favoured).toEqual(new Set(['a', 'b', 'c']));
  },
);

describe('consistent hashing', () => {
  test('moves queues only to the member that comes, or from the one that leaves', () => {
    fc.assert(
      fc.property(members, shared, (list, what) => {
        const [last, ...rest] = list.toReversed() as [Candidate, ...Candidate[]];
        const before = ownersOf(CONSISTENT_HASH, rest, what);
        const after = ownersOf(CONSISTENT_HASH, list, what);
        for (const [queueId, owner] of before.entries()) {
          if (after[queueId] !== last) expect(after[queueId]).toBe(owner);
        }
      }),
    );
  });

  test('keeps the loads of many queues near each other', () => {
    const list = Array.from({ length: 8 }, (_, i) => ({ id: `host-${i}`, room: '' }));
    const counts = loads(
      list,
      ownersOf(CONSISTENT_HASH, list, { queues: 1024, broker: 'broker-a' }),
    );
    expect(Math.max(...counts)).toBeLessThan(2 * (1024 / 8));
    expect(Math.min(...counts)).toBeGreaterThan(0.4 * (1024 / 8));
  });
});

describe('the machine room', () => {
  const list = [
    { id: 'a', room: 'eu' },
    { id: 'b', room: 'eu' },
    { id: 'c', room: 'us' },
  ];
  const owners = (broker: string): Set<string> =>
    new Set(ownersOf(MACHINE_ROOM, list, { queues: 8, broker }).map((one) => one.id));

  test('keeps queues among the members in it', () => {
    expect(owners('eu-1')).toEqual(new Set(['a', 'b']));
    expect(owners('us_1')).toEqual(new Set(['c']));
    expect(owners('us')).toEqual(new Set(['c']));
  });

  test('that is empty of members has its queues shared by all', () => {
    expect(owners('asia-1')).toEqual(new Set(['a', 'b', 'c']));
  });

  test('is a whole word of the name: europe-1 is not in eu', () => {
    expect(owners('europe-1')).toEqual(new Set(['a', 'b', 'c']));
  });
});
