// The slaves of a broker that leads: sends them the log, and says up to where it is safe.
//
// Invariants: the confirmed position is durable on every member of the in-sync set, and never advances while the set is
// smaller than the minimum, or behind the end of this broker's lease. A member leaves the set only when the coordinator
// has agreed; until then everything waits for it.

import type { Clock, Logger, Timer } from '@ternmq/runtime';
import { TernError } from '@ternmq/runtime';
import type { Coordinator } from '../coordination/coordinator.ts';
import type { CommitLog } from '../log/commit-log.ts';
import type { RunReader } from '../log/run-reader.ts';
import type { BrokerState } from '../state/broker-state.ts';
import { commonPosition, type LogShape } from './common-position.ts';
import { InSyncSet, type LagLimits, type ReplicaState, sameSet } from './in-sync-set.ts';
import { type ReplicaChannel, ReplicaFeed } from './replica-feed.ts';

const TICK_MS = 100;
/** Longest time until slaves are told what is confirmed, when nothing else is sent to them. */
const TELL_MS = 20;
const SIGN_OF_LIFE_MS = 1000;

const HAND_OVER_MS_MAX = 5000;
const HAND_OVER_LOOK_MS = 2;
const HANDED_OVER: Refusal = {
  reason: 'NOT_MASTER',
  message: 'another member of the broker group is about to lead; try again',
};
const TOO_FEW: Refusal = {
  reason: 'NOT_ENOUGH_REPLICAS',
  message:
    'too few members of the broker group are in sync to keep a message safe; start the missing ones, sending resumes by itself',
};

/** Why messages are refused: a stable reason and a sentence. */
export interface Refusal {
  readonly reason: string;
  readonly message: string;
}

/** What is asked of a group. */
export interface ReplicasOptions {
  readonly selfId: number;
  readonly epoch: number;
  /** Acknowledgements wait for the in-sync set, and nothing is visible before. */
  readonly waits: boolean;
  /** Smallest set that acknowledges anything. */
  readonly min: () => number;
  readonly limits: LagLimits;
}

/** Where a slave goes on. */
export interface FollowFrom {
  readonly common: number | undefined;
  readonly master: LogShape;
}

/** A slave that is connected. */
export interface AttachedReplica {
  readonly from: FollowFrom;
  readonly feed: ReplicaFeed;
  /** It has made its log durable up to a position. */
  acknowledged(durable: number): void;
  /** Its stream has ended. */
  detached(): void;
}

/** The slaves of a master. */
export class Replicas {
  readonly #options: ReplicasOptions;
  readonly #log: CommitLog;
  readonly #state: BrokerState;
  readonly #coordinator: Pick<Coordinator, 'setInSync' | 'leadsUntilMs'>;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #advanced: () => void;
  readonly #runs: RunReader;
  readonly #set: InSyncSet;
  readonly #feeds = new Map<number, ReplicaFeed>();
  /** Where clients reach the slaves that were ever connected. */
  readonly #addresses = new Map<number, string>();
  readonly #timers: Timer[];
  #telling: Timer | undefined;
  #change: { readonly from: readonly number[]; readonly to: readonly number[] } | undefined;
  #asking = false;
  /** Messages are not taken: another member is about to lead. */
  #handingOver = false;
  /** As `kept`, in a group that does not wait for it. */
  #kept = 0;
  #closed: Error | undefined;

  constructor(
    options: ReplicasOptions,
    inSync: readonly number[],
    modules: {
      log: CommitLog;
      state: BrokerState;
      coordinator: Pick<Coordinator, 'setInSync' | 'leadsUntilMs'>;
      clock: Clock;
      logger: Logger;
      /** In a group that does not wait for the in-sync set: that may have more, though the log has not. */
      advanced: () => void;
    },
  ) {
    this.#options = options;
    this.#log = modules.log;
    this.#state = modules.state;
    this.#coordinator = modules.coordinator;
    this.#clock = modules.clock;
    this.#logger = modules.logger;
    this.#advanced = modules.advanced;
    this.#runs = modules.log.runs();
    this.#set = new InSyncSet(options.selfId, inSync, options.limits, this.#clock.monotonicMs());
    this.#timers = [
      this.#clock.every(TICK_MS, () => this.#tick()),
      this.#clock.every(SIGN_OF_LIFE_MS, () => {
        for (const feed of this.#feeds.values()) feed.tellConfirmed(true);
      }),
    ];
  }

  /** How all replicas stand. */
  states(): ReplicaState[] {
    return this.#set.replicas();
  }

  /** Members of the in-sync set. */
  get inSync(): readonly number[] {
    return this.#set.members;
  }

  /** Are there enough members in sync to acknowledge anything? */
  get enough(): boolean {
    return this.#set.members.length >= this.#options.min();
  }

  /**
   * Takes no more messages, and waits until a member has everything, to lead instead; returns its number. When it throws,
   * messages are taken again. Throws FAILED_PRECONDITION (NOT_IN_SYNC), UNAVAILABLE (NOT_CAUGHT_UP).
   */
  async handOver(to: number | undefined): Promise<number> {
    const able = this.#set
      .replicas()
      .filter(({ id, connected, inSync }) => connected && inSync && (to === undefined || id === to))
      .sort((a, b) => b.durable - a.durable);
    const [chosen] = able;
    if (chosen === undefined) throw notInSync(to, this.#set.members);
    this.#handingOver = true;
    try {
      const untilMs = this.#clock.monotonicMs() + HAND_OVER_MS_MAX;
      for (;;) {
        const end = this.#log.next;
        const durable = this.#set.replicas().find(({ id }) => id === chosen.id)?.durable ?? 0;
        if (durable >= end && this.#log.visible >= end) return chosen.id;
        if (this.#clock.monotonicMs() >= untilMs) throw notCaughtUp(chosen.id);
        await this.#clock.sleep(HAND_OVER_LOOK_MS);
      }
    } catch (error) {
      this.#handingOver = false;
      throw error;
    }
  }

  /** Takes a slave that is gone out of the set. Throws FAILED_PRECONDITION (REPLICA_CONNECTED), NOT_FOUND (NOT_IN_SYNC). */
  async remove(id: number): Promise<readonly number[]> {
    const from = this.#set.members;
    if (!from.includes(id) || id === this.#options.selfId) {
      throw new TernError(
        'NOT_FOUND',
        'NOT_IN_SYNC',
        `member ${id} is no slave that is in sync; these are: ${from.join(', ')}`,
      );
    }
    if (this.#feeds.has(id)) {
      throw new TernError(
        'FAILED_PRECONDITION',
        'REPLICA_CONNECTED',
        `member ${id} is connected and would come back at once; stop it first`,
      );
    }
    const to = from.filter((one) => one !== id);
    await this.#coordinator.setInSync(this.#options.epoch, from, to);
    this.decided(to);
    this.#logger.warn({ inSync: to, before: from }, 'a slave was taken out of the in-sync set');
    return to;
  }

  /**
   * Why messages are not taken now; undefined when they are.
   *
   * @param inSync is it asked for that the in-sync set has them? What the group was told when absent
   */
  refusal(inSync: boolean = this.#options.waits): Refusal | undefined {
    if (this.#handingOver) return HANDED_OVER;
    return inSync && !this.enough ? TOO_FEW : undefined;
  }

  /** May this broker still answer anybody? */
  get leads(): boolean {
    return this.#clock.monotonicMs() < this.#coordinator.leadsUntilMs;
  }

  /** Position that the in-sync set has for good: it was large enough when it got there. Never falls. */
  get kept(): number {
    if (this.#options.waits) return this.#log.visible;
    if (this.enough && this.leads) this.#kept = Math.max(this.#kept, this.replicated);
    return this.#kept;
  }

  /** Position that every member of the set has, whether or not there are enough of them. */
  get replicated(): number {
    return this.#set.confirmed(this.#own);
  }

  /** How far this broker's own log is, by its flush mode. */
  get #own(): number {
    return this.#log.ownVisible;
  }

  /** Where a slave is that may be read from: it is in sync and connected. By turns; undefined when there is none. */
  readableAt(turn: number): string | undefined {
    const able = this.#set.members.filter((id) => this.#feeds.has(id));
    const id = able[turn % Math.max(1, able.length)];
    return id === undefined ? undefined : this.#addresses.get(id);
  }

  /**
   * Takes a slave.
   *
   * @param slave.address where clients reach it
   * @param slave.copying it takes the log whole: what it has so far goes when that breaks off, and does not count
   * @throws TernError UNAVAILABLE (NOT_MASTER) when it knows of a newer master
   */
  attach(
    id: number,
    slave: LogShape & { readonly address: string; readonly copying: boolean },
    channel: ReplicaChannel,
  ): AttachedReplica {
    if (this.#closed !== undefined) throw this.#closed;
    const newest = slave.epochs.at(-1)?.epoch ?? 0;
    if (newest > this.#options.epoch) throw deposed(newest, this.#options.epoch);
    this.#log.flush();
    const { epochs } = this.#state;
    const master = { epochs: epochs.all, start: this.#log.start, end: this.#log.written };
    const common = commonPosition(master, slave);
    const feed = new ReplicaFeed(this.#log, this.#runs, channel, common ?? master.start);
    this.#feeds.get(id)?.close(replaced(id));
    this.#feeds.set(id, feed);
    const { address, copying } = slave;
    this.#addresses.set(id, address);
    if (copying) this.#set.disconnected(id, this.#clock.monotonicMs());
    else this.#set.connected(id, common ?? 0, this.#clock.monotonicMs());
    this.#logger.info({ replica: id, from: common ?? master.start, copying }, 'a slave follows');
    return {
      from: { common, master },
      feed,
      acknowledged: (durable) => {
        if (this.#feeds.get(id) !== feed) return;
        feed.acknowledged(durable);
        if (copying) return;
        this.#set.acknowledged(id, durable, this.#own, this.#clock.monotonicMs());
        this.#moreCounts();
      },
      detached: () => {
        if (this.#feeds.get(id) !== feed) return;
        this.#feeds.delete(id);
        this.#set.disconnected(id, this.#clock.monotonicMs());
        this.#logger.warn({ replica: id }, 'a slave is gone');
      },
    };
  }

  /** Does everything before a position, with which this broker began to lead, hold for the whole group? */
  settled(end: number): boolean {
    return this.#leadsForever || this.replicated >= end;
  }

  /** Everything before a position holds: it is confirmed, also when there are too few members now. */
  takenOver(end: number): void {
    if (this.#options.waits && !this.#unlimited) this.#log.confirm(end);
  }

  get #leadsForever(): boolean {
    return this.#coordinator.leadsUntilMs === Number.POSITIVE_INFINITY;
  }

  /** Is there nothing that could ever hold back what this broker has made durable? */
  get #unlimited(): boolean {
    return (
      this.#leadsForever && this.#set.alone && this.#log.confirmed === Number.POSITIVE_INFINITY
    );
  }

  /** More of the log is in the page cache: slaves get it. */
  wrote(): void {
    for (const feed of this.#feeds.values()) feed.pump();
  }

  /** More of the log is durable here: more may be confirmed. */
  advanced(): void {
    if (!this.#options.waits) {
      this.#tellSoon();
      return;
    }
    if (this.#unlimited) return;
    const unlimited = this.#log.confirmed === Number.POSITIVE_INFINITY;
    const holds = this.enough && this.leads;
    const confirmed = holds ? this.replicated : 0;
    if (confirmed <= this.#log.confirmed && !unlimited) return;
    this.#log.confirm(confirmed);
    this.#tellSoon();
  }

  /** Slaves have more, or others count: more may be confirmed, and what waits for them alone may be answered. */
  #moreCounts(): void {
    this.advanced();
    if (!this.#options.waits) this.#advanced();
  }

  #tellSoon(): void {
    if (this.#feeds.size === 0 || this.#closed !== undefined) return;
    this.#telling ??= this.#clock.setTimer(TELL_MS, () => {
      this.#telling = undefined;
      for (const feed of this.#feeds.values()) feed.tellConfirmed(false);
    });
  }

  /** The coordinator says what the set is. */
  decided(inSync: readonly number[]): void {
    this.#set.decided(inSync, this.#clock.monotonicMs());
    this.#moreCounts();
  }

  #tick(): void {
    const nowMs = this.#clock.monotonicMs();
    this.#set.grown(this.#own, nowMs);
    if (this.#change !== undefined && !this.#asking) {
      // Somebody else has changed it: what was asked for is not what is wanted now.
      if (!sameSet(this.#change.from, this.#set.members)) this.#answered();
    }
    if (this.#change === undefined) {
      const confirmed = Math.min(this.#log.visible, this.#own);
      const to = this.#set.wanted(this.#own, confirmed, nowMs);
      if (to !== undefined) {
        this.#change = { from: this.#set.members, to };
        this.#set.asked(to);
        // From now on nothing is acknowledged without the new ones.
        this.#moreCounts();
      }
    }
    if (this.#change !== undefined && !this.#asking) void this.#ask(this.#change);
    this.#moreCounts();
  }

  /** Asks for a change until it is decided: an answer that is lost may have been yes. */
  async #ask(change: { from: readonly number[]; to: readonly number[] }): Promise<void> {
    const { epoch } = this.#options;
    this.#asking = true;
    try {
      await this.#coordinator.setInSync(epoch, change.from, change.to);
      this.#logger.info({ inSync: change.to, before: change.from }, 'the in-sync set has changed');
      this.decided(change.to);
      this.#answered();
    } catch (error) {
      // Anything else may have been a yes that was lost: it is asked again.
      if (error instanceof TernError && error.code === 'ABORTED') this.#answered();
      this.#logger.warn({ error, wanted: change.to }, 'the in-sync set could not be changed yet');
    } finally {
      this.#asking = false;
    }
  }

  /** It is known what became of the change. */
  #answered(): void {
    this.#change = undefined;
    this.#set.answered();
    this.#moreCounts();
  }

  /** Ends all streams: this broker leads no more. */
  close(reason: Error): void {
    if (this.#closed !== undefined) return;
    this.#closed = reason;
    for (const timer of this.#timers) timer.cancel();
    this.#telling?.cancel();
    for (const feed of this.#feeds.values()) feed.close(reason);
    this.#feeds.clear();
  }
}

function notInSync(to: number | undefined, inSync: readonly number[]): TernError {
  return new TernError(
    'FAILED_PRECONDITION',
    'NOT_IN_SYNC',
    `${to === undefined ? 'no other member' : `member ${to}`} is in sync and connected (in sync: ${inSync.join(', ')}); wait until it has caught up`,
  );
}

function notCaughtUp(id: number): TernError {
  return new TernError(
    'UNAVAILABLE',
    'NOT_CAUGHT_UP',
    `member ${id} did not get everything within ${HAND_OVER_MS_MAX / 1000} s; try again when there is less to do`,
  );
}

function deposed(newest: number, epoch: number): TernError {
  return new TernError(
    'UNAVAILABLE',
    'NOT_MASTER',
    `this broker leads with epoch ${epoch}, and the slave's log has epoch ${newest}: there is a newer master`,
  );
}

function replaced(id: number): TernError {
  return new TernError(
    'ABORTED',
    'REPLICA_REPLACED',
    `another stream of member ${id} has taken the place of this one`,
  );
}
