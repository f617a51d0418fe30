// How the members of one group share the queues of one topic. A queue that moves is taken from its old owner first:
//
//   free -> granted -> leaving -> free
//
//   free -> granted      the member is told its new list of queues
//   granted -> leaving   the member is told a list without the queue, and the generation of that list
//   leaving -> free      it has released that generation, or HAND_OVER_MS have passed, or it is out
//
// A queue is granted to one member at most, and to nobody while it is leaving another.

import type { AssignmentStrategy } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import type { Clock } from '@ternmq/runtime';
import { TernError } from '@ternmq/runtime';
import { type Candidate, ownersOf } from './strategies.ts';

/** How long a member may take to let go of queues, in milliseconds. */
export const HAND_OVER_MS = 3000;
/** Most members of one group in one topic. */
export const MEMBERS_MAX = 1024;

/** Who shares queues. */
export interface Member extends Candidate {
  /** Where it is connected from: `host:port`. */
  readonly address: string;
  /** Names its stream; chosen at random, above 0. */
  readonly session: number;
  /** Tells it the queues that it may read from now on, and no others. */
  assigned(generation: number, queueIds: readonly number[]): void;
  /** It is out. */
  fail(error: TernError): void;
}

interface Seat {
  readonly member: Member;
  readonly granted: Set<number>;
  /** Queues that it was told to let go of, each with the generation that told it. */
  readonly leaving: Map<number, number>;
  /** It was told its queues once. */
  told: boolean;
}

/** The members of one group in one topic. */
export class QueueAssignment {
  readonly strategy: AssignmentStrategy;
  readonly #broker: string;
  readonly #queues: () => number;
  readonly #clock: Clock;
  readonly #seats = new Map<string, Seat>();
  /** Who has a queue, granted or leaving. */
  readonly #holders = new Map<number, Seat>();
  #generation = 0;
  #scheduled = false;

  /** @param options.queues the number of queues that the topic has now */
  constructor(
    options: { strategy: AssignmentStrategy; broker: string; queues: () => number },
    clock: Clock,
  ) {
    this.strategy = options.strategy;
    this.#broker = options.broker;
    this.#queues = options.queues;
    this.#clock = clock;
  }

  /** Everybody who is in, with the queues that they may read. */
  *members(): Iterable<{ member: Member; queueIds: number[] }> {
    for (const { member, granted } of this.#seats.values()) {
      yield { member, queueIds: [...granted].sort((one, other) => one - other) };
    }
  }

  /** Number of members that are in. */
  get size(): number {
    return this.#seats.size;
  }

  /** Lets a member in; one of the same id is put out. Throws RESOURCE_EXHAUSTED (TOO_MANY_MEMBERS). */
  join(member: Member): void {
    const older = this.#seats.get(member.id);
    if (older !== undefined) {
      this.leave(older.member);
      older.member.fail(replaced(member.id));
    }
    if (this.#seats.size >= MEMBERS_MAX) {
      throw new TernError(
        'RESOURCE_EXHAUSTED',
        'TOO_MANY_MEMBERS',
        `${MEMBERS_MAX} members share the topic's queues in this group, which is the limit; use another group`,
      );
    }
    const seat = { member, granted: new Set<number>(), leaving: new Map(), told: false };
    this.#seats.set(member.id, seat);
    this.changed();
  }

  /** A member is out; what it had is free at once. */
  leave(member: Member): void {
    const seat = this.#seats.get(member.id);
    if (seat?.member !== member) return;
    this.#seats.delete(member.id);
    for (const queueId of [...seat.granted, ...seat.leaving.keys()]) this.#holders.delete(queueId);
    seat.leaving.clear();
    this.changed();
  }

  /** A member has let go of what was taken from it up to a generation. */
  released(member: Member, generation: number): void {
    const seat = this.#seats.get(member.id);
    if (seat?.member === member) this.#free(seat, generation);
  }

  /** Does a stream have a queue, granted or leaving? */
  has(session: number, queueId: number): boolean {
    return this.#holders.get(queueId)?.member.session === session;
  }

  /** Somebody else than a member has set the group's progress in queues: those who read them are told. */
  progressSet(queueIds: readonly number[]): void {
    for (const seat of this.#seats.values()) {
      if (queueIds.some((queueId) => seat.granted.has(queueId))) this.#tell(seat);
    }
  }

  /** Members or queues have changed: they are shared anew at the end of the turn, once for all changes in it. */
  changed(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#clock.defer(() => {
      this.#scheduled = false;
      this.#share();
    });
  }

  #share(): void {
    const generation = ++this.#generation;
    const candidates = [...this.#seats.values()].map((seat) => ({
      id: seat.member.id,
      room: seat.member.room,
      seat,
    }));
    const shared = { queues: this.#queues(), broker: this.#broker };
    const owners = ownersOf(this.strategy, candidates, shared);
    const touched = new Set(
      candidates.filter(({ seat }) => !seat.told).map((candidate) => candidate.seat),
    );
    for (const [queueId, { seat }] of owners.entries()) {
      const holder = this.#holders.get(queueId);
      if (holder === undefined) {
        this.#holders.set(queueId, seat);
        seat.granted.add(queueId);
        touched.add(seat);
      } else if (holder !== seat && holder.granted.delete(queueId)) {
        holder.leaving.set(queueId, generation);
        touched.add(holder);
      }
    }
    for (const seat of touched) {
      seat.told = true;
      this.#tell(seat);
      this.#limitHandOver(seat, generation);
    }
  }

  /** Everything that was taken up to this generation was told before. */
  #tell(seat: Seat): void {
    const queueIds = [...seat.granted].sort((one, other) => one - other);
    seat.member.assigned(this.#generation, queueIds);
  }

  #limitHandOver(seat: Seat, generation: number): void {
    const takes = [...seat.leaving.values()].includes(generation);
    if (takes) this.#clock.setTimer(HAND_OVER_MS, () => this.#free(seat, generation));
  }

  #free(seat: Seat, generation: number): void {
    let freed = false;
    for (const [queueId, since] of seat.leaving) {
      if (since > generation) continue;
      seat.leaving.delete(queueId);
      this.#holders.delete(queueId);
      freed = true;
    }
    if (freed) this.changed();
  }
}

function replaced(id: string): TernError {
  return new TernError(
    'ABORTED',
    'REPLACED',
    `another stream of consumer ${id} has taken over; give each consumer an id of its own`,
  );
}
