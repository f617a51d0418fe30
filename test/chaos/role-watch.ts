// Asks every member all the time whether it leads, and in which epoch.

import { setTimeout as sleep } from 'node:timers/promises';
import { BrokerService } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { BrokerClient } from '../support/broker-client.ts';

const PAUSE_MS = 50;
const ANSWER_MS_MAX = 500;
/** How long a leadership lasts at least, unless something happens to its master. */
export const CALM_MS = 10_000;

/** A member was first seen to lead in an epoch. */
export interface Leadership {
  readonly epoch: number;
  readonly member: number;
  readonly sinceMs: number;
}

/** Watches the members of a group. */
export class RoleWatch implements AsyncDisposable {
  readonly #leaderships: Leadership[] = [];
  readonly #clients: readonly BrokerClient[];
  readonly #ended: Promise<unknown>;
  #closed = false;

  /** @param addresses of each member, by its id */
  constructor(addresses: readonly string[]) {
    this.#clients = addresses.map((address) => new BrokerClient(address));
    this.#ended = Promise.all(this.#clients.map((client, member) => this.#watch(client, member)));
  }

  /** Leaderships in the order in which they were seen. */
  get leaderships(): readonly Leadership[] {
    return this.#leaderships;
  }

  /** Epochs in which more than one member was seen to lead; none in a group that works. */
  get doubleMasters(): number[] {
    const byEpoch = Map.groupBy(this.#leaderships, ({ epoch }) => epoch);
    return [...byEpoch].filter(([, found]) => found.length > 1).map(([epoch]) => epoch);
  }

  /**
   * Leaderships that began within 10 s of the one before, although nothing was done to the master in that time.
   *
   * @param strikesMs when something was done to the master that leads, in `performance.now()`
   */
  restless(strikesMs: readonly number[]): Leadership[] {
    return this.#leaderships.filter(({ sinceMs }, index) => {
      const before = this.#leaderships[index - 1];
      if (before === undefined || sinceMs - before.sinceMs >= CALM_MS) return false;
      return !strikesMs.some((strikeMs) => strikeMs > before.sinceMs && strikeMs <= sinceMs);
    });
  }

  async #watch(client: BrokerClient, member: number): Promise<void> {
    const { describeBroker } = BrokerService.method;
    while (!this.#closed) {
      try {
        const answer = await client.call(describeBroker, {}, { deadlineMs: ANSWER_MS_MAX });
        const epoch = Number(answer.epoch);
        const known = this.#leaderships.some((one) => one.epoch === epoch && one.member === member);
        if (answer.leading && !known) {
          this.#leaderships.push({ epoch, member, sinceMs: performance.now() });
        }
      } catch {
        // It is away, or changes its role.
      }
      await sleep(PAUSE_MS);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    await this.#ended;
    for (const client of this.#clients) client[Symbol.dispose]();
  }
}
