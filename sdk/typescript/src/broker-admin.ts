// An operator's calls about brokers: who there is, how each stands, and who leads its group.

import { type CallOptions, CallTime } from './call-time.ts';
import type { Clock } from './clock.ts';
import { MqError } from './errors.ts';
import type { Routes } from './routes.ts';
import type { Channel } from './transport/channel.ts';
import type { Channels } from './transport/channels.ts';
import { type BrokerDescription, brokerDescription } from './transport/descriptions.ts';
import { broker } from './transport/methods.ts';
import type { RouteBroker } from './transport/route.ts';

/** Looks at brokers, and moves the leadership of their groups. */
export class BrokerAdmin {
  readonly #routes: Routes;
  readonly #channels: Channels;
  readonly #clock: Clock;

  constructor(modules: { routes: Routes; channels: Channels; clock: Clock }) {
    this.#routes = modules.routes;
    this.#channels = modules.channels;
    this.#clock = modules.clock;
  }

  /** All brokers that the name server knows. Throws NAMESERVER_UNREACHABLE. */
  async describeCluster(options: CallOptions = {}): Promise<RouteBroker[]> {
    return this.#routes.brokers(new CallTime(this.#clock, options));
  }

  /**
   * What a broker tells of itself. Throws NO_BROKER when the name is not known.
   *
   * @param id the member of the group. Default: the one that leads
   */
  async describeBroker(
    name: string,
    options: CallOptions & { readonly id?: number } = {},
  ): Promise<BrokerDescription> {
    const time = new CallTime(this.#clock, options);
    const channel = await this.#memberOf(name, options.id, time);
    return brokerDescription(await channel.unary(broker.describeBroker, {}, time));
  }

  /**
   * Gives the leadership of a broker group to another member: a planned move, without a failed send. Returns who may take
   * it. Throws NO_BROKER, FIXED_ROLES, NOT_IN_SYNC, NOT_CAUGHT_UP.
   *
   * @param options.to the member that is to lead. Default: the one that has most of the log
   */
  async moveLeadership(
    name: string,
    options: CallOptions & { readonly to?: number } = {},
  ): Promise<number> {
    const time = new CallTime(this.#clock, options);
    const channel = await this.#memberOf(name, undefined, time);
    const request = options.to === undefined ? {} : { to: options.to };
    return (await channel.unary(broker.moveLeadership, request, time)).to;
  }

  /**
   * Lets a member lead a group that has no master, although it was not in sync: what only the lost ones had is lost. Throws
   * NO_BROKER, FIXED_ROLES, GROUP_HAS_MASTER.
   */
  async allowUncleanLeader(name: string, id: number, options: CallOptions = {}): Promise<void> {
    const time = new CallTime(this.#clock, options);
    const channel = await this.#memberOf(name, id, time);
    await channel.unary(broker.allowUncleanLeader, {}, time);
  }

  /**
   * Takes a slave that is stopped out of the in-sync set of its group, so that sends do not wait for it; returns the set. With
   * fixed roles it stays there until somebody says so. It comes back by itself. Throws NO_BROKER, REPLICA_CONNECTED,
   * NOT_IN_SYNC.
   */
  async removeReplica(
    name: string,
    id: number,
    options: CallOptions = {},
  ): Promise<readonly number[]> {
    const time = new CallTime(this.#clock, options);
    const channel = await this.#memberOf(name, undefined, time);
    return (await channel.unary(broker.removeReplica, { id }, time)).inSync;
  }

  /** The way to a member of a group; to its master when no number is given. */
  async #memberOf(name: string, id: number | undefined, time: CallTime): Promise<Channel> {
    const found = (await this.#routes.brokers(time)).find(
      (one) => one.name === name && (id === undefined ? one.master : one.id === id),
    );
    if (found !== undefined) return this.#channels.get(found.address);
    const who = id === undefined ? 'master of the group' : `member ${id} of the group`;
    throw new MqError('NO_BROKER', `no name server knows a ${who} ${name}`);
  }
}
