// Calls to all broker groups at once; what only some of them have done is told as PARTIAL.

import { type CallOptions, CallTime } from './call-time.ts';
import type { Clock } from './clock.ts';
import { isMqError, MqError, noBroker } from './errors.ts';
import type { Routes } from './routes.ts';
import type { Channel } from './transport/channel.ts';
import type { Channels } from './transport/channels.ts';

/** The master of a broker group. */
export interface Member {
  readonly name: string;
  readonly channel: Channel;
}

/** Calls all broker groups. */
export class BrokerCalls {
  readonly #routes: Routes;
  readonly #channels: Channels;
  readonly #clock: Clock;

  constructor(modules: { routes: Routes; channels: Channels; clock: Clock }) {
    this.#routes = modules.routes;
    this.#channels = modules.channels;
    this.#clock = modules.clock;
  }

  /** The masters of all broker groups, by name. Throws NO_BROKER. */
  async members(time: CallTime): Promise<Member[]> {
    const brokers = await this.#routes.brokers(time);
    const masters = brokers.filter(({ master }) => master);
    if (masters.length === 0) throw noBroker();
    return masters
      .map(({ name, address }) => ({ name, channel: this.#channels.get(address) }))
      .sort((one, other) => (one.name < other.name ? -1 : 1));
  }

  /** Asks every broker group; all must succeed. */
  async onAll<Item>(
    what: string,
    options: CallOptions,
    call: (member: Member, time: CallTime) => Promise<Item[]>,
  ): Promise<Item[]> {
    const time = new CallTime(this.#clock, options);
    const members = await this.members(time);
    const results = await Promise.allSettled(members.map((member) => call(member, time)));
    const failed = results.flatMap((result, index) =>
      result.status === 'rejected' ? [{ name: members[index]?.name, error: result.reason }] : [],
    );
    if (failed.length === 0) {
      return results.flatMap((result) => (result.status === 'fulfilled' ? result.value : []));
    }
    if (failed.length === members.length) throw failed[0]?.error;
    throw new MqError(
      'PARTIAL',
      `${what} was done on ${members.length - failed.length} of ${members.length} broker groups; it failed on ` +
        failed.map(({ name, error }) => `${name} (${String(error.message)})`).join(', '),
      { cause: failed[0]?.error },
    );
  }

  /** Asks every broker group; at least one must know the thing, and the others may say that they do not. */
  async onOwners<Item>(
    missing: string | readonly string[],
    options: CallOptions,
    call: (member: Member, time: CallTime) => Promise<Item[]>,
  ): Promise<Item[]> {
    const codes: readonly string[] = typeof missing === 'string' ? [missing] : missing;
    let absent: unknown;
    let found = false;
    const items = await this.onAll('the change', options, async (member, time) => {
      try {
        const answer = await call(member, time);
        found = true;
        return answer;
      } catch (error) {
        if (!isMqError(error) || !codes.includes(error.code)) throw error;
        absent = error;
        return [];
      }
    });
    if (!found && absent !== undefined) throw absent;
    return items;
  }
}
