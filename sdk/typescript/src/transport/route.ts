// A topic's route: its queues, and where each is written to.

import {
  type BrokerDescription,
  BrokerRole,
  BrokerState,
  type RouteGroup as RouteGroupMessage,
  type Route as RouteMessage,
} from '@ternmq/proto/gen/ternmq/nameserver/v1/nameserver_pb';
import type { QueueId } from '../message.ts';
import { queuePlaces } from '../queue-places.ts';

/** A queue, and the broker that accepts messages for it. */
export interface RouteQueue extends QueueId {
  /** Address of the broker group's master. */
  readonly address: string;
  /** The name server has lost touch with the master: others first. */
  readonly suspect: boolean;
}

/** One broker group that has queues of a topic. */
export interface RouteGroup {
  readonly broker: string;
  /**
   * Who serves consumers: the master, or, while that is gone, a slave that stands in for it. Undefined when there is neither.
   */
  readonly consumeAt: string | undefined;
  /** Addresses of slaves that live. */
  readonly slaves: readonly string[];
}

/** Where a topic is. */
export interface Route {
  readonly topic: string;
  /** Those that take messages now, by broker and number. */
  readonly queues: readonly RouteQueue[];
  /** `queues`, and those of broker groups that were there before: what ordering keys are spread over. */
  readonly places: readonly RouteQueue[];
  /** All of its broker groups, by name. */
  readonly groups: readonly RouteGroup[];
}

/** A broker as the name server knows it. */
export interface RouteBroker {
  readonly name: string;
  readonly id: number;
  readonly address: string;
  readonly master: boolean;
  /** It serves consumers, because the master of its group is gone. */
  readonly standIn: boolean;
  readonly suspect: boolean;
  readonly cluster: string;
  readonly version: string;
  readonly topics: number;
  readonly silenceMs: number;
}

/**
 * Reads a route as the name server sends it.
 *
 * @param before the topic's route until now
 */
export function routeOf(message: RouteMessage, before: Route | undefined): Route {
  const groups = message.groups.toSorted((one, other) =>
    one.brokerName < other.brokerName ? -1 : 1,
  );
  const list: RouteQueue[] = [];
  for (const { brokerName, brokers, queues } of groups) {
    const master = brokers.find(({ role }) => role === BrokerRole.MASTER);
    if (master === undefined) continue;
    const suspect = master.state === BrokerState.SUSPECT;
    for (let queueId = 0; queueId < (queues?.queues ?? 0); queueId++) {
      list.push({ broker: brokerName, queueId, address: master.address, suspect });
    }
  }
  return {
    topic: message.topic,
    queues: list,
    places: queuePlaces(before?.places ?? [], list),
    groups: groups.map(groupOf),
  };
}

function groupOf({ brokerName, brokers }: RouteGroupMessage): RouteGroup {
  const living = brokers.filter(({ state }) => state !== BrokerState.SUSPECT);
  const serving =
    living.find(({ role }) => role === BrokerRole.MASTER) ??
    living.find(({ role }) => role === BrokerRole.STAND_IN) ??
    brokers.find(({ role }) => role === BrokerRole.MASTER);
  const slaves = living.filter(({ role }) => role !== BrokerRole.MASTER);
  return {
    broker: brokerName,
    consumeAt: serving?.address,
    slaves: slaves.map(({ address }) => address),
  };
}

/** A broker as the name server describes it. */
export function brokerOf({ broker, topics, silenceMs }: BrokerDescription): RouteBroker[] {
  if (broker === undefined) return [];
  const { name, id, address, role, state, cluster, version } = broker;
  return [
    {
      name,
      id,
      address,
      master: role === BrokerRole.MASTER,
      standIn: role === BrokerRole.STAND_IN,
      suspect: state === BrokerState.SUSPECT,
      cluster,
      version,
      topics,
      silenceMs: Number(silenceMs),
    },
  ];
}
