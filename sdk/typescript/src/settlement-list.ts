// Settlements that wait to be sent. What follows on each other under one lease, and is to happen alike, becomes one.

import type { Settlement } from './wire/subscribe-request.ts';

/** Settlements in the order in which they were made. */
export class SettlementList {
  readonly #max: number;
  #list: Settlement[] = [];

  /** @param max most that wait; the oldest is given up for a newer one, and its messages come again */
  constructor(max: number) {
    this.#max = max;
  }

  /** Is there nothing to send? */
  get empty(): boolean {
    return this.#list.length === 0;
  }

  /** Adds a settlement. */
  add(settlement: Settlement): void {
    const last = this.#list.at(-1);
    if (last !== undefined && follows(settlement, last)) {
      last.end = settlement.end;
      return;
    }
    this.#list.push({ ...settlement });
    if (this.#list.length > this.#max) this.#list.shift();
  }

  /** Takes all. */
  take(): Settlement[] {
    const taken = this.#list;
    this.#list = [];
    return taken;
  }
}

function follows(next: Settlement, last: Settlement): boolean {
  return (
    next.first === last.end &&
    next.leaseId === last.leaseId &&
    next.queueId === last.queueId &&
    next.topicId === last.topicId &&
    next.action === last.action &&
    next.delayMs === last.delayMs &&
    next.reason === last.reason
  );
}
