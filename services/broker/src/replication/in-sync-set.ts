// Which members of a group every acknowledgement waits for, as the master sees it. Reads no clock: times are monotonic.
//
//              durable up to what is confirmed
//   behind  -----------------------------------> in sync
//           <-----------------------------------
//              too far behind, for too long, or gone for too long
//
// The set itself is decided by the coordinator. While a change is under way, members of the old and of the new set count:
// nothing is acknowledged without one that may still lead, or may lead already.

/** When a member is too far behind. */
export interface LagLimits {
  /** Longest time until it has what the master had, in milliseconds. */
  readonly timeMs: number;
  /** Longest time without a stream, in milliseconds. */
  readonly goneMs: number;
  /** Longest time without a word on an open stream, in milliseconds: a link may swallow everything and not break. */
  readonly silentMs: number;
  /** Most bytes that it may lack. */
  readonly bytes: number;
  /** Members that are too far behind leave the set; with fixed roles only an operator takes one out. */
  readonly shrinks: boolean;
}

interface Replica {
  connected: boolean;
  /** Since when it has had no stream; of use while it has none. */
  goneSinceMs: number;
  /** When it was last heard; of use while it has a stream. */
  heardMs: number;
  /** It has said since it connected how far it is. */
  told: boolean;
  /** Its log survives up to here. */
  durable: number;
  /** Position that it has to reach, and since when it has lacked it; -1 when it lacks nothing. */
  target: number;
  sinceMs: number;
}

/** How a replica stands. */
export interface ReplicaState {
  readonly id: number;
  readonly connected: boolean;
  readonly durable: number;
  readonly inSync: boolean;
}

/** The in-sync set of a master. */
export class InSyncSet {
  readonly #selfId: number;
  readonly #limits: LagLimits;
  readonly #replicas = new Map<number, Replica>();
  #set: readonly number[];
  /** The set that was asked for, while it is not decided. */
  #asked: readonly number[] | undefined;

  /** @param set what the coordinator says, the master's own id included */
  constructor(selfId: number, set: readonly number[], limits: LagLimits, nowMs: number) {
    this.#selfId = selfId;
    this.#limits = limits;
    this.#set = set;
    for (const id of set) if (id !== selfId) this.#find(id, nowMs);
  }

  #find(id: number, nowMs: number): Replica {
    let replica = this.#replicas.get(id);
    if (replica === undefined) {
      const times = { goneSinceMs: nowMs, heardMs: nowMs, sinceMs: nowMs };
      replica = { connected: false, told: false, durable: 0, target: 0, ...times };
      this.#replicas.set(id, replica);
    }
    return replica;
  }

  /** What the coordinator has decided. */
  get members(): readonly number[] {
    return this.#set;
  }

  /** Does nobody else count, now or if a change is agreed to? */
  get alone(): boolean {
    return this.#set.length <= 1 && this.#asked === undefined;
  }

  /** All replicas that were ever connected, or are in the set. */
  replicas(): ReplicaState[] {
    return [...this.#replicas]
      .map(([id, { connected, durable }]) => ({
        id,
        connected,
        durable,
        inSync: this.#set.includes(id),
      }))
      .sort((a, b) => a.id - b.id);
  }

  /**
   * A replica's stream is open.
   *
   * @param common position up to which its log is the master's: what lay behind may be gone since it was last heard
   */
  connected(id: number, common: number, nowMs: number): void {
    const replica = this.#find(id, nowMs);
    replica.connected = true;
    replica.told = false;
    replica.heardMs = nowMs;
    replica.durable = Math.min(replica.durable, common);
  }

  /** A replica's stream has ended. */
  disconnected(id: number, nowMs: number): void {
    const replica = this.#find(id, nowMs);
    if (replica.connected) replica.goneSinceMs = nowMs;
    replica.connected = false;
  }

  /** A replica has made its log durable up to a position; the master's own is `end`. */
  acknowledged(id: number, durable: number, end: number, nowMs: number): void {
    const replica = this.#find(id, nowMs);
    replica.durable = durable;
    replica.told = true;
    replica.heardMs = nowMs;
    if (durable >= end) replica.target = -1;
    else if (replica.target < 0 || durable >= replica.target) {
      replica.target = end;
      replica.sinceMs = nowMs;
    }
  }

  /** The master's own log has grown to `end`: who had everything begins to lack it now. */
  grown(end: number, nowMs: number): void {
    for (const replica of this.#replicas.values()) {
      if (replica.target >= 0 || replica.durable >= end) continue;
      replica.target = end;
      replica.sinceMs = nowMs;
    }
  }

  /** Position that all of the set have, given the master's own. */
  confirmed(own: number): number {
    let least = own;
    for (const [id, { durable }] of this.#replicas) {
      if (this.#set.includes(id) || this.#asked?.includes(id)) least = Math.min(least, durable);
    }
    return least;
  }

  /** The set that it should be, or undefined when it is right, or a change is under way. */
  wanted(own: number, confirmed: number, nowMs: number): readonly number[] | undefined {
    if (this.#asked !== undefined) return undefined;
    const wanted = [this.#selfId];
    for (const [id, replica] of this.#replicas) {
      const { connected, goneSinceMs, heardMs, told, durable, target, sinceMs } = replica;
      const lags =
        (!connected && nowMs - goneSinceMs > this.#limits.goneMs) ||
        (connected && nowMs - heardMs > this.#limits.silentMs) ||
        (target >= 0 && nowMs - sinceMs > this.#limits.timeMs) ||
        (told && own - durable > this.#limits.bytes);
      const belongs = this.#set.includes(id)
        ? !lags || !this.#limits.shrinks
        : connected && told && !lags && durable >= Math.min(confirmed, own);
      if (belongs) wanted.push(id);
    }
    wanted.sort((a, b) => a - b);
    return sameSet(wanted, this.#set) ? undefined : wanted;
  }

  /** The coordinator is asked for this set. */
  asked(set: readonly number[]): void {
    this.#asked = set;
  }

  /** It is known what became of the set that was asked for. */
  answered(): void {
    this.#asked = undefined;
  }

  /**
   * The coordinator says what the set is. A set that was asked for goes on to count: what is said may be older than what
   * becomes of it.
   */
  decided(set: readonly number[], nowMs: number): void {
    this.#set = set;
    for (const id of set) if (id !== this.#selfId) this.#find(id, nowMs);
  }
}

/** Are both sets the same? They are sorted. */
export function sameSet(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((id, i) => id === b[i]);
}
