// Builds a broker and takes it apart again: what it has in every role. What it does is its role's affair (roles.ts).

import { BrokerRole, type TopicQueues } from '@ternmq/proto/gen/ternmq/nameserver/v1/nameserver_pb';
import {
  type Clock,
  type Disk,
  formatAddress,
  GrpcServer,
  type Logger,
  type Random,
  Registry,
} from '@ternmq/runtime';
import { type BrokerOptions, SEGMENT_BYTES_MIN } from './config.ts';
import type { Coordinator } from './coordination/coordinator.ts';
import { EtcdCoordinator } from './coordination/etcd-coordinator.ts';
import { findGroup } from './coordination/find-group.ts';
import { FixedCoordinator } from './coordination/fixed-coordinator.ts';
import { LOG_DEFAULTS } from './log/log-options.ts';
import { Registration } from './registration.ts';
import { RocketmqEndpoint } from './rocketmq/endpoint.ts';
import { type Role, Roles } from './roles.ts';
import { openDataFolder } from './state/data-folder.ts';
import { groupSettings } from './state/groups.ts';
import { openLmdbStore } from './state/lmdb-store.ts';
import type { StateStore } from './state/store.ts';
import { isHoldingTopic, type Topic } from './state/topics.ts';

/** What a broker stands on. */
export interface BrokerModules {
  readonly clock: Clock;
  readonly disk: Disk;
  readonly random: Random;
  readonly logger: Logger;
  /** Product version, for people. */
  readonly version: string;
  /** Called when the broker can no longer keep its promises: the process must end at once. */
  readonly fatal: (error: Error) => void;
  /** Where its metrics are shown. Default: a registry of its own. */
  readonly registry?: Registry;
  /** Opens the state store in a folder. Default: LMDB. */
  readonly openStore?: (folder: string) => StateStore;
}

const STOP_GRACE_MS = 5000;

/** A running broker. */
export class Broker {
  /** What it measures. */
  readonly registry: Registry;
  /** The port that it listens on. */
  readonly port: number;
  /** Where clients reach it. */
  readonly address: string;
  /** The port for clients of RocketMQ 5; undefined when they are not served. */
  readonly rocketmqPort: number | undefined;
  readonly #closers: readonly (() => Promise<void> | void)[];
  readonly #registration: Registration;
  readonly #roles: Roles;
  #closed: Promise<void> | undefined;

  private constructor(parts: {
    registry: Registry;
    port: number;
    address: string;
    rocketmqPort: number | undefined;
    closers: readonly (() => Promise<void> | void)[];
    registration: Registration;
    roles: Roles;
  }) {
    this.registry = parts.registry;
    this.port = parts.port;
    this.address = parts.address;
    this.rocketmqPort = parts.rocketmqPort;
    this.#closers = parts.closers;
    this.#registration = parts.registration;
    this.#roles = parts.roles;
  }

  /**
   * Opens a broker: takes the data folder, recovers, listens, takes its role, and registers with the name servers.
   * Throws FAILED_PRECONDITION (DATA_FOLDER_IN_USE, DATA_FORMAT_UNKNOWN, PORT_IN_USE), DATA_LOSS (STATE_LOST).
   */
  static async open(options: BrokerOptions, modules: BrokerModules): Promise<Broker> {
    const { clock, disk, random, version, fatal } = modules;
    const logger = modules.logger.child({ broker: options.name });
    const closers: (() => Promise<void> | void)[] = [];
    try {
      const startMs = clock.monotonicMs();
      const folder = openDataFolder(options.data, disk, random);
      closers.push(() => folder.lock.release());

      const registry = modules.registry ?? new Registry();
      const server = new GrpcServer();
      let registration: Registration | undefined;
      const roles: Roles = await Roles.open(
        options,
        {
          ...LOG_DEFAULTS,
          folder: options.data,
          segmentBytes: await segmentBytes(options, disk),
          flushMode: options.flush,
          flushIntervalMs: options.flushInterval,
        },
        {
          clock,
          disk,
          random,
          logger,
          registry,
          server,
          coordinator: coordinatorOf(options, folder.id, modules),
          openStore: modules.openStore ?? openLmdbStore,
          fatal,
          identity: {
            name: options.name,
            id: options.id,
            version,
            flushMode: options.flush,
            uptimeMs: () => clock.monotonicMs() - startMs,
          },
          roleChanged: () => {
            registration?.brokerChanged(registered());
            registration?.topicsChanged(allTopics(roles), []);
          },
          topicChanged: (topic, deleted) => {
            if (isHoldingTopic(topic.name)) return;
            if (deleted) registration?.topicsChanged([], [topic.name]);
            else registration?.topicsChanged([queuesOf(topic, roles)], []);
          },
        },
      );
      closers.push(() => roles.close());
      closers.push(async () => {
        const stopped = server.stop(STOP_GRACE_MS);
        await roles.end(server.closing.reason as Error, STOP_GRACE_MS);
        await stopped;
      });
      const port = await server.listen(options.host, options.brokerPort);
      const address = formatAddress(options.advertise ?? options.host, port);
      await roles.start(address);
      const endpoint = options.rocketmq
        ? await RocketmqEndpoint.open(options, {
            server,
            ownTopic: (name) =>
              roles.role === 'leading' ? roles.replica?.state.topics.find(name) : undefined,
            groupSettings: (name) =>
              roles.replica?.state.groups.find(name)?.settings ?? groupSettings(undefined),
            clock,
            disk,
            random,
            logger: logger.child({ part: 'rocketmq' }),
          })
        : undefined;
      closers.push(() => endpoint?.close(STOP_GRACE_MS));

      const registered = () => ({
        name: options.name,
        id: options.id,
        address,
        epoch: BigInt(roles.epoch),
        role: registeredRole(roles.role),
        cluster: options.cluster,
        version,
        rocketmqAddress: rocketmqAddress(options, endpoint),
      });
      const joined = new Registration(
        {
          addresses: options.nameserver,
          broker: registered(),
          topics: () => allTopics(roles),
        },
        { clock, random, logger: logger.child({ part: 'registration' }) },
      );
      registration = joined;
      closers.push(() => joined.leave());
      server.setServing(true);
      return new Broker({
        registry,
        port,
        address,
        rocketmqPort: endpoint?.port,
        closers: closers.reverse(),
        registration: joined,
        roles,
      });
    } catch (error) {
      for (const close of closers.reverse()) {
        try {
          await close();
        } catch {
          // What failed first is what counts.
        }
      }
      throw error;
    }
  }

  /** Its role in the group, for tests and tools. */
  get roles(): Roles {
    return this.#roles;
  }

  /** Why clients cannot send now, or read when the broker is a slave, one sentence each; empty when they can. */
  notReady(): string[] {
    const reasons: string[] = [];
    if (this.#closed !== undefined) reasons.push('the broker is stopping');
    if (!this.#registration.registered)
      reasons.push('the broker is registered with no name server');
    if (this.#roles.guard?.refusing) reasons.push('the disk is almost full');
    const { trouble } = this.#roles;
    if (trouble !== undefined) reasons.push(trouble);
    return reasons;
  }

  /** Stops: answers what is in flight, makes everything durable, leaves the name servers. */
  close(): Promise<void> {
    this.#closed ??= (async () => {
      for (const close of this.#closers) await close();
    })();
    return this.#closed;
  }
}

function registeredRole(role: Role): BrokerRole {
  if (role === 'leading') return BrokerRole.MASTER;
  return role === 'standing in' ? BrokerRole.STAND_IN : BrokerRole.SLAVE;
}

/** Where clients of RocketMQ 5 reach the broker; empty when they do not. */
function rocketmqAddress(options: BrokerOptions, endpoint: RocketmqEndpoint | undefined): string {
  if (endpoint === undefined) return '';
  return (
    options.rocketmqAdvertise ?? formatAddress(options.advertise ?? options.host, endpoint.port)
  );
}

/** Who decides about the group. */
function coordinatorOf(
  options: BrokerOptions,
  folder: string,
  modules: BrokerModules,
): Coordinator {
  const { clock, disk, logger } = modules;
  if (options.election === 'etcd') {
    return new EtcdCoordinator(
      {
        endpoints: options.etcd,
        cluster: options.cluster,
        group: options.name,
        leaseMs: options.electionLease,
        folder,
      },
      { clock, logger: logger.child({ part: 'election', broker: options.name }) },
    );
  }
  return new FixedCoordinator(options.data, options.standInAfter, {
    disk,
    clock,
    findGroup: () => findGroup(options.nameserver, options.name, clock),
  });
}

function allTopics(roles: Roles): TopicQueues[] {
  return [...(roles.replica?.state.topics.all() ?? [])]
    .filter(({ name }) => !isHoldingTopic(name))
    .map((topic) => queuesOf(topic, roles));
}

function queuesOf(topic: Topic, roles: Roles): TopicQueues {
  return {
    $typeName: 'ternmq.nameserver.v1.TopicQueues',
    topic: topic.name,
    queues: topic.queues.length,
    readable: true,
    writable: roles.role === 'leading' && !topic.name.startsWith('%'),
  };
}

/** The size of segments: as asked for, but a disk holds at least 16 of them, so that old ones can go. */
async function segmentBytes(options: BrokerOptions, disk: Disk): Promise<number> {
  const { totalBytes } = await disk.space(options.data);
  const share = 2 ** Math.floor(Math.log2(totalBytes / 16));
  return Math.min(options.segmentSize, Math.max(SEGMENT_BYTES_MIN, share));
}
