import { AssignmentStrategy } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { ManualClock, type TernError } from '@ternmq/runtime';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { HAND_OVER_MS, MEMBERS_MAX, type Member, QueueAssignment } from './queue-assignment.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

let sessions = 0;

class FakeMember implements Member {
  readonly id: string;
  readonly room = '';
  readonly address = '127.0.0.1:1';
  readonly session = ++sessions;
  /** Queues that it reads: what it was told, and what it has not let go of yet. */
  readonly reads = new Set<number>();
  granted: readonly number[] = [];
  generation = 0;
  told = 0;
  failure: TernError | undefined;

  constructor(id: string) {
    this.id = id;
  }

  assigned(generation: number, queueIds: readonly number[]): void {
    this.generation = generation;
    this.told++;
    this.granted = queueIds;
    for (const queueId of queueIds) this.reads.add(queueId);
  }

  /** Lets go of what was taken from it, and says so. */
  letGo(assignment: QueueAssignment): void {
    for (const queueId of this.reads) {
      if (!this.granted.includes(queueId)) this.reads.delete(queueId);
    }
    assignment.released(this, this.generation);
  }

  fail(error: TernError): void {
    this.failure = error;
  }
}

function rig(queues = 4): {
  clock: ManualClock;
  assignment: QueueAssignment;
  topic: { queues: number };
} {
  const clock = new ManualClock();
  const topic = { queues };
  const strategy = AssignmentStrategy.AVERAGE;
  const options = { strategy, broker: 'broker-a', queues: () => topic.queues };
  return { clock, topic, assignment: new QueueAssignment(options, clock) };
}

test('a queue is its owner’s until that has let go of it, and only its readers hear of a reset', async () => {
  const { assignment } = rig();
  const [a, b] = [new FakeMember('a'), new FakeMember('b')];
  assignment.join(a);
  await turn();
  assignment.join(b);
  await turn();
  const [leaving] = [0, 1, 2, 3].filter((queueId) => !a.granted.includes(queueId)) as [number];
  expect(assignment.has(a.session, leaving)).toBe(true);
  expect(assignment.has(b.session, leaving)).toBe(false);
  a.letGo(assignment);
  await turn();
  expect(assignment.has(a.session, leaving)).toBe(false);
  expect(assignment.has(b.session, leaving)).toBe(true);
  const before = [a.told, b.told] as const;
  assignment.progressSet([leaving]);
  expect([a.told, b.told]).toEqual([before[0], before[1] + 1]);
  expect(b.granted).toContain(leaving);
  assignment.leave(b);
  expect(assignment.has(b.session, leaving)).toBe(false);
});

describe('a queue that moves', () => {
  test('is given to its new owner when the old one has let go of it', async () => {
    const { assignment } = rig();
    const [a, b] = [new FakeMember('a'), new FakeMember('b')];
    assignment.join(a);
    await turn();
    expect(a.granted).toEqual([0, 1, 2, 3]);
    assignment.join(b);
    await turn();
    expect(a.granted).toHaveLength(2);
    expect(b.granted).toEqual([]);
    a.letGo(assignment);
    await turn();
    expect([...a.granted, ...b.granted].sort()).toEqual([0, 1, 2, 3]);
  });

  test('is given on when the old owner says nothing for the time of the hand-over, and not before', async () => {
    const { assignment, clock } = rig();
    const [a, b] = [new FakeMember('a'), new FakeMember('b')];
    assignment.join(a);
    await turn();
    assignment.join(b);
    await turn();
    clock.advance(HAND_OVER_MS - 1);
    await turn();
    expect(b.granted).toEqual([]);
    clock.advance(1);
    await turn();
    expect(b.granted).toHaveLength(2);
  });

  test('is given on at once when the old owner is out', async () => {
    const { assignment } = rig();
    const [a, b] = [new FakeMember('a'), new FakeMember('b')];
    assignment.join(a);
    await turn();
    assignment.join(b);
    await turn();
    assignment.leave(a);
    await turn();
    expect(b.granted).toEqual([0, 1, 2, 3]);
  });

  test('stays where it is for a release of an older generation', async () => {
    const { assignment } = rig();
    const [a, b] = [new FakeMember('a'), new FakeMember('b')];
    assignment.join(a);
    await turn();
    const before = a.generation;
    assignment.join(b);
    await turn();
    assignment.released(a, before);
    await turn();
    expect(b.granted).toEqual([]);
  });
});

test('queues that a topic gets later are shared, too', async () => {
  const { assignment, topic } = rig(2);
  const a = new FakeMember('a');
  assignment.join(a);
  await turn();
  topic.queues = 5;
  assignment.changed();
  await turn();
  expect(a.granted).toEqual([0, 1, 2, 3, 4]);
});

test('a member of the same id replaces the one that is in', async () => {
  const { assignment } = rig();
  const [old, next] = [new FakeMember('a'), new FakeMember('a')];
  assignment.join(old);
  await turn();
  assignment.join(next);
  await turn();
  expect(old.failure).toMatchObject({ reason: 'REPLACED' });
  expect(next.granted).toEqual([0, 1, 2, 3]);
  assignment.leave(old);
  expect(assignment.size).toBe(1);
});

test('members that have come to the limit are refused', () => {
  const { assignment } = rig();
  for (let i = 0; i < MEMBERS_MAX; i++) assignment.join(new FakeMember(`m${i}`));
  expect(() => assignment.join(new FakeMember('one more'))).toThrow('limit');
});

type Step =
  | { readonly kind: 'join' | 'leave' | 'release'; readonly id: number }
  | { readonly kind: 'grow' | 'settle' };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    kind: fc.constantFrom('join' as const, 'leave' as const, 'release' as const),
    id: fc.nat(5),
  }),
  fc.record({ kind: fc.constantFrom('grow' as const, 'settle' as const) }),
);

test('no two members that answer ever read the same queue, and in the end every queue is read', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const { assignment, topic } = rig(3);
      const members = new Map<number, FakeMember>();
      const check = (): void => {
        const all = [...members.values()].flatMap((member) => [...member.reads]);
        expect(new Set(all).size).toBe(all.length);
      };
      for (const one of steps) {
        if (one.kind === 'grow') {
          topic.queues++;
          assignment.changed();
        } else if (one.kind === 'settle') await turn();
        else if (one.kind === 'join' && !members.has(one.id)) {
          const member = new FakeMember(`m${one.id}`);
          members.set(one.id, member);
          assignment.join(member);
        } else if (one.kind === 'leave') {
          const member = members.get(one.id);
          members.delete(one.id);
          if (member !== undefined) assignment.leave(member);
        } else if (one.kind === 'release') members.get(one.id)?.letGo(assignment);
        check();
      }
      for (let i = 0; i < 3; i++) {
        await turn();
        check();
        for (const member of members.values()) member.letGo(assignment);
      }
      await turn();
      if (members.size === 0) return;
      const read = [...members.values()].flatMap((member) => [...member.reads]);
      expect(read.sort((one, other) => one - other)).toEqual(
        Array.from({ length: topic.queues }, (_, i) => i),
      );
    }),
    { numRuns: 200 },
  );
});
