// A machine without systemd: `systemctl`, and the other commands of a machine's administrator that tests must not run,
// stand in for the real ones. Units are read from the machine's own folder and their commands run as processes.

import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ROOT, ternCommand } from '../support/child-broker.ts';
import { Child } from '../support/child-process.ts';
import { eventually } from '../support/eventually.ts';
import type { Image } from './image.ts';
import type { Loopback } from './loopback.ts';

const READY_MS_MAX = 60_000;
const STOP_MS_MAX = 20_000;
/** Folders of a machine; everything that names them means this machine's. */
const PLACES = /(?<![\w./])\/(opt|etc|var|usr\/local\/bin)\//g;
/** What Debian's unit of etcd runs. */
const ETCD_UNIT =
  '[Service]\nType=notify\nEnvironmentFile=-/etc/default/etcd\nExecStart=/usr/bin/etcd\n';

/** Values of a unit file's keys; a key may come several times. */
export function readUnit(text: string): Map<string, string[]> {
  const values = new Map<string, string[]>();
  for (const line of text.split('\n')) {
    const [, key, value] = /^(\w+)=(.*)$/.exec(line) ?? [];
    if (key === undefined || value === undefined) continue;
    values.set(key, [...(values.get(key) ?? []), value]);
  }
  return values;
}

interface Unit {
  child: Child;
  ready: boolean;
}

/** A machine of the test. */
export class Machine implements AsyncDisposable {
  readonly name: string;
  readonly #root: string;
  readonly #loopback: Loopback;
  readonly #units = new Map<string, Unit>();
  readonly #server: Server;
  /** What `systemctl` and `systemd-notify` were called with and did not work, for messages of failures. */
  #trouble = '';

  private constructor(name: string, root: string, loopback: Loopback) {
    this.name = name;
    this.#root = root;
    this.#loopback = loopback;
    this.#server = createServer(async (request, response) => {
      const words = decodeURIComponent((request.url ?? '').slice(1)).split(' ');
      try {
        if (words[0] === 'notify') this.#notified(words[1] ?? '', words.slice(2));
        else await this.#systemctl(words);
        response.end();
      } catch (error) {
        this.#trouble += `${words.join(' ')}: ${error}\n`;
        response.writeHead(500).end(`${error}\n`);
      }
    });
  }

  /** A new machine with releases unpacked in /opt, and nothing else. */
  static async create(
    name: string,
    folder: string,
    image: Image,
    loopback: Loopback,
  ): Promise<Machine> {
    const machine = new Machine(name, folder, loopback);
    for (const place of [
      'opt',
      'etc/systemd/system',
      'etc/default',
      'var/lib',
      'var/backups',
      'usr/local/bin',
    ]) {
      mkdirSync(join(folder, place), { recursive: true });
    }
    for (const release of ['ternmq-0.1.0', 'ternmq-0.2.0']) {
      const unpacked = join(folder, 'opt', release);
      mkdirSync(unpacked);
      for (const part of [
        'bootstrap.mjs',
        'node_modules',
        'package.json',
        'package-lock.json',
        'proto',
        'sdk',
        'services',
      ]) {
        symlinkSync(join(image.folder, part), join(unpacked, part));
      }
      cpSync(join(ROOT, 'deploy'), join(unpacked, 'deploy'), { recursive: true });
    }
    await new Promise<void>((resolve) => machine.#server.listen(0, '127.0.0.1', resolve));
    machine.#standIns();
    return machine;
  }

  /** Runs commands as root of this machine; returns what they print. Throws when one fails. */
  async run(commands: string, env: Readonly<Record<string, string>> = {}): Promise<string> {
    await using shell = new Child('bash', ['-c', `set -euo pipefail\n${this.#here(commands)}`], {
      cwd: this.#root,
      env: { ...this.#environment(), ...env },
    });
    shell.endInput();
    const { code } = await shell.exited;
    if (code === 0) return shell.stdout;
    throw new Error(
      `${this.name}: ended with ${code}\n${shell.stdout}${shell.stderr}${this.#trouble}${this.#output()}`,
    );
  }

  /** Ends everything at once, as when the machine is lost. */
  async lose(): Promise<void> {
    const units = [...this.#units.values()];
    this.#units.clear();
    for (const { child } of units) await child.kill();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.lose();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #output(): string {
    return [...this.#units]
      .map(([name, { child }]) => `--- ${name}\n${child.stderr.slice(-1500)}`)
      .join('\n');
  }

  #environment(): Record<string, string> {
    const address = this.#loopback.address(this.name);
    return {
      PATH: `${join(this.#root, 'bin')}:${process.env.PATH}`,
      ETCDCTL_ENDPOINTS: `http://${address}:2379`,
      ETCDCTL_API: '3',
    };
  }

  /** Writes the commands that stand in for those of a real machine. */
  #standIns(): void {
    const bin = join(this.#root, 'bin');
    mkdirSync(bin);
    const { port } = this.#server.address() as AddressInfo;
    const call = `require('http').get('http://127.0.0.1:${port}/' + encodeURIComponent(process.argv.slice(1).join(' ')), (answer) => { answer.pipe(process.stderr); process.exitCode = answer.statusCode === 200 ? 0 : 1; })`;
    const [tern, ternArgs] = ternCommand();
    const node = process.execPath;
    const scripts = {
      systemctl: `exec '${node}' -e "${call}" -- "$@"`,
      'systemd-notify': `exec '${node}' -e "${call}" -- notify "$NOTIFY_SOCKET" "$@"`,
      tern: `exec '${tern}' ${ternArgs.map((arg) => `'${arg}'`).join(' ')} "$@"`,
      node: `exec '${node}' "$@"`,
      useradd: '',
      'apt-get': '',
      // The image's build has run the same.
      npm: '',
    };
    for (const [name, script] of Object.entries(scripts)) {
      writeFileSync(join(bin, name), `#!/bin/sh\n${script}\n`);
      chmodSync(join(bin, name), 0o755);
    }
  }

  async #systemctl(words: readonly string[]): Promise<void> {
    const [verb = '', ...rest] = words;
    const names = rest.filter((word) => !word.startsWith('--'));
    const now = rest.includes('--now');
    const block = !rest.includes('--no-block');
    for (const name of names) this.#unit(name);
    if (verb === 'stop' || verb === 'restart' || (verb === 'disable' && now)) {
      await Promise.all(names.map((name) => this.#stop(name)));
    }
    if (verb === 'start' || verb === 'restart' || (verb === 'enable' && now)) {
      await Promise.all(names.map((name) => this.#start(name, block)));
    }
    if (!['daemon-reload', 'enable', 'disable', 'start', 'stop', 'restart'].includes(verb)) {
      throw new Error(`systemctl has no ${verb} here`);
    }
  }

  /** The unit's file, with its instance's name in it. */
  #unit(name: string): Map<string, string[]> {
    if (name === 'etcd') return readUnit(this.#here(ETCD_UNIT));
    const [, template = '', instance = ''] = /^([^@]+@?)(.*)$/.exec(name) ?? [];
    const file = join(this.#root, 'etc/systemd/system', `${template}.service`);
    if (!existsSync(file)) throw new Error(`there is no unit ${name}`);
    return readUnit(this.#here(readFileSync(file, 'utf8').replaceAll('%i', instance)));
  }

  async #start(name: string, block: boolean): Promise<void> {
    if (this.#units.get(name)?.child.exit === undefined && this.#units.has(name)) return;
    const values = this.#unit(name);
    const env = this.#environment();
    // etcd speaks to the socket itself.
    if (name !== 'etcd') env.NOTIFY_SOCKET = name;
    for (const optional of values.get('EnvironmentFile') ?? []) {
      const file = optional.replace(/^-/, '');
      if (!existsSync(file)) continue;
      const text = readFileSync(file, 'utf8');
      for (const [key, [value = '']] of readUnit(this.#here(text))) env[key] = value;
    }
    const [executable = '', ...args] = (values.get('ExecStart')?.[0] ?? '').split(' ');
    for (const arg of args.filter((one) => one.endsWith('.json'))) {
      writeFileSync(arg, this.#here(readFileSync(arg, 'utf8')));
    }
    const command = { '/usr/bin/node': process.execPath, '/usr/bin/etcd': 'etcd' }[executable];
    if (command === undefined)
      throw new Error(`${name} runs ${executable}, which is not installed`);
    const unit: Unit = { child: new Child(command, args, { env }), ready: false };
    this.#units.set(name, unit);
    this.#restartOnFailure(name, unit, values, () => new Child(command, args, { env }));
    if (!block || name === 'etcd') return;
    await eventually(`${name} is ready`, () => unit.ready || undefined, {
      withinMs: READY_MS_MAX,
      everyMs: 20,
    });
  }

  /** As the unit says: `Restart=on-failure`, `RestartSec` in seconds, `RestartPreventExitStatus`. */
  #restartOnFailure(
    name: string,
    unit: Unit,
    values: ReadonlyMap<string, readonly string[]>,
    start: () => Child,
  ): void {
    const [restart] = values.get('Restart') ?? [];
    const [pause = '0s'] = values.get('RestartSec') ?? [];
    const [never] = values.get('RestartPreventExitStatus') ?? [];
    void unit.child.exited.then(async ({ code }) => {
      if (restart !== 'on-failure' || code === 0 || code === Number(never)) return;
      await sleep(1000 * Number.parseFloat(pause));
      if (this.#units.get(name) !== unit) return;
      unit.child = start();
      this.#restartOnFailure(name, unit, values, start);
    });
  }

  async #stop(name: string): Promise<void> {
    const unit = this.#units.get(name);
    if (unit === undefined) return;
    this.#units.delete(name);
    unit.child.signal('SIGTERM');
    const exit = await eventually(`${name} ends`, () => unit.child.exit, { withinMs: STOP_MS_MAX });
    if (exit.code !== 0 && name !== 'etcd')
      throw new Error(`${name} ended with ${exit.code ?? exit.signal}`);
  }

  #notified(name: string, args: readonly string[]): void {
    const unit = this.#units.get(name);
    if (unit === undefined || args.join(' ') !== '--ready')
      throw new Error('nobody waits for that');
    unit.ready = true;
  }

  /** A text of this machine with the test's folders and addresses. */
  #here(text: string): string {
    const placed = text.includes(this.#root) ? text : text.replaceAll(PLACES, `${this.#root}/$1/`);
    return this.#loopback.replace(placed, this.name);
  }
}
