// Runs a compose file without a container engine: its services' commands as processes, in the order of their
// dependencies, each ready when the file's own check says so.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { ROOT } from '../support/child-broker.ts';
import { Child } from '../support/child-process.ts';
import { eventually } from '../support/eventually.ts';
import type { Image } from './image.ts';
import type { Loopback } from './loopback.ts';

const HEALTHY_MS_MAX = 60_000;
const STOP_MS_MAX = 20_000;
/** A check is a process: more of them would take the machine from what is checked. */
const CHECK_MS = 400;

/** A service of a compose file, as far as it is run here. */
interface Service {
  readonly image: string;
  readonly entrypoint?: readonly string[];
  readonly command: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly volumes?: readonly string[];
  readonly profiles?: readonly string[];
  readonly healthcheck?: { readonly test: readonly string[] };
  readonly depends_on?: Readonly<Record<string, unknown>>;
}

/** A compose file. */
export interface ComposeFile {
  readonly name: string;
  readonly services: Readonly<Record<string, Service>>;
  readonly volumes: Readonly<Record<string, null>>;
}

/** Reads one of deploy/compose. */
export function readCompose(file: string): ComposeFile {
  return parse(readFileSync(join(ROOT, 'deploy/compose', file), 'utf8'), { merge: true });
}

/** The services of a compose file, running. */
export class ComposeProcesses implements AsyncDisposable {
  readonly #file: ComposeFile;
  readonly #image: Image;
  readonly #folder: string;
  readonly #loopback: Loopback;
  readonly #started = new Map<string, Promise<void>>();
  readonly #children = new Map<string, Child>();

  private constructor(file: ComposeFile, image: Image, folder: string, loopback: Loopback) {
    this.#file = file;
    this.#image = image;
    this.#folder = folder;
    this.#loopback = loopback;
    for (const name of Object.keys(file.services)) loopback.address(name);
  }

  /** As `docker compose up --wait`. @param folder where volumes lie */
  static async up(
    file: ComposeFile,
    image: Image,
    folder: string,
    loopback: Loopback,
  ): Promise<ComposeProcesses> {
    const processes = new ComposeProcesses(file, image, folder, loopback);
    try {
      const services = Object.entries(file.services).filter(([, one]) => !one.profiles);
      await Promise.all(services.map(([name]) => processes.#start(name)));
      return processes;
    } catch (error) {
      await processes[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** As `docker compose run --rm`: runs a service's image with other arguments; returns what it prints. */
  async run(name: string, args: readonly string[]): Promise<string> {
    await using child = this.#process(name, args);
    child.endInput();
    const { code } = await child.exited;
    if (code !== 0) throw new Error(`${args.join(' ')} ended with ${code}\n${child.stderr}`);
    return child.stdout;
  }

  /** As `docker compose stop` of what the image runs: what depends on others goes first; exit codes by name. */
  async stop(): Promise<Map<string, number | null>> {
    const codes = new Map<string, number | null>();
    const names = [...this.#children.keys()].filter(
      (name) => this.#service(name).image === 'ternmq',
    );
    const depends = (name: string) => this.#service(name).depends_on !== undefined;
    for (const wave of [names.filter(depends), names.filter((name) => !depends(name))]) {
      await Promise.all(
        wave.map(async (name) => {
          const child = this.#children.get(name) as Child;
          child.signal('SIGTERM');
          const exit = await eventually(`${name} ends after SIGTERM`, () => child.exit, {
            withinMs: STOP_MS_MAX,
          });
          codes.set(name, exit.code);
        }),
      );
    }
    return codes;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#children.values()) await child[Symbol.asyncDispose]();
  }

  #start(name: string): Promise<void> {
    const started = this.#started.get(name) ?? this.#startOnce(name);
    this.#started.set(name, started);
    return started;
  }

  async #startOnce(name: string): Promise<void> {
    const service = this.#service(name);
    await Promise.all(Object.keys(service.depends_on ?? {}).map((other) => this.#start(other)));
    const child = this.#process(name, service.command);
    this.#children.set(name, child);
    const healthy = async () => {
      if (child.exit !== undefined) return false;
      return (await this.#isHealthy(name, service)) || undefined;
    };
    const isHealthy = await eventually(`${name} is healthy`, healthy, {
      withinMs: HEALTHY_MS_MAX,
      everyMs: CHECK_MS,
    }).catch(() => false);
    if (!isHealthy) throw new Error(`${name} is not healthy\n${child.stdout}${child.stderr}`);
  }

  /** Runs the service's own check; of etcd, which may come without its command, asks what that would. */
  async #isHealthy(name: string, { healthcheck }: Service): Promise<boolean> {
    const [kind, command = '', ...args] = healthcheck?.test ?? [];
    if (kind !== 'CMD') throw new Error(`${name} has no check that is a command`);
    if (command === 'etcdctl') {
      const url = `http://${this.#loopback.address(name)}:2379/health`;
      const answer = await fetch(url, { signal: AbortSignal.timeout(1000) });
      return ((await answer.json()) as { health: string }).health === 'true';
    }
    const here = args.map((arg) => this.#here(arg, name));
    await using check = new Child(command === 'node' ? process.execPath : command, here);
    return (await check.exited).code === 0;
  }

  #service(name: string): Service {
    const service = this.#file.services[name];
    if (service === undefined) throw new Error(`there is no service ${name}`);
    return service;
  }

  #process(name: string, args: readonly string[]): Child {
    const service = this.#service(name);
    const entrypoint =
      service.entrypoint ?? (service.image === 'ternmq' ? this.#image.entrypoint : []);
    const [command = '', ...rest] = [...entrypoint, ...args].map((one) => this.#here(one, name));
    const environment = Object.entries(service.environment ?? {});
    const env = Object.fromEntries(
      environment.map(([key, value]) => [key, this.#here(value, name)]),
    );
    return new Child(command === 'node' ? process.execPath : command, rest, { env });
  }

  /** A text of a service with this machine's addresses and folders. */
  #here(text: string, name: string): string {
    let here = text
      .replaceAll(/\$\{\w+:-([^}]*)\}/g, '$1')
      .replaceAll('/opt/ternmq', this.#image.folder);
    for (const volume of this.#service(name).volumes ?? []) {
      const [source = '', target = ''] = volume.split(':');
      here = here.replaceAll(target, join(this.#folder, source));
    }
    return this.#loopback.replace(here, name);
  }
}
