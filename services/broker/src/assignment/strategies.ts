// Who gets which queue. Pure: the same members, number of queues and broker always give the same owners, in whatever
// order members came.
//
// Every broker shares its own queues without knowing of the others. So that it is not the same members everywhere who
// get one queue more, the members are gone through from a place that the broker's name decides.

import { AssignmentStrategy } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { fnv1a } from '../state/message-tag.ts';

/** Places of each member on the ring of consistent hashing; the more, the more even the loads. */
const POINTS_PER_MEMBER = 64;

const NAMES = new Map<number, string>(
  Object.entries(AssignmentStrategy).map(([name, value]) => [value, name]),
);

/** The name of a strategy; undefined when there is none of that number. */
export function strategyName(strategy: AssignmentStrategy): string | undefined {
  return NAMES.get(strategy);
}

/** Who may get queues. */
export interface Candidate {
  /** Unique among the members. */
  readonly id: string;
  /** The machine room that it is in; empty when it did not say. */
  readonly room: string;
}

/** What is shared. */
export interface SharedQueues {
  /** Number of queues of the topic on the broker; their ids count from 0. */
  readonly queues: number;
  /** Name of the broker. */
  readonly broker: string;
}

/** The owner of each queue, by queue id; nobody when there are no members. */
export function ownersOf<Member extends Candidate>(
  strategy: AssignmentStrategy,
  members: Iterable<Member>,
  shared: SharedQueues,
): Member[] {
  const sorted = [...members].sort((one, other) => (one.id < other.id ? -1 : 1));
  if (sorted.length === 0) return [];
  switch (strategy) {
    case AssignmentStrategy.CIRCLE:
      return circle(sorted, shared);
    case AssignmentStrategy.CONSISTENT_HASH:
      return consistentHash(sorted, shared);
    case AssignmentStrategy.MACHINE_ROOM:
      return machineRoom(sorted, shared);
    default:
      return average(sorted, shared);
  }
}

/** Contiguous ranges. */
function average<Member>(members: readonly Member[], { queues, broker }: SharedQueues): Member[] {
  const turned = turn(members, broker);
  const least = Math.floor(queues / turned.length);
  const larger = queues % turned.length;
  return turned.flatMap((member, i) =>
    Array.from({ length: least + (i < larger ? 1 : 0) }, () => member),
  );
}

/** Dealt like cards. */
function circle<Member>(members: readonly Member[], { queues, broker }: SharedQueues): Member[] {
  const turned = turn(members, broker);
  return Array.from({ length: queues }, (_, i) => turned[i % turned.length] as Member);
}

/** A queue belongs to the member whose point on the ring comes next. */
function consistentHash<Member extends Candidate>(
  members: readonly Member[],
  { queues, broker }: SharedQueues,
): Member[] {
  const ring = members
    .flatMap((member) => {
      const seed = hash(member.id);
      return Array.from({ length: POINTS_PER_MEMBER }, (_, i) => ({
        point: mix(seed + Math.imul(i, 0x9e3779b9)),
        member,
      }));
    })
    // Sorting keeps the order of the members where points are the same.
    .sort((one, other) => one.point - other.point);
  return Array.from({ length: queues }, (_, queueId) => {
    const point = hash(`${broker} ${queueId}`);
    let low = 0;
    let high = ring.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((ring[middle]?.point ?? 0) < point) low = middle + 1;
      else high = middle;
    }
    return (ring[low % ring.length] as { member: Member }).member;
  });
}

/** Those in the broker's room; a broker in whose room nobody is belongs to all. */
function machineRoom<Member extends Candidate>(
  members: readonly Member[],
  shared: SharedQueues,
): Member[] {
  const near = members.filter(({ room }) => isIn(room, shared.broker));
  return average(near.length > 0 ? near : members, shared);
}

/** Is the broker in the room? Its name then is the room's, or begins with the room's and `-` or `_`. */
function isIn(room: string, broker: string): boolean {
  if (room === '' || !broker.startsWith(room)) return false;
  return broker.length === room.length || '-_'.includes(broker[room.length] as string);
}

function turn<Member>(members: readonly Member[], broker: string): Member[] {
  const start = hash(broker) % members.length;
  return [...members.slice(start), ...members.slice(0, start)];
}

function hash(text: string): number {
  const bytes = Buffer.from(text);
  return mix(fnv1a(bytes, 0, bytes.length));
}

/** The end of MurmurHash3: every bit of the result depends on all of the input. */
function mix(input: number): number {
  let bits = Math.imul(input ^ (input >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return (bits ^ (bits >>> 16)) >>> 0;
}
