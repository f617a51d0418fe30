// etcd as a process of its own, on free ports of 127.0.0.1, for as long as a test lasts.

import { spawnSync } from 'node:child_process';
import { Child } from './child-process.ts';
import { eventually } from './eventually.ts';
import { freePorts } from './free-ports.ts';

const READY_MS_MAX = 15_000;

/** A running etcd. */
export class Etcd implements AsyncDisposable {
  readonly #args: readonly string[];
  readonly #health: string;
  /** `host:port` for clients. */
  readonly address: string;
  #child: Child;

  private constructor(folder: string, client: number, peer: number) {
    this.address = `127.0.0.1:${client}`;
    this.#health = `http://${this.address}/health`;
    const clients = `http://${this.address}`;
    const peers = `http://127.0.0.1:${peer}`;
    this.#args = [
      ...['--name', 'test', '--data-dir', folder, '--log-level', 'error'],
      ...['--listen-client-urls', clients, '--advertise-client-urls', clients],
      ...['--listen-peer-urls', peers, '--initial-advertise-peer-urls', peers],
      ...['--initial-cluster', `test=${peers}`],
      ...['--heartbeat-interval', '50', '--election-timeout', '500'],
    ];
    this.#child = new Child('etcd', this.#args);
  }

  /** Why there is no etcd on this machine; undefined when there is one. For `skipWhen`. */
  static missing(): string | undefined {
    const missing = spawnSync('etcd', ['--version']).error !== undefined;
    return missing ? 'etcd is not installed (Debian: apt-get install etcd-server)' : undefined;
  }

  /** Starts it with its data in a folder. */
  static async start(folder: string): Promise<Etcd> {
    const [client = 0, peer = 0] = await freePorts(2);
    const etcd = new Etcd(folder, client, peer);
    await etcd.ready();
    return etcd;
  }

  /** Waits until it answers. */
  async ready(): Promise<void> {
    await eventually(
      'etcd answers',
      async () => {
        const answer = await fetch(this.#health, { signal: AbortSignal.timeout(1000) });
        const { health } = (await answer.json()) as { health: string };
        return health === 'true' || undefined;
      },
      { withinMs: READY_MS_MAX, everyMs: 20 },
    );
  }

  /** Stops it from running, as a machine that hangs would be; `signal('SIGCONT')` lets it go on. */
  signal(signal: NodeJS.Signals): void {
    this.#child.signal(signal);
  }

  /** Ends it without warning. */
  async kill(): Promise<void> {
    await this.#child.kill();
  }

  /** Starts it again on the same data. */
  async restart(): Promise<void> {
    this.#child = new Child('etcd', this.#args);
    await this.ready();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child[Symbol.asyncDispose]();
  }
}
