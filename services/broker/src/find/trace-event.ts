// What happened to a message.

/** Where a message is, or was. */
export interface Place {
  readonly topicId: number;
  readonly queueId: number;
  readonly offset: number;
}

/** Kinds of events; `TraceEvent.Kind` in the schemas says what each means. */
export type TraceKind =
  | 'stored'
  | 'held'
  | 'released'
  | 'recalled'
  | 'transactionBegun'
  | 'transactionChecked'
  | 'committed'
  | 'rolledBack'
  | 'leased'
  | 'filtered'
  | 'skipped'
  | 'extended'
  | 'acknowledged'
  | 'retried'
  | 'leaseEnded'
  | 'returned'
  | 'dropped'
  | 'deadLettered'
  | 'resent'
  | 'relocated'
  | 'progressSet'
  | 'expired';

/** One thing that happened to a message. */
export interface TraceEvent {
  readonly kind: TraceKind;
  /** In milliseconds since the Unix epoch. */
  readonly timeMs: number;
  /** Of the record that says so. */
  readonly position: number;
  /** The message: the one asked for, or what became of it elsewhere. */
  readonly place: Place;
  /** Number of the progress that it happened in; 0 when that is not a matter of a group. */
  readonly progressId: number;
  readonly consumerId: string;
  readonly attempt: number;
  /** When the lease ends, the message is delivered again, or is due; 0 when there is no such time. */
  readonly untilMs: number;
  /** Where it was before, or is from now on. */
  readonly other: Place | undefined;
  /** The offset that a group's progress was set to. */
  readonly offset: number;
  /** 16 bytes: the address that it came from. */
  readonly bornHost: Buffer | undefined;
  readonly reason: string;
}
