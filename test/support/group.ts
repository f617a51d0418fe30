// Broker groups in this process: a name server and brokers on free ports, with real gRPC, disks and LMDB, and the
// machine's clock: members watch each other over sockets, whose time nobody can turn by hand.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { BROKER_OPTIONS, Broker } from '@ternmq/broker';
import { NameServer } from '@ternmq/nameserver';
import { createLogger, nodeDisk, resolveOptions, systemClock, systemRandom } from '@ternmq/runtime';
import { Client, type ClientOptions } from '@ternmq/sdk';
import { viewOf } from '../../services/broker/src/log/record.ts';
import { runLength } from '../../services/broker/src/log/record-run.ts';
import { eventually } from './eventually.ts';
import { TempDir } from './temp-dir.ts';

/** Brokers and their name server. */
export class BrokerGroup implements AsyncDisposable {
  readonly folder: TempDir;
  readonly nameServer: NameServer;
  readonly #flags: Readonly<Record<string, unknown>>;
  readonly #brokers = new Map<string, Broker>();
  readonly #ports = new Map<string, number>();
  readonly #clients: Client[] = [];
  /** What made a broker stop by itself. */
  fatal: Error | undefined;

  private constructor(
    folder: TempDir,
    nameServer: NameServer,
    flags: Readonly<Record<string, unknown>>,
  ) {
    this.folder = folder;
    this.nameServer = nameServer;
    this.#flags = flags;
  }

  /** Starts the name server. */
  static async create(flags: Readonly<Record<string, unknown>> = {}): Promise<BrokerGroup> {
    const folder = await TempDir.create('group');
    const nameServer = await NameServer.create(
      { host: '127.0.0.1', port: 0, warmUpMs: 0 },
      { clock: systemClock, logger: createLogger({ level: 'silent' }) },
    );
    await nameServer.start();
    return new BrokerGroup(folder, nameServer, flags);
  }

  /** Where the name server is. */
  get nameservers(): string {
    return `127.0.0.1:${this.nameServer.port}`;
  }

  /** Starts a member, on the port and folder that it had before. */
  async start(
    id: number,
    name = 'b1',
    flags: Readonly<Record<string, unknown>> = {},
  ): Promise<Broker> {
    const key = `${name}-${id}`;
    const options = resolveOptions(BROKER_OPTIONS, {
      flags: {
        name,
        id,
        data: this.dataOf(id, name),
        brokerPort: this.#ports.get(key) ?? 0,
        rocketmq: false,
        autoCreateTopics: true,
        nameserver: this.nameservers,
        segmentSize: '16MiB',
        ...this.#flags,
        ...flags,
      },
    });
    const broker = await Broker.open(options, {
      clock: systemClock,
      disk: nodeDisk,
      random: systemRandom,
      logger: createLogger({ level: process.env.TEST_LOG === undefined ? 'silent' : 'debug' }),
      version: 'test',
      fatal: (error) => {
        this.fatal = error;
      },
    });
    this.#brokers.set(key, broker);
    this.#ports.set(key, broker.port);
    return broker;
  }

  /** A member that runs. */
  broker(id: number, name = 'b1'): Broker {
    const broker = this.#brokers.get(`${name}-${id}`);
    if (broker === undefined) throw new Error(`member ${id} of ${name} does not run`);
    return broker;
  }

  /** The role of a member; undefined when it does not run. */
  roleOf(id: number, name = 'b1'): string | undefined {
    return this.#brokers.get(`${name}-${id}`)?.roles.role;
  }

  /** Stops a member. */
  async stop(id: number, name = 'b1'): Promise<void> {
    await this.broker(id, name).close();
    this.#brokers.delete(`${name}-${id}`);
  }

  /** Waits until every member that runs does what its role asks. */
  async ready(): Promise<void> {
    for (const [key, broker] of this.#brokers) {
      await eventually(
        `${key} is ready`,
        () => (broker.notReady().length === 0 ? true : undefined),
        {
          withinMs: 10_000,
          everyMs: 10,
        },
      );
    }
  }

  /** Waits until the in-sync set of the member that leads is this. */
  async inSync(ids: readonly number[], leader = 0, name = 'b1'): Promise<void> {
    const text = ids.join();
    await eventually(
      `the in-sync set of ${name} is ${text}`,
      () => (this.broker(leader, name).roles.replicas?.inSync.join() === text ? true : undefined),
      { withinMs: 10_000, everyMs: 10 },
    );
  }

  /** Folder of a member's data. */
  dataOf(id: number, name = 'b1'): string {
    return join(this.folder.path, `${name}-${id}`);
  }

  /** The bytes of a member's log, by segment, up to its end. */
  logOf(id: number, name = 'b1'): Map<string, Buffer> {
    const log = this.broker(id, name).roles.replica?.log;
    const end = log?.next ?? 0;
    log?.flush();
    const folder = join(this.dataOf(id, name), 'log');
    const files = readdirSync(folder).filter((file) => /^\d+$/.test(file) && Number(file) < end);
    return new Map(
      files.map((file) => {
        const bytes = readFileSync(join(folder, file)).subarray(0, end - Number(file));
        // What an earlier use of the file left behind its last record has no meaning.
        return [
          file,
          bytes.subarray(0, runLength(viewOf(bytes), 0, bytes.length, Infinity, Number(file))),
        ];
      }),
    );
  }

  /** A client of the cluster; closed with it. */
  client(options: Omit<ClientOptions, 'nameservers'> = {}): Client {
    const client = new Client({ ...options, nameservers: this.nameservers });
    this.#clients.push(client);
    return client;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.close({ drainMs: 100 })));
    await Promise.all([...this.#brokers.values()].map((broker) => broker.close()));
    await this.nameServer.close();
    await this.folder[Symbol.asyncDispose]();
  }
}
