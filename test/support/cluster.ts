// A name server and a broker in this process, on free ports, with real gRPC, disk and LMDB, and a clock that the test
// turns by hand.

import { join } from 'node:path';
import { BROKER_OPTIONS, Broker } from '@ternmq/broker';
import { NameServer } from '@ternmq/nameserver';
import {
  createLogger,
  ManualClock,
  nodeDisk,
  resolveOptions,
  systemClock,
  systemRandom,
} from '@ternmq/runtime';
import { Client, type ClientOptions } from '@ternmq/sdk';
import { eventually } from './eventually.ts';
import { TempDir } from './temp-dir.ts';

const READY_WITHIN_MS = 5000;

/** What a cluster is made with. */
export interface ClusterOptions {
  /** Options of the broker beyond those that the cluster sets, as flags. */
  readonly broker?: Readonly<Record<string, unknown>>;
}

/** A running cluster. */
export class Cluster implements AsyncDisposable {
  /** The broker's clock: leases, retries and retention follow it. */
  readonly clock = new ManualClock(Date.now());
  readonly folder: TempDir;
  nameServer: NameServer;
  #broker: Broker | undefined;
  readonly #options: ClusterOptions;
  readonly #clients: Client[] = [];
  /** What made a broker stop by itself. */
  fatal: Error | undefined;

  private constructor(options: ClusterOptions, folder: TempDir, nameServer: NameServer) {
    this.#options = options;
    this.folder = folder;
    this.nameServer = nameServer;
  }

  /** The broker that runs. */
  get broker(): Broker {
    if (this.#broker === undefined) throw new Error('the broker has not started');
    return this.#broker;
  }

  /** Starts a cluster and waits until clients can send. */
  static async start(options: ClusterOptions = {}): Promise<Cluster> {
    const folder = await TempDir.create('cluster');
    const nameServer = await startNameServer(0);
    const cluster = new Cluster(options, folder, nameServer);
    cluster.#broker = await cluster.#openBroker(0);
    await cluster.ready();
    return cluster;
  }

  #openBroker(port: number, rocketmqPort = 0): Promise<Broker> {
    const flags = {
      data: join(this.folder.path, 'data'),
      brokerPort: port,
      rocketmq: false,
      rocketmqPort,
      autoCreateTopics: true,
      nameserver: `127.0.0.1:${this.nameServer.port}`,
      segmentSize: '16MiB',
      ...this.#options.broker,
    };
    return Broker.open(resolveOptions(BROKER_OPTIONS, { flags }), {
      clock: this.clock,
      disk: nodeDisk,
      random: systemRandom,
      logger: createLogger({ level: 'silent' }),
      version: 'test',
      fatal: (error) => {
        this.fatal = error;
      },
    });
  }

  /** Where the name server is. */
  get nameservers(): string {
    return `127.0.0.1:${this.nameServer.port}`;
  }

  /** Waits until clients can send. */
  async ready(): Promise<void> {
    await eventually(
      'the broker is ready',
      () => (this.broker.notReady().length === 0 ? true : undefined),
      { withinMs: READY_WITHIN_MS, everyMs: 5 },
    );
  }

  /** A client of the cluster; closed with it. */
  client(options: Omit<ClientOptions, 'nameservers'> = {}): Client {
    const client = new Client({ ...options, nameservers: this.nameservers });
    this.#clients.push(client);
    return client;
  }

  /**
   * Stops the broker and starts it again on the same data and port.
   *
   * @param options.pauseMs time that passes while it is down, in milliseconds
   */
  async restartBroker({
    pauseMs = 0,
    meanwhile,
  }: {
    readonly pauseMs?: number;
    readonly meanwhile?: () => Promise<void>;
  } = {}): Promise<void> {
    const { port, rocketmqPort } = this.broker;
    await this.broker.close();
    await meanwhile?.();
    this.clock.advance(pauseMs);
    this.#broker = await this.#openBroker(port, rocketmqPort);
    await this.ready();
  }

  /** Stops the name server and starts an empty one on the same port. */
  async restartNameServer(): Promise<void> {
    const { port } = this.nameServer;
    await this.nameServer.close();
    this.nameServer = await startNameServer(port);
  }

  /** Lets the broker's time pass, in steps that let other work go on between. */
  async pass(ms: number): Promise<void> {
    const STEP_MS = 100;
    for (let left = ms; left > 0; left -= STEP_MS) {
      this.clock.advance(Math.min(STEP_MS, left));
      if (left % 1000 < STEP_MS) await new Promise((resolve) => setImmediate(resolve));
    }
    await new Promise((resolve) => setImmediate(resolve));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.close({ drainMs: 100 })));
    await this.broker.close();
    await this.nameServer.close();
    await this.folder[Symbol.asyncDispose]();
  }
}

async function startNameServer(port: number): Promise<NameServer> {
  const nameServer = await NameServer.create(
    { host: '127.0.0.1', port, warmUpMs: 0 },
    { clock: systemClock, logger: createLogger({ level: 'silent' }) },
  );
  await nameServer.start();
  return nameServer;
}
