// What is delivered to which client and not settled yet. The core has the leases; this knows which of them a client's end
// frees, which are renewed while it lives, and which handles are void because there is a newer one. All of it may be lost,
// as in a restart: leases then end at their deadline.

import { BrokerService } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { type Settlement, Settlement_Action } from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import { type Clock, TernError, type Timer } from '@ternmq/runtime';
import type { BrokerLink } from './broker-link.ts';
import type { Clients } from './clients.ts';
import type { Delivery } from './receipt-handle.ts';

/** How long a renewed lease lasts each time, in milliseconds. */
export const RENEWED_LEASE_MS = 60_000;
const RENEW_EVERY_MS = 5000;
/** A lease that ends sooner is renewed. */
const RENEW_BEFORE_MS = 20_000;
/** A message that is worked on for longer is delivered again. */
const RENEWED_MS_MAX = 3 * 3_600_000;
const TRACKED_MAX = 1_000_000;
const SETTLED_MAX = 100_000;
const CALL_MS_MAX = 5000;
/** Settlements of one call. */
const CALL_SETTLEMENTS_MAX = 1000;

interface Tracked {
  delivery: Delivery;
  readonly link: BrokerLink;
  readonly group: string;
  readonly sinceMs: number;
  endsAtMs: number;
}

/** Knows what clients have. */
export class Deliveries {
  readonly #clients: Clients;
  readonly #clock: Clock;
  readonly #byClient = new Map<string, Map<string, Tracked>>();
  /** Deliveries that were settled lately, oldest first. */
  readonly #settled = new Set<string>();
  #count = 0;
  readonly #timer: Timer;

  constructor(clients: Clients, clock: Clock) {
    this.#clients = clients;
    this.#clock = clock;
    this.#timer = clock.every(RENEW_EVERY_MS, () => this.#look());
  }

  /** Deliveries that are known. */
  get size(): number {
    return this.#count;
  }

  /** A message was handed to a client. */
  add(clientId: string, group: string, link: BrokerLink, delivery: Delivery): void {
    if (this.#count >= TRACKED_MAX) return;
    let tracked = this.#byClient.get(clientId);
    if (tracked === undefined) {
      tracked = new Map();
      this.#byClient.set(clientId, tracked);
    }
    const key = keyOf(group, delivery);
    if (!tracked.has(key)) this.#count++;
    const sinceMs = this.#clock.nowMs();
    tracked.set(key, { delivery, link, group, sinceMs, endsAtMs: delivery.deadlineMs });
  }

  /** Is a handle void, because its delivery was settled, has ended, or there is a newer handle? */
  isVoid(clientId: string, group: string, delivery: Delivery): boolean {
    const key = keyOf(group, delivery);
    if (this.#settled.has(settledKey(group, delivery))) return true;
    const tracked = this.#byClient.get(clientId)?.get(key);
    const known = tracked?.delivery.leaseId === delivery.leaseId ? tracked : undefined;
    if (known !== undefined && known.delivery.changes > delivery.changes) return true;
    return !delivery.renewed && delivery.deadlineMs <= this.#clock.nowMs();
  }

  /** A delivery ends at another time than before, and has a new handle. */
  change(clientId: string, group: string, delivery: Delivery, link: BrokerLink): void {
    this.add(clientId, group, link, delivery);
  }

  /** A delivery is settled. */
  settled(clientId: string, group: string, delivery: Delivery): void {
    this.#remove(clientId, keyOf(group, delivery));
    this.#settled.add(settledKey(group, delivery));
    for (const oldest of this.#settled) {
      if (this.#settled.size <= SETTLED_MAX) break;
      this.#settled.delete(oldest);
    }
  }

  /** A client has ended: what it has is free at once. */
  release(clientId: string): void {
    const tracked = this.#byClient.get(clientId);
    if (tracked === undefined) return;
    this.#byClient.delete(clientId);
    this.#count -= tracked.size;
    void this.#settle([...tracked.values()], Settlement_Action.RETURN, 0);
  }

  /** Gives deliveries back that did not reach their client. */
  async giveBack(link: BrokerLink, group: string, deliveries: readonly Delivery[]): Promise<void> {
    const sinceMs = this.#clock.nowMs();
    const all = deliveries.map((delivery) => ({ delivery, link, group, sinceMs, endsAtMs: 0 }));
    await this.#settle(all, Settlement_Action.RETURN, 0);
  }

  /** Looks after nothing any more. */
  close(): void {
    this.#timer.cancel();
    this.#byClient.clear();
    this.#settled.clear();
    this.#count = 0;
  }

  #remove(clientId: string, key: string): void {
    const tracked = this.#byClient.get(clientId);
    if (tracked?.delete(key) !== true) return;
    this.#count--;
    if (tracked.size === 0) this.#byClient.delete(clientId);
  }

  /** Forgets what has ended, and renews what is to be. */
  #look(): void {
    const nowMs = this.#clock.nowMs();
    for (const [clientId, all] of this.#byClient) {
      const renewed: Tracked[] = [];
      for (const [key, tracked] of all) {
        const { delivery, sinceMs, endsAtMs } = tracked;
        if (endsAtMs <= nowMs) this.#remove(clientId, key);
        else if (
          delivery.renewed &&
          endsAtMs - nowMs < RENEW_BEFORE_MS &&
          nowMs - sinceMs < RENEWED_MS_MAX &&
          this.#clients.lives(clientId)
        ) {
          renewed.push(tracked);
        }
      }
      if (renewed.length > 0) void this.#renew(renewed, nowMs);
    }
  }

  async #renew(renewed: readonly Tracked[], nowMs: number): Promise<void> {
    const before = renewed.map(({ endsAtMs }) => endsAtMs);
    // At once, however long the answer takes: it is not renewed twice, and not taken for ended meanwhile.
    for (const tracked of renewed) tracked.endsAtMs = nowMs + RENEWED_LEASE_MS;
    if (await this.#settle(renewed, Settlement_Action.EXTEND, RENEWED_LEASE_MS)) return;
    for (const [index, tracked] of renewed.entries()) tracked.endsAtMs = before[index] as number;
  }

  /** Settles deliveries where they were leased; false when a broker could not be told: their leases end by themselves. */
  async #settle(
    all: readonly Tracked[],
    action: Settlement_Action,
    delayMs: number,
  ): Promise<boolean> {
    const calls = new Map<string, { link: BrokerLink; group: string; settlements: Settlement[] }>();
    for (const { delivery, link, group } of all) {
      const to = `${link.brokerName} ${group}`;
      const call = calls.get(to) ?? { link, group, settlements: [] };
      calls.set(to, call);
      call.settlements.push(settlementOf(delivery, action, delayMs));
    }
    const told = [...calls.values()].map(async ({ link, group, settlements }) => {
      for (let at = 0; at < settlements.length; at += CALL_SETTLEMENTS_MAX) {
        const part = settlements.slice(at, at + CALL_SETTLEMENTS_MAX);
        const caller = { peer: '', deadlineMs: this.#clock.nowMs() + CALL_MS_MAX };
        await link.call(BrokerService.method.settle, { group, settlements: part }, caller);
      }
    });
    const outcomes = await Promise.allSettled(told);
    for (const outcome of outcomes) {
      if (outcome.status === 'fulfilled') continue;
      if (!(outcome.reason instanceof TernError)) throw outcome.reason;
    }
    return outcomes.every(({ status }) => status === 'fulfilled');
  }
}

/** One delivery as a settlement. */
export function settlementOf(
  { topicId, queueId, offset, leaseId }: Delivery,
  action: Settlement_Action,
  delayMs: number,
): Settlement {
  return {
    $typeName: 'ternmq.message.v1.Settlement',
    topicId,
    queueId,
    firstOffset: BigInt(offset),
    endOffset: BigInt(offset + 1),
    leaseId: BigInt(leaseId),
    action,
    delayMs,
    reason: '',
  };
}

function keyOf(group: string, { brokerName, topicId, queueId, offset }: Delivery): string {
  return `${group} ${brokerName} ${topicId} ${queueId} ${offset}`;
}

function settledKey(group: string, delivery: Delivery): string {
  return `${keyOf(group, delivery)} ${delivery.leaseId}`;
}
