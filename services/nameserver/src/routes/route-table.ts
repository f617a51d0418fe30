// Which broker serves which topic, and the routes that follow from it.
//
// Invariants: a topic is in #groupsOf exactly when a member of one of its groups serves it; a group has at
// least one member. Each change returns the topics whose routes it may have changed.

import { create } from '@bufbuild/protobuf';
import {
  type Broker,
  BrokerRole,
  BrokerSchema,
  BrokerState,
  type Route,
  type RouteGroup,
  RouteGroupSchema,
  RouteSchema,
  type TopicQueues,
} from '@ternmq/proto/gen/ternmq/nameserver/v1/nameserver_pb';
import { assert } from '@ternmq/runtime';

/** A broker and what it serves. */
export interface Member {
  /** The broker, with the state that is known of it. */
  readonly broker: Broker;
  /** What it serves, by topic. */
  readonly topics: ReadonlyMap<string, TopicQueues>;
}

interface OwnMember {
  broker: Broker;
  readonly topics: Map<string, TopicQueues>;
}

/** Identifies a broker among all. */
export function brokerKey(broker: { readonly name: string; readonly id: number }): string {
  return `${broker.name}/${broker.id}`;
}

/** All brokers with their topics. */
export class RouteTable {
  readonly #members = new Map<string, OwnMember>();
  /** Members by the name of their group. */
  readonly #groups = new Map<string, Set<OwnMember>>();
  /** Names of the groups that serve a topic. */
  readonly #groupsOf = new Map<string, Set<string>>();

  /** All topics that are served. */
  topics(): Iterable<string> {
    return this.#groupsOf.keys();
  }

  /** Number of topics that are served. */
  get topicCount(): number {
    return this.#groupsOf.size;
  }

  /** Is the topic served? */
  has(topic: string): boolean {
    return this.#groupsOf.has(topic);
  }

  /** A broker that may not be known. */
  find(key: string): Member | undefined {
    return this.#members.get(key);
  }

  /** All brokers, by name and id. */
  members(): Member[] {
    return [...this.#members.values()].sort(
      (a, b) => compareText(a.broker.name, b.broker.name) || a.broker.id - b.broker.id,
    );
  }

  /** Number of brokers. */
  get memberCount(): number {
    return this.#members.size;
  }

  /** Adds a broker with all its topics, or replaces it and what it served before. */
  put(broker: Broker, topics: Iterable<TopicQueues>): Set<string> {
    const key = brokerKey(broker);
    const changed = this.#members.has(key) ? this.remove(key) : new Set<string>();
    const member: OwnMember = { broker, topics: new Map() };
    this.#members.set(key, member);
    const group = this.#groups.get(broker.name) ?? new Set();
    this.#groups.set(broker.name, group.add(member));
    for (const queues of topics) this.#serve(member, queues);
    return this.#addTopicsOf(broker.name, changed);
  }

  /** Replaces what is known of a broker itself. */
  setBroker(key: string, broker: Broker): Set<string> {
    const member = this.#get(key);
    assert(brokerKey(broker) === key, `the broker ${key} cannot become another one`);
    member.broker = broker;
    return this.#addTopicsOf(broker.name, new Set());
  }

  /** Sets how sure it is that a broker lives. */
  setState(key: string, state: BrokerState): Set<string> {
    const { broker } = this.#get(key);
    return this.setBroker(key, create(BrokerSchema, { ...broker, state }));
  }

  /** Changes some topics of a broker. */
  changeTopics(
    key: string,
    changed: Iterable<TopicQueues>,
    removed: Iterable<string>,
  ): Set<string> {
    const member = this.#get(key);
    const affected = new Set<string>();
    for (const queues of changed) {
      const before = member.topics.get(queues.topic);
      if (before !== undefined && sameQueues(before, queues)) continue;
      this.#serve(member, queues);
      affected.add(queues.topic);
    }
    for (const topic of removed) {
      if (!member.topics.delete(topic)) continue;
      this.#unlink(topic, member.broker.name);
      affected.add(topic);
    }
    return affected;
  }

  /** Removes a broker. */
  remove(key: string): Set<string> {
    const member = this.#get(key);
    const { name } = member.broker;
    const changed = this.#addTopicsOf(name, new Set());
    this.#members.delete(key);
    const group = this.#groups.get(name);
    group?.delete(member);
    if (group?.size === 0) this.#groups.delete(name);
    for (const topic of member.topics.keys()) this.#unlink(topic, name);
    return changed;
  }

  /** The route of a topic; without groups when nobody serves it. */
  route(topic: string): Route {
    const groups = [...(this.#groupsOf.get(topic) ?? [])]
      .sort(compareText)
      .map((name) => this.#routeGroup(topic, name))
      .filter((group) => group !== undefined);
    return create(RouteSchema, { topic, groups });
  }

  #routeGroup(topic: string, name: string): RouteGroup | undefined {
    const members = [...(this.#groups.get(name) ?? [])].sort(bySeniority);
    const master = members.find(({ broker }) => broker.role === BrokerRole.MASTER);
    // The master decides what its group serves; without one, whoever is most likely to succeed it.
    const authority = master ?? members.find(({ topics }) => topics.has(topic));
    const queues = authority?.topics.get(topic);
    if (queues === undefined) return undefined;
    const brokers = members
      .map(({ broker }) =>
        broker.role === BrokerRole.MASTER && broker !== master?.broker ? deposed(broker) : broker,
      )
      .sort((a, b) => a.id - b.id);
    return create(RouteGroupSchema, { brokerName: name, queues, brokers });
  }

  #get(key: string): OwnMember {
    const member = this.#members.get(key);
    assert(member !== undefined, `the broker ${key} is not in the route table`);
    return member;
  }

  #serve(member: OwnMember, queues: TopicQueues): void {
    member.topics.set(queues.topic, queues);
    const groups = this.#groupsOf.get(queues.topic);
    if (groups === undefined) this.#groupsOf.set(queues.topic, new Set([member.broker.name]));
    else groups.add(member.broker.name);
  }

  /** A member of the group no longer serves the topic: forget the group there when no other one does. */
  #unlink(topic: string, name: string): void {
    for (const { topics } of this.#groups.get(name) ?? []) if (topics.has(topic)) return;
    const groups = this.#groupsOf.get(topic);
    groups?.delete(name);
    if (groups?.size === 0) this.#groupsOf.delete(topic);
  }

  /** A member's change shows in the routes of all topics of its group. */
  #addTopicsOf(name: string, into: Set<string>): Set<string> {
    for (const { topics } of this.#groups.get(name) ?? []) {
      for (const topic of topics.keys()) into.add(topic);
    }
    return into;
  }
}

/** The highest epoch first; where epochs are equal, as with fixed roles, the lowest id. */
function bySeniority(a: OwnMember, b: OwnMember): number {
  if (a.broker.epoch !== b.broker.epoch) return a.broker.epoch > b.broker.epoch ? -1 : 1;
  return a.broker.id - b.broker.id;
}

/** A broker that still takes itself for the master although another one is: not to be written to. */
function deposed(broker: Broker): Broker {
  return create(BrokerSchema, {
    ...broker,
    role: BrokerRole.SLAVE,
    state: BrokerState.SUSPECT,
  });
}

function sameQueues(a: TopicQueues, b: TopicQueues): boolean {
  return a.queues === b.queues && a.readable === b.readable && a.writable === b.writable;
}

/** By code units, so that all name servers agree. */
function compareText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
