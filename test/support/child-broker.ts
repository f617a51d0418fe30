// `tern` processes that listen: started with ports of their own, killed, and started again on the same
// data and the same ports.

import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Child, type Exit } from './child-process.ts';
import { eventually } from './eventually.ts';
import { freePorts } from './free-ports.ts';

/** The project's root. */
export const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

const READY_MS_MAX = 30_000;
const STOP_MS_MAX = 12_000;

/** The arguments that run a `tern` command on this Node, from the sources. */
export function ternCommand(...args: string[]): [command: string, args: string[]] {
  return [process.execPath, ['--conditions=source', join(ROOT, 'sdk/cli/bin/tern.js'), ...args]];
}

/** How to start a `tern` process that listens. */
export interface ChildBrokerOptions {
  /** `start` runs name server and broker in one process. */
  readonly command: 'start' | 'broker' | 'nameserver';
  /** Data directory; none for a name server. */
  readonly data?: string;
  /** When sends are answered; the default of `tern` when absent. */
  readonly flush?: 'sync' | 'async';
  /** Address of the name server, for `broker`. */
  readonly nameserver?: string;
  /** More arguments. */
  readonly args?: readonly string[];
  /** Added to the environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Called with the process id before the process is ready, each time it starts. */
  readonly onStart?: (pid: number) => void;
}

interface Ports {
  readonly nameserver: number;
  readonly broker: number;
  readonly metrics: number;
}

/** A `tern` process, on 127.0.0.1. */
export class ChildBroker implements AsyncDisposable {
  readonly #options: ChildBrokerOptions;
  readonly #ports: Ports;
  #child: Child;

  private constructor(options: ChildBrokerOptions, ports: Ports) {
    this.#options = options;
    this.#ports = ports;
    this.#child = this.#spawn();
  }

  /** Starts the process and waits until clients can send. */
  static async start(options: ChildBrokerOptions): Promise<ChildBroker> {
    const [nameserver = 0, broker = 0, metrics = 0] = await freePorts(3);
    const started = new ChildBroker(options, { nameserver, broker, metrics });
    try {
      await started.ready();
    } catch (error) {
      await started[Symbol.asyncDispose]();
      throw error;
    }
    return started;
  }

  /** `host:port` of the name server that it runs or reports to. */
  get nameserver(): string {
    return this.#options.nameserver ?? `127.0.0.1:${this.#ports.nameserver}`;
  }

  /** `host:port` of the broker. */
  get address(): string {
    return `127.0.0.1:${this.#ports.broker}`;
  }

  /** URL of a page on the metrics port, for example `/metrics`. */
  page(path: string): string {
    return `http://127.0.0.1:${this.#ports.metrics}${path}`;
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** How the process ended; undefined as long as it runs. */
  get exit(): Exit | undefined {
    return this.#child.exit;
  }

  /** The end of what the process wrote, for messages of failures. */
  get output(): string {
    return `${this.#child.stdout}${this.#child.stderr}`;
  }

  /** `kill -9`: the process has no chance to write anything more. */
  async kill(): Promise<void> {
    await this.#child.kill();
  }

  /** SIGTERM, and waits at most 12 s for the end; kills it then and throws. */
  async stop(): Promise<Exit> {
    this.#child.signal('SIGTERM');
    return eventually('the process ends after SIGTERM', () => this.#child.exit, {
      withinMs: STOP_MS_MAX,
    }).catch(async (error: unknown) => {
      await this.kill();
      throw error;
    });
  }

  /** Starts the ended process again, and does not wait for anything. */
  relaunch(): void {
    if (this.#child.exit === undefined) throw new Error('the process still runs');
    this.#child = this.#spawn();
  }

  /** Starts the ended process again and waits until clients can send; gives the milliseconds that it took. */
  async restart(): Promise<number> {
    const begin = performance.now();
    this.relaunch();
    await this.ready();
    return performance.now() - begin;
  }

  /** Waits until `GET /readyz` answers 200; throws when the process ends before that, or after 30 s. */
  async ready(): Promise<void> {
    const child = this.#child;
    const ready = async () => {
      if (child.exit !== undefined) return false;
      const answer = await fetch(this.page('/readyz'), { signal: AbortSignal.timeout(1000) });
      await answer.body?.cancel();
      return answer.status === 200 ? true : undefined;
    };
    const isReady = await eventually(`tern ${this.#options.command} is ready`, ready, {
      withinMs: READY_MS_MAX,
      everyMs: 10,
    }).catch((cause: unknown) => {
      throw new Error(`tern ${this.#options.command} is not ready\n${this.output}`, { cause });
    });
    if (!isReady) {
      const { code, signal } = await child.exited;
      throw new Error(
        `tern ${this.#options.command} ended with ${signal ?? `exit code ${code}`}\n${this.output}`,
      );
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill().catch(() => {});
  }

  #spawn(): Child {
    const { command, data, flush, nameserver, args, env, onStart } = this.#options;
    const { nameserver: nameserverPort, broker, metrics } = this.#ports;
    const child = new Child(
      ...ternCommand(
        command,
        ...['--host', '127.0.0.1', '--metrics-port', `${metrics}`],
        ...(command === 'broker' ? [] : ['--nameserver-port', `${nameserverPort}`]),
        ...(command === 'nameserver' ? [] : ['--broker-port', `${broker}`, '--rocketmq-port', '0']),
        ...(data === undefined ? [] : ['--data', data]),
        ...(flush === undefined ? [] : ['--flush', flush]),
        ...(nameserver === undefined ? [] : ['--nameserver', nameserver]),
        ...(args ?? []),
      ),
      env === undefined ? {} : { env },
    );
    onStart?.(child.pid);
    return child;
  }
}
