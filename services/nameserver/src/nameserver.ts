// Builds a name server: the cluster as it is heard of, and the four methods that read and write it.

import { NameServerService } from '@ternmq/proto/gen/ternmq/nameserver/v1/nameserver_pb';
import {
  assert,
  type Clock,
  formatAddress,
  GrpcServer,
  type Logger,
  type Registry,
  type Timer,
} from '@ternmq/runtime';
import { describeCluster } from './grpc/describe-cluster.ts';
import { queryRoute } from './grpc/query-route.ts';
import { RegisterBroker } from './grpc/register-broker.ts';
import { WatchRoutes } from './grpc/watch-routes.ts';
import { registerMetrics } from './metrics.ts';
import { Cluster, type ClusterEvents } from './routes/cluster.ts';

/** How a name server runs. */
export interface NameServerOptions {
  /** Address to listen on, for example `0.0.0.0`. */
  readonly host: string;
  /** Port to listen on; 0 takes any free one. */
  readonly port: number;
  /** Silence after which a broker is removed, in milliseconds. Default: 15,000. */
  readonly brokerTimeoutMs?: number;
  /**
   * Time after the start in which it may not know all brokers, in milliseconds. Default: the timeout. 0 is
   * right only where no broker can have been registered before, as with a new cluster in one process.
   */
  readonly warmUpMs?: number;
  /** Topics whose routes are kept; those beyond are left out. Default: 1,000,000. */
  readonly topicsMax?: number;
  /** Clients that may watch routes at the same time. Default: 10,000. */
  readonly watchersMax?: number;
}

/** What a name server uses. */
export interface NameServerCollaborators {
  readonly clock: Clock;
  readonly logger: Logger;
  /** Where its metrics are shown. Default: nowhere. */
  readonly registry?: Registry;
}

const BROKERS_MAX = 10_000;
/** Topic names that all watchers together may ask for; each costs about 100 bytes. */
const WATCHED_NAMES_MAX = 2_000_000;
/** Heartbeats in the time of one timeout: so many may get lost or late. */
const HEARTBEATS_PER_TIMEOUT = 5;
/** How finely silence is measured. */
const TICKS_PER_TIMEOUT = 50;
/** How long calls in flight may take when it closes; its streams are ended at once. */
const CLOSE_GRACE_MS = 1000;

/** A name server. */
export class NameServer {
  readonly #options: NameServerOptions;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #cluster: Cluster;
  readonly #registerBroker: RegisterBroker;
  readonly #watchRoutes: WatchRoutes;
  readonly #server: GrpcServer;
  readonly #timeoutMs: number;
  readonly #warmUpMs: number;
  #timers: Timer[] = [];
  #startedMs = 0;
  #port: number | undefined;

  private constructor(options: NameServerOptions, collaborators: NameServerCollaborators) {
    this.#options = options;
    this.#clock = collaborators.clock;
    this.#logger = collaborators.logger.child({ part: 'nameserver' });
    this.#timeoutMs = options.brokerTimeoutMs ?? 15_000;
    this.#warmUpMs = options.warmUpMs ?? this.#timeoutMs;

    this.#cluster = new Cluster(
      {
        timeoutMs: this.#timeoutMs,
        tickMs: this.#tickMs,
        topicsMax: options.topicsMax ?? 1_000_000,
        brokersMax: BROKERS_MAX,
      },
      this.#events(),
    );
    const warmingUp = (): boolean => this.#uptimeMs < this.#warmUpMs;
    this.#registerBroker = new RegisterBroker(
      {
        heartbeatIntervalMs: Math.ceil(this.#timeoutMs / HEARTBEATS_PER_TIMEOUT),
        timeoutMs: this.#timeoutMs,
      },
      this.#cluster,
      this.#clock,
    );
    this.#watchRoutes = new WatchRoutes(
      { watchersMax: options.watchersMax ?? 10_000, namesMax: WATCHED_NAMES_MAX },
      this.#cluster.routes,
      warmingUp,
    );
    this.#server = new GrpcServer({}, { clock: this.#clock });
    this.#server.add(NameServerService, {
      registerBroker: this.#registerBroker.handler,
      queryRoute: queryRoute(this.#cluster.routes, warmingUp),
      watchRoutes: this.#watchRoutes.handler,
      describeCluster: describeCluster(this.#cluster, this.#clock, () => ({
        uptimeMs: this.#uptimeMs,
        warmingUp: warmingUp(),
      })),
    });
    if (collaborators.registry !== undefined) {
      registerMetrics(collaborators.registry, this.#cluster.routes, this.#watchRoutes);
    }
  }

  /** Builds a name server that does not listen yet. */
  static async create(
    options: NameServerOptions,
    collaborators: NameServerCollaborators,
  ): Promise<NameServer> {
    return new NameServer(options, collaborators);
  }

  /** The port that it listens on. */
  get port(): number {
    assert(this.#port !== undefined, 'the name server has not been started');
    return this.#port;
  }

  /**
   * Listens and serves.
   *
   * @throws TernError FAILED_PRECONDITION with reason PORT_IN_USE or CANNOT_LISTEN
   */
  async start(): Promise<void> {
    this.#startedMs = this.#clock.monotonicMs();
    this.#port = await this.#server.listen(this.#options.host, this.#options.port);
    this.#timers = [
      this.#clock.every(this.#tickMs, () => this.#cluster.tick(this.#clock.monotonicMs())),
      this.#clock.setTimer(this.#warmUpMs, () => this.#watchRoutes.warmedUp()),
    ];
    this.#server.setServing(true);
    this.#logger.info(
      { timeoutMs: this.#timeoutMs },
      `listening on ${formatAddress(this.#options.host, this.#port)}`,
    );
  }

  /** Ends all streams and stops listening; harmless when it is closed. */
  async close(): Promise<void> {
    for (const timer of this.#timers) timer.cancel();
    const stopped = this.#server.stop(CLOSE_GRACE_MS);
    this.#watchRoutes.close();
    this.#registerBroker.close();
    await stopped;
  }

  get #tickMs(): number {
    return Math.ceil(this.#timeoutMs / TICKS_PER_TIMEOUT);
  }

  get #uptimeMs(): number {
    return this.#clock.monotonicMs() - this.#startedMs;
  }

  #events(): ClusterEvents {
    return {
      routesChanged: (topics) => this.#watchRoutes.changed(topics),
      brokerChanged: ({ name, id, address, epoch }, what) => {
        const level = what === 'suspect' || what === 'gone' ? 'warn' : 'info';
        this.#logger[level]({ name, id, address, epoch: String(epoch) }, `broker ${what}`);
      },
      topicsLeftOut: ({ name, id }, count) =>
        this.#logger.error(
          { name, id, count },
          'topics of a broker have no routes; start with a higher --topics-max, or delete topics',
        ),
    };
  }
}
