// Hosts of a test's own in network namespaces, on one switch, whose links can be cut. Linux and root only.
//
// Everything is in namespaces `ternmq-<pid>-…`: none has a way out, and this machine's own network is not touched. Those
// that a killed process left behind are found and removed by the next test that makes some.
//
//   host A  eth0 ── port-A ┐
//   host B  eth0 ── port-B ├ bridge `switch`, in a namespace of its own
//
// Each host has two addresses: 10.91.0.N, which cuts are about, and 10.92.0.N, at which it can always be watched.

import { execFileSync } from 'node:child_process';

const PREFIX = 'ternmq-';
const COMMAND_MS_MAX = 20_000;
/** Root's tools are not always in the PATH that a process gets. */
const ENVIRONMENT = { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin` };

function run(...words: string[]): string {
  const [command = '', ...args] = words;
  return execFileSync(command, args, {
    env: ENVIRONMENT,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: COMMAND_MS_MAX,
  });
}

/** Why there can be no hosts here; undefined when there can. */
export function whyNoNetwork(): string | undefined {
  if (process.platform !== 'linux') return 'network namespaces need Linux';
  if (process.getuid?.() !== 0) return 'network namespaces need root';
  for (const [tool, ...args] of [
    ['ip', '-V'],
    ['iptables', '-V'],
  ] as const) {
    try {
      run(tool, ...args);
    } catch {
      return `${tool} is not installed (Debian: apt-get install iproute2 iptables)`;
    }
  }
  const probe = `${PREFIX}${process.pid}-probe`;
  try {
    run('ip', 'netns', 'add', probe);
    run('ip', '-n', probe, 'link', 'add', 'probe', 'type', 'bridge');
    run('ip', 'netns', 'exec', probe, 'iptables', '-A', 'INPUT', '-s', '10.91.0.1', '-j', 'DROP');
    return undefined;
  } catch (error) {
    return `network namespaces are not permitted here: ${(error as Error).message.split('\n')[1] ?? error}`;
  } finally {
    removeNamespace(probe);
  }
}

function namespaces(): string[] {
  return run('ip', 'netns', 'list')
    .split('\n')
    .map((line) => line.split(' ')[0] ?? '')
    .filter((name) => name.startsWith(PREFIX));
}

/** Ends what runs in a namespace, and removes it with its links. Harmless when there is none. */
function removeNamespace(name: string): void {
  try {
    for (const pid of run('ip', 'netns', 'pids', name).split('\n')) {
      if (pid !== '') process.kill(Number(pid), 'SIGKILL');
    }
    run('ip', 'netns', 'delete', name);
  } catch {
    // It is not there, or a process of it has ended by itself.
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Hosts and the links between them, as any process of the test can use them. */
export class NetworkHosts {
  readonly #owner: number;
  readonly hosts: readonly string[];

  /** @param owner process id of the test that has made them */
  constructor(owner: number, hosts: readonly string[]) {
    this.#owner = owner;
    this.hosts = hosts;
  }

  /** Namespace of a host. */
  namespace(host: string): string {
    return `${PREFIX}${this.#owner}-${host}`;
  }

  /** The address that other hosts use. */
  address(host: string): string {
    return `10.91.0.${this.#number(host)}`;
  }

  /** The address at which a host can be watched whatever is cut. */
  watchAddress(host: string): string {
    return `10.92.0.${this.#number(host)}`;
  }

  /** A command that runs on a host. */
  command(host: string, command: string, args: readonly string[]): [string, string[]] {
    return ['ip', ['netns', 'exec', this.namespace(host), command, ...args]];
  }

  /** From here on nothing that one host sends arrives at the other; the other way it does. */
  cut(from: string, to: string): void {
    this.#iptables(to, '-A', 'INPUT', '-s', this.address(from), '-j', 'DROP');
  }

  /** A host can open, and use, no connection to a port of any host any more, itself included. */
  cutPort(host: string, port: number): void {
    this.#iptables(host, '-A', 'OUTPUT', '-p', 'tcp', '--dport', `${port}`, '-j', 'DROP');
  }

  /** Everything arrives again. */
  heal(): void {
    for (const host of this.hosts) this.#iptables(host, '-F');
  }

  #iptables(host: string, ...args: string[]): void {
    run('ip', 'netns', 'exec', this.namespace(host), 'iptables', '-w', ...args);
  }

  #number(host: string): number {
    const index = this.hosts.indexOf(host);
    if (index < 0) throw new Error(`there is no host ${host}`);
    return index + 1;
  }
}

/** Hosts that are there until this is disposed, with all that runs on them. */
export class TestNetwork extends NetworkHosts implements Disposable {
  /** @param hosts names, each of a few lower-case letters and digits */
  constructor(hosts: readonly string[]) {
    super(process.pid, hosts);
    for (const name of namespaces()) {
      const owner = Number(name.slice(PREFIX.length).split('-')[0]);
      if (!isAlive(owner) || owner === process.pid) removeNamespace(name);
    }
    process.once('exit', this.#dispose);
    try {
      this.#create();
    } catch (error) {
      this.#dispose();
      throw error;
    }
  }

  [Symbol.dispose](): void {
    process.removeListener('exit', this.#dispose);
    this.#dispose();
  }

  #create(): void {
    const middle = this.namespace('switch');
    run('ip', 'netns', 'add', middle);
    run('ip', '-n', middle, 'link', 'add', 'switch', 'type', 'bridge');
    run('ip', '-n', middle, 'link', 'set', 'switch', 'up');
    for (const host of this.hosts) {
      const own = this.namespace(host);
      run('ip', 'netns', 'add', own);
      run('ip', '-n', own, 'link', 'set', 'lo', 'up');
      const port = `port-${host}`;
      run(...`ip -n ${own} link add eth0 type veth peer name ${port} netns ${middle}`.split(' '));
      run('ip', '-n', middle, 'link', 'set', port, 'master', 'switch', 'up');
      for (const address of [this.address(host), this.watchAddress(host)]) {
        run('ip', '-n', own, 'address', 'add', `${address}/24`, 'dev', 'eth0');
      }
      run('ip', '-n', own, 'link', 'set', 'eth0', 'up');
    }
  }

  readonly #dispose = (): void => {
    for (const name of [...this.hosts, 'switch']) removeNamespace(this.namespace(name));
  };
}
