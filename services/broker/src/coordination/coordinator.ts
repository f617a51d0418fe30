// Who leads a broker group, and which of its members are in sync: decided in one place for all members.

/** A member of a broker group. */
export interface MemberView {
  readonly id: number;
  /** Where it is reached, host:port. */
  readonly address: string;
  /** It was heard of lately. */
  readonly alive: boolean;
}

/** What is decided about a broker group. Every value replaces the one before. */
export interface GroupView {
  /** Of the newest leadership; 0 when there was none. */
  readonly epoch: number;
  /** Who leads now; undefined while nobody does. */
  readonly master: MemberView | undefined;
  /** Ids of the members that every acknowledgement waits for, sorted. */
  readonly inSync: readonly number[];
  /** Every member that ever joined, sorted by id. */
  readonly members: readonly MemberView[];
  /** This member shall serve consumers: the master is gone, and nobody else may lead. Default: no. */
  readonly standsIn?: boolean;
}

/** Decides for the members of one broker group. */
export interface Coordinator {
  /** Joins; `changed` is called with every new view, at least once, never after close. */
  start(
    member: { readonly id: number; readonly address: string },
    changed: (view: GroupView) => void,
  ): Promise<void>;
  /**
   * Tries to lead. The new epoch is above the group's and above `epochMin`, the newest in the own log. Resolves with the
   * epoch, or undefined when somebody else leads, or this member is not in the in-sync set. The set becomes: those
   * of it that are alive, and this one.
   */
  campaign(epochMin: number): Promise<number | undefined>;
  /**
   * Compare and swap: replaces the in-sync set, if it is still `from` and the epoch is still this one. Throws ABORTED
   * (STALE_EPOCH, IN_SYNC_SET_CHANGED), and UNAVAILABLE when it is not known what became of it.
   */
  setInSync(epoch: number, from: readonly number[], to: readonly number[]): Promise<void>;
  /**
   * Monotonic time, in milliseconds, before which the leadership certainly holds; 0 when this member does not lead, Infinity
   * when nothing can take it away.
   */
  readonly leadsUntilMs: number;
  /**
   * Gives the leadership up, if it has it: a planned move.
   *
   * @param to the member that alone may take it in the next seconds
   */
  resign(to?: number): Promise<void>;
  /**
   * Takes this member out of the in-sync set: it is about to lose some of what it has, and must not lead with the rest. Throws
   * UNAVAILABLE when it is not known whether it is out.
   */
  leaveInSync(): Promise<void>;
  /** Lets a member lead that is not in the in-sync set: an operator's decision, which may lose messages. */
  allowUnclean(id: number): Promise<void>;
  /** Leaves. */
  close(): Promise<void>;
}
