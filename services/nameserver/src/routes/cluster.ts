// The brokers of a cluster as one name server knows them: who may register, what a heartbeat changes, who is
// removed. Reads no clock and knows no network: `nowMs` is monotonic time, a membership stands for a stream.
//
// Of two registrations of the same name and id the higher epoch wins. At equal epochs the newer one wins when
// it comes from the same address (a restart or a new connection) or when the older one is suspect; a live
// broker at another address is a mistake of configuration, and the newer one is refused.

import { create } from '@bufbuild/protobuf';
import {
  type Broker,
  type BrokerDescription,
  BrokerDescriptionSchema,
  BrokerSchema,
  BrokerState,
  type RegisterBrokerRequest_Heartbeat,
  type RegisterBrokerRequest_Registration,
  type TopicQueues,
} from '@ternmq/proto/gen/ternmq/nameserver/v1/nameserver_pb';
import { assert, TernError } from '@ternmq/runtime';
import { BrokerLiveness } from './broker-liveness.ts';
import { checkBroker, checkTopicNames, checkTopics } from './registration-check.ts';
import { brokerKey, RouteTable } from './route-table.ts';

/** Bounds of a cluster. */
export interface ClusterOptions {
  /** Silence after which a broker is removed, in milliseconds. */
  readonly timeoutMs: number;
  /** How often tick is called, in milliseconds. */
  readonly tickMs: number;
  /** Topics of all brokers together; what comes beyond is left out of the routes. */
  readonly topicsMax: number;
  /** Brokers. */
  readonly brokersMax: number;
}

/** What is told of changes. */
export interface ClusterEvents {
  /** The routes of these topics may have changed. */
  routesChanged(topics: ReadonlySet<string>): void;
  /** So many topics of a broker found no room. */
  topicsLeftOut(broker: Broker, count: number): void;
  /** A broker came, became suspect, came back, or went; for logs. */
  brokerChanged(broker: Broker, what: 'registered' | 'suspect' | 'live' | 'left' | 'gone'): void;
}

/** One registration that holds, until it is replaced or the broker is removed. */
export interface Membership {
  /** Identifies the broker. */
  readonly key: string;
  /** Another registration has taken its place, or the broker was silent for too long. */
  readonly revoked: (error: TernError) => void;
}

/** The brokers, their liveness and their routes. */
export class Cluster {
  readonly routes = new RouteTable();
  readonly #options: ClusterOptions;
  readonly #events: ClusterEvents;
  readonly #liveness: BrokerLiveness;
  /** By broker; absent once the stream has ended. */
  readonly #memberships = new Map<string, Membership>();

  constructor(options: ClusterOptions, events: ClusterEvents) {
    this.#options = options;
    this.#events = events;
    this.#liveness = new BrokerLiveness(options);
  }

  /**
   * Registers a broker with all its topics; they replace what it served before.
   *
   * @param revoked called when the registration holds no more although its stream is open
   * @throws TernError INVALID_ARGUMENT; FAILED_PRECONDITION with reason STALE_EPOCH or BROKER_ID_IN_USE;
   *   RESOURCE_EXHAUSTED with reason TOO_MANY_BROKERS
   */
  register(
    { broker, topics }: RegisterBrokerRequest_Registration,
    nowMs: number,
    revoked: (error: TernError) => void,
  ): Membership {
    checkBroker(broker);
    checkTopics(topics, 'topics');
    const key = brokerKey(broker);
    this.#checkPrecedence(key, broker);
    this.#checkRoom(key);

    const former = this.#memberships.get(key);
    const membership = { key, revoked };
    this.#memberships.set(key, membership);
    former?.revoked(replaced(broker));
    this.#liveness.heard(key, nowMs);
    const known = create(BrokerSchema, { ...broker, state: BrokerState.LIVE });
    this.#events.routesChanged(this.routes.put(known, this.#fitting(known, topics)));
    this.#events.brokerChanged(known, 'registered');
    return membership;
  }

  /**
   * Takes a broker's heartbeat and what has changed since the last one. Returns whether the broker stays.
   *
   * @throws TernError INVALID_ARGUMENT; FAILED_PRECONDITION with reason STALE_EPOCH
   */
  heartbeat(
    membership: Membership,
    heartbeat: RegisterBrokerRequest_Heartbeat,
    nowMs: number,
  ): boolean {
    const { key } = membership;
    if (this.#memberships.get(key) !== membership) return false;
    if (heartbeat.leaving) {
      this.#remove(key, 'left');
      return false;
    }
    const { broker, changedTopics, removedTopics } = heartbeat;
    if (broker !== undefined) this.#checkChange(this.#brokerOf(key), broker);
    checkTopics(changedTopics, 'changed_topics');
    checkTopicNames(removedTopics, 'removed_topics');

    if (this.#liveness.heard(key, nowMs)) this.#setState(key, BrokerState.LIVE, 'live');
    if (broker !== undefined) {
      const known = create(BrokerSchema, { ...broker, state: BrokerState.LIVE });
      this.#events.routesChanged(this.routes.setBroker(key, known));
    }
    if (removedTopics.length > 0) {
      this.#events.routesChanged(this.routes.changeTopics(key, [], removedTopics));
    }
    if (changedTopics.length > 0) {
      const fitting = this.#fitting(this.#brokerOf(key), changedTopics);
      this.#events.routesChanged(this.routes.changeTopics(key, fitting, []));
    }
    return true;
  }

  /** The stream of a registration has ended: the broker is suspect at once. */
  disconnected(membership: Membership): void {
    const { key } = membership;
    if (this.#memberships.get(key) !== membership) return;
    this.#memberships.delete(key);
    if (this.#liveness.disconnected(key)) this.#setState(key, BrokerState.SUSPECT, 'suspect');
  }

  /** Lets time pass: removes who was silent for too long. */
  tick(nowMs: number): void {
    const { suspect, gone } = this.#liveness.tick(nowMs);
    for (const key of suspect) this.#setState(key, BrokerState.SUSPECT, 'suspect');
    for (const key of gone) {
      const membership = this.#memberships.get(key);
      this.#remove(key, 'gone');
      membership?.revoked(silent(this.#options.timeoutMs));
    }
  }

  /** All brokers, by name and id. */
  describe(nowMs: number): BrokerDescription[] {
    return this.routes.members().map(({ broker, topics }) =>
      create(BrokerDescriptionSchema, {
        broker,
        topics: topics.size,
        silenceMs: BigInt(Math.round(this.#liveness.silenceMs(brokerKey(broker), nowMs))),
      }),
    );
  }

  #setState(key: string, state: BrokerState, what: 'suspect' | 'live'): void {
    this.#events.routesChanged(this.routes.setState(key, state));
    this.#events.brokerChanged(this.#brokerOf(key), what);
  }

  #remove(key: string, what: 'left' | 'gone'): void {
    const broker = this.#brokerOf(key);
    this.#memberships.delete(key);
    this.#liveness.forget(key);
    this.#events.routesChanged(this.routes.remove(key));
    this.#events.brokerChanged(broker, what);
  }

  #brokerOf(key: string): Broker {
    const member = this.routes.find(key);
    assert(member !== undefined, `the broker ${key} has no routes`);
    return member.broker;
  }

  #checkPrecedence(key: string, broker: Broker): void {
    const known = this.routes.find(key)?.broker;
    if (known === undefined) return;
    if (broker.epoch < known.epoch) throw staleEpoch(broker, known);
    const sameHolder = broker.epoch > known.epoch || broker.address === known.address;
    if (!sameHolder && this.#liveness.state(key) === BrokerState.LIVE) {
      throw new TernError(
        'FAILED_PRECONDITION',
        'BROKER_ID_IN_USE',
        `Broker ${known.name} with id ${known.id} runs already at ${known.address}; give this one another --name or --id, or stop the other one.`,
        { metadata: { name: known.name, id: String(known.id), address: known.address } },
      );
    }
  }

  #checkChange(known: Broker, broker: Broker): void {
    checkBroker(broker);
    if (brokerKey(broker) !== brokerKey(known)) {
      throw new TernError(
        'INVALID_ARGUMENT',
        'MALFORMED_REQUEST',
        'A heartbeat cannot change the name or id of its broker; open another stream.',
        { fields: [{ field: 'broker', description: 'must keep its name and id' }] },
      );
    }
    if (broker.epoch < known.epoch) throw staleEpoch(broker, known);
  }

  #checkRoom(key: string): void {
    const { brokersMax } = this.#options;
    if (this.routes.find(key) !== undefined || this.routes.memberCount < brokersMax) return;
    throw new TernError(
      'RESOURCE_EXHAUSTED',
      'TOO_MANY_BROKERS',
      `This name server knows ${brokersMax} brokers already, and takes no more.`,
    );
  }

  /** Topics for which there is room. The others are left out: to refuse the broker would take all away. */
  #fitting(broker: Broker, topics: readonly TopicQueues[]): readonly TopicQueues[] {
    let room = this.#options.topicsMax - this.routes.topicCount;
    const fitting = topics.filter(({ topic }) => this.routes.has(topic) || room-- > 0);
    const leftOut = topics.length - fitting.length;
    if (leftOut > 0) this.#events.topicsLeftOut(broker, leftOut);
    return fitting;
  }
}

function staleEpoch(broker: Broker, known: Broker): TernError {
  return new TernError(
    'FAILED_PRECONDITION',
    'STALE_EPOCH',
    `Broker ${known.name} with id ${known.id} is known with epoch ${known.epoch} at ${known.address}; a registration with epoch ${broker.epoch} comes too late.`,
    { metadata: { epoch: String(known.epoch), address: known.address } },
  );
}

function replaced({ name, id, address }: Broker): TernError {
  return new TernError(
    'ABORTED',
    'REGISTRATION_REPLACED',
    `A newer registration of broker ${name} with id ${id} came from ${address}.`,
  );
}

function silent(timeoutMs: number): TernError {
  return new TernError(
    'ABORTED',
    'HEARTBEAT_MISSED',
    `Nothing was heard from this broker for ${timeoutMs} ms; it has to register again.`,
  );
}
