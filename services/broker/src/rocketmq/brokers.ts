// Who serves a topic, and how to call them. Routes are asked for at a name server when they are needed, and kept for a
// moment; what this broker leads itself is known without one.

import {
  type Broker,
  BrokerRole,
  BrokerState,
  NameServerService,
  type RouteGroup,
} from '@ternmq/proto/gen/ternmq/nameserver/v1/nameserver_pb';
import { type Clock, callOnce, TernError } from '@ternmq/runtime';
import type { Topic } from '../state/topics.ts';
import { type BrokerLink, type OwnLink, RemoteLink } from './broker-link.ts';

/** How long a route is taken for true without asking again. */
const FRESH_MS = 1000;
/** How long a route is used when no name server answers. */
const STALE_MS_MAX = 600_000;
const ROUTES_MAX = 10_000;
const LINKS_MAX = 1000;
const ASK_MS_MAX = 2000;

/** One broker group that serves a topic. */
export interface ServingBroker {
  readonly brokerName: string;
  readonly queues: number;
  readonly readable: boolean;
  readonly writable: boolean;
  /** Where clients of RocketMQ 5 reach its master, `host:port`; empty when they do not, or it is this broker. */
  readonly rocketmqAddress: string;
  /** It is this broker. */
  readonly own: boolean;
  readonly link: BrokerLink;
}

/** What is known of a topic's route, and since when by the monotonic clock. */
interface KnownRoute {
  readonly groups: readonly RouteGroup[];
  readonly atMs: number;
}

/** The brokers of the cluster, as this one calls them. */
export class Brokers {
  readonly #own: OwnLink;
  readonly #ownTopic: (name: string) => Topic | undefined;
  readonly #nameservers: readonly string[];
  readonly #clock: Clock;
  readonly #routes = new Map<string, KnownRoute>();
  /** By topic: the broker groups that were seen to serve it, with their queues. */
  readonly #places = new Map<string, ReadonlyMap<string, number>>();
  readonly #asking = new Map<string, Promise<KnownRoute | undefined>>();
  readonly #links = new Map<string, RemoteLink>();

  /** @param ownTopic a topic that this broker leads now; undefined when it does not lead, or has no such topic */
  constructor(
    nameservers: readonly string[],
    modules: {
      readonly own: OwnLink;
      readonly ownTopic: (name: string) => Topic | undefined;
      readonly clock: Clock;
    },
  ) {
    this.#nameservers = nameservers;
    this.#own = modules.own;
    this.#ownTopic = modules.ownTopic;
    this.#clock = modules.clock;
  }

  /** This broker, if it leads a topic. */
  own(topic: string): ServingBroker | undefined {
    const found = this.#ownTopic(topic);
    if (found === undefined) return undefined;
    return {
      brokerName: this.#own.brokerName,
      queues: found.queues.length,
      readable: true,
      writable: !found.name.startsWith('%'),
      rocketmqAddress: '',
      own: true,
      link: this.#own,
    };
  }

  /**
   * All that serve a topic, this broker first; empty when there is no such topic. Throws UNAVAILABLE (NO_NAMESERVER_ANSWERS)
   * when nobody can tell.
   */
  async of(topic: string): Promise<ServingBroker[]> {
    const own = this.own(topic);
    const brokers = own === undefined ? [] : [own];
    const route = await this.#route(topic, own !== undefined);
    for (const group of route?.groups ?? []) {
      if (own !== undefined && group.brokerName === own.brokerName) continue;
      const master = masterOf(group.brokers);
      if (master === undefined || group.queues === undefined) continue;
      const { queues, readable, writable } = group.queues;
      brokers.push({
        brokerName: group.brokerName,
        queues,
        readable,
        writable,
        rocketmqAddress: master.rocketmqAddress,
        own: false,
        link: this.#linkTo(group.brokerName, master.address),
      });
    }
    return brokers;
  }

  /** One broker of a topic by its name; undefined when it does not serve the topic, or has no master now. */
  async find(topic: string, brokerName: string): Promise<ServingBroker | undefined> {
    if (brokerName === this.#own.brokerName) {
      const own = this.own(topic);
      if (own !== undefined) return own;
    }
    return (await this.of(topic)).find((broker) => broker.brokerName === brokerName);
  }

  /**
   * What ordering keys of a topic are spread over: the brokers that serve it, and those that were seen to and are away, by
   * name.
   */
  placesOf(
    topic: string,
    serving: readonly ServingBroker[],
  ): { readonly brokerName: string; readonly queues: number }[] {
    const places = new Map(this.#places.get(topic));
    for (const { brokerName, queues } of serving) places.set(brokerName, queues);
    keepNewest(this.#places, topic, places, ROUTES_MAX);
    return [...places]
      .map(([brokerName, queues]) => ({ brokerName, queues }))
      .sort((one, other) => (one.brokerName < other.brokerName ? -1 : 1));
  }

  /** Where the masters of a topic's brokers are, this one included, `host:port`; none while nobody can tell. */
  async mastersOf(
    topic: string,
  ): Promise<{ readonly brokerName: string; readonly address: string }[]> {
    const route = await this.#route(topic, true);
    return (route?.groups ?? []).flatMap(({ brokerName, brokers }) => {
      const address = masterOf(brokers)?.address;
      return address === undefined ? [] : [{ brokerName, address }];
    });
  }

  /** Ends the connections to other brokers. */
  close(): void {
    for (const link of this.#links.values()) link.close();
    this.#links.clear();
  }

  async #route(topic: string, ownIsEnough: boolean): Promise<KnownRoute | undefined> {
    const known = this.#routes.get(topic);
    const nowMs = this.#clock.monotonicMs();
    if (known !== undefined && nowMs - known.atMs < FRESH_MS) return known;
    let asking = this.#asking.get(topic);
    if (asking === undefined) {
      asking = this.#ask(topic).finally(() => this.#asking.delete(topic));
      this.#asking.set(topic, asking);
    }
    try {
      return await asking;
    } catch (error) {
      if (known !== undefined && nowMs - known.atMs < STALE_MS_MAX) return known;
      if (ownIsEnough) return undefined;
      throw error;
    }
  }

  /** Asks one name server after the other. */
  async #ask(topic: string): Promise<KnownRoute | undefined> {
    let failure: unknown;
    for (const address of this.#nameservers) {
      const deadline = this.#clock.nowMs() + ASK_MS_MAX;
      try {
        const method = NameServerService.method.queryRoute;
        const { route } = await callOnce(address, method, { topic }, { deadline });
        return this.#keep(topic, route?.groups ?? []);
      } catch (error) {
        if (isNotFound(error)) {
          this.#routes.delete(topic);
          return undefined;
        }
        failure = error;
      }
    }
    throw new TernError(
      'UNAVAILABLE',
      'NO_NAMESERVER_ANSWERS',
      `No name server says who serves topic ${topic}; try again.`,
      { cause: failure, retryAfterMs: FRESH_MS },
    );
  }

  #keep(topic: string, groups: readonly RouteGroup[]): KnownRoute {
    const known: KnownRoute = { groups, atMs: this.#clock.monotonicMs() };
    keepNewest(this.#routes, topic, known, ROUTES_MAX);
    return known;
  }

  #linkTo(brokerName: string, address: string): RemoteLink {
    const known = this.#links.get(brokerName);
    if (known?.address === address) return known;
    known?.close();
    const link = new RemoteLink(brokerName, address);
    this.#links.set(brokerName, link);
    for (const [oldest, old] of this.#links) {
      if (this.#links.size <= LINKS_MAX) break;
      this.#links.delete(oldest);
      old.close();
    }
    return link;
  }
}

/** A broker that was found. Throws UNAVAILABLE (NO_MASTER) when none was. */
export function reachable(
  broker: ServingBroker | undefined,
  brokerName: string,
  topic: string,
): ServingBroker {
  if (broker !== undefined) return broker;
  throw new TernError(
    'UNAVAILABLE',
    'NO_MASTER',
    `broker ${brokerName}, which has this message of ${topic}, cannot be reached now; try again`,
  );
}

/** Keeps something under a key; the oldest goes when there are too many. */
function keepNewest<Value>(kept: Map<string, Value>, key: string, value: Value, max: number): void {
  kept.delete(key);
  kept.set(key, value);
  for (const oldest of kept.keys()) {
    if (kept.size <= max) break;
    kept.delete(oldest);
  }
}

/** The master of a group: the one with the newest epoch. */
function masterOf(brokers: readonly Broker[]): Broker | undefined {
  let master: Broker | undefined;
  for (const broker of brokers) {
    if (broker.role !== BrokerRole.MASTER) continue;
    const newer = master === undefined || broker.epoch > master.epoch;
    const livelier =
      master?.epoch === broker.epoch &&
      master.state !== BrokerState.LIVE &&
      broker.state === BrokerState.LIVE;
    if (newer || livelier) master = broker;
  }
  return master;
}

function isNotFound(error: unknown): boolean {
  return error instanceof Error && (error as { code?: unknown }).code === 5;
}
