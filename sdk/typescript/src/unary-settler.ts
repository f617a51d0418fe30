// Settles what was received by single calls: what is said in one turn of the event loop goes to a broker in one call,
// which is tried again for as long as that may help.

import { BackOff, type Clock, pause } from './clock.ts';
import { isMqError, MqError } from './errors.ts';
import type { Events } from './events.ts';
import { SettlementList } from './settlement-list.ts';
import type { Channel } from './transport/channel.ts';
import { broker } from './transport/methods.ts';
import { settlementMessage } from './transport/settlement-message.ts';
import type { Settlement } from './wire/subscribe-request.ts';

/** How long settling is tried, in milliseconds. */
const SETTLE_MS_MAX = 10_000;
/** Most settlements that wait for the end of the turn. */
const SETTLEMENTS_MAX = 10_000;

/** Settles for one group. */
export class UnarySettler {
  readonly #group: string;
  readonly #clock: Clock;
  readonly #events: Events;
  /** What is said in this turn, and of which topic the first of it is. */
  readonly #waiting = new Map<Channel, { readonly topic: string; readonly list: SettlementList }>();
  readonly #calls = new Set<Promise<void>>();

  constructor(group: string, modules: { clock: Clock; events: Events }) {
    this.#group = group;
    this.#clock = modules.clock;
    this.#events = modules.events;
  }

  /** Settles at the end of this turn. What cannot be settled is told as the event `settleFailed`. */
  settle(topic: string, channel: Channel, settlement: Settlement): void {
    let waiting = this.#waiting.get(channel);
    if (waiting === undefined) {
      waiting = { topic, list: new SettlementList(SETTLEMENTS_MAX) };
      this.#waiting.set(channel, waiting);
      setImmediate(() => this.#flush(channel));
    }
    waiting.list.add(settlement);
  }

  #flush(channel: Channel): void {
    const waiting = this.#waiting.get(channel);
    if (waiting === undefined) return;
    this.#waiting.delete(channel);
    const { topic, list } = waiting;
    const settlements = list.take();
    const call = this.#call(channel, settlements)
      .then(
        (failures) => {
          for (const { reason, message } of failures) {
            const error = new MqError(reason, message);
            this.#events.emit({ type: 'settleFailed', topic, error });
          }
        },
        (error: Error) => this.#events.emit({ type: 'settleFailed', topic, error }),
      )
      .finally(() => this.#calls.delete(call));
    this.#calls.add(call);
  }

  async #call(
    channel: Channel,
    settlements: readonly Settlement[],
  ): Promise<readonly { reason: string; message: string }[]> {
    const untilMs = this.#clock.monotonicMs() + SETTLE_MS_MAX;
    const backOff = new BackOff(50, 1000);
    const request = { group: this.#group, settlements: settlements.map(settlementMessage) };
    for (;;) {
      const leftMs = untilMs - this.#clock.monotonicMs();
      try {
        const { failures } = await channel.unary(broker.settle, request, { deadlineMs: leftMs });
        return failures;
      } catch (error) {
        const pauseMs = backOff.next();
        const tooLate = this.#clock.monotonicMs() + pauseMs >= untilMs;
        if (!isMqError(error) || !(error as MqError).retryable || tooLate) throw error;
        await pause(this.#clock, pauseMs);
      }
    }
  }

  /** Resolves when everything said so far is settled or has failed, or after a time, in milliseconds. */
  async drain(drainMs: number): Promise<void> {
    const over = new AbortController();
    const timer = this.#clock.setTimer(drainMs, () => over.abort());
    const expired = new Promise<void>((resolve) => {
      over.signal.addEventListener('abort', () => resolve());
    });
    for (const channel of [...this.#waiting.keys()]) this.#flush(channel);
    while (this.#calls.size > 0 && !over.signal.aborted) {
      await Promise.race([Promise.allSettled([...this.#calls]), expired]);
    }
    timer.cancel();
  }
}
