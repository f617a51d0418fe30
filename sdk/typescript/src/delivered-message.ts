// A message under a lease: what was delivered, and how to settle it.

import { ReceivedMessage } from './received-message.ts';
import type { TopicHandle } from './topic-handle.ts';
import type { Lease, RecordSlice } from './wire/delivery.ts';
import { SettleAction, type Settlement } from './wire/subscribe-request.ts';

/** Takes a settlement to the broker that delivered the message. */
export type Settle = (settlement: Settlement) => void;

/** A delivered message. Settle it once: what comes later has no effect. */
export class DeliveredMessage<Value = unknown> extends ReceivedMessage<Value> {
  readonly #lease: Lease;
  readonly #settle: Settle;
  #settled = false;
  #retried = false;

  constructor(
    slice: RecordSlice,
    place: { topic: string; broker: string; attempt: number },
    lease: Lease,
    settle: Settle,
    handle?: TopicHandle<Value>,
  ) {
    super(slice, place, handle);
    this.#lease = lease;
    this.#settle = settle;
  }

  /** Has it been settled? */
  get settled(): boolean {
    return this.#settled;
  }

  /** Was it settled by asking for another delivery? */
  get retried(): boolean {
    return this.#retried;
  }

  /** When its lease ends, by the broker's clock, in milliseconds since 1970 UTC. */
  get leaseDeadlineMs(): number {
    return this.#lease.deadlineMs;
  }

  /** Done with: never delivered to the group again. */
  ack(): void {
    this.#say(SettleAction.ACKNOWLEDGE, 0, '');
  }

  /** Deliver it again: after so many milliseconds, or after the group's back-off. */
  retry(delayMs = 0): void {
    if (!this.#settled) this.#retried = true;
    this.#say(SettleAction.RETRY, delayMs, '');
  }

  /** Give it up: it moves to the group's dead-letter topic. */
  reject(reason = ''): void {
    this.#say(SettleAction.DEAD_LETTER, 0, reason);
  }

  /** Hand it back unprocessed: it is delivered again at once, and this delivery does not count. */
  giveBack(): void {
    this.#say(SettleAction.RETURN, 0, '');
  }

  /** Go on holding it: the lease ends so many milliseconds from now. */
  extend(leaseMs: number): void {
    if (!this.#settled) this.#settle(this.#settlement(SettleAction.EXTEND, leaseMs, ''));
  }

  #say(action: SettleAction, delayMs: number, reason: string): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#settle(this.#settlement(action, delayMs, reason));
  }

  #settlement(action: SettleAction, delayMs: number, reason: string): Settlement {
    const { topicId, queueId, offset } = this;
    const { leaseId } = this.#lease;
    return { topicId, queueId, first: offset, end: offset + 1, leaseId, action, delayMs, reason };
  }
}

/** Finds the lease of each message of a frame; both come in the order of the frame. */
export function leaseFinder(
  leases: readonly Lease[],
): (topicId: number, queueId: number, offset: number) => Lease | undefined {
  let index = 0;
  const holds = (lease: Lease, topicId: number, queueId: number, offset: number): boolean =>
    lease.topicId === topicId &&
    lease.queueId === queueId &&
    offset >= lease.first &&
    offset < lease.end;
  return (topicId, queueId, offset) => {
    for (let step = 0; step < leases.length; step++) {
      const lease = leases[(index + step) % leases.length] as Lease;
      if (!holds(lease, topicId, queueId, offset)) continue;
      index = (index + step) % leases.length;
      return lease;
    }
    return undefined;
  };
}
