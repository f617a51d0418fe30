// The simulated network: connections that keep their order, as TCP does, with delays, resets, and links that are cut in one
// direction or both. What is sent into a cut link arrives when it is mended, unless an end has lost patience by then.

import type { Timer } from '@ternmq/runtime';
import { type Process, theWorld, type World } from './world.ts';

/** How a link behaves. */
export interface LinkQuality {
  /** Shortest and longest time of a frame on its way, in milliseconds. */
  readonly delayMs: readonly [min: number, max: number];
}

const CALM: LinkQuality = { delayMs: [0.1, 0.8] };
/** When an end gives up a connection that nothing comes through, in milliseconds. */
const PATIENCE_MS: readonly [number, number] = [2000, 20_000];

/** Told what happens to an end of a connection. */
export interface EndListener {
  /** A frame has come. */
  frame(frame: Frame): void;
  /** The connection is lost. */
  lost(why: string): void;
}

/** What travels. */
export type Frame =
  | {
      readonly kind: 'open';
      readonly call: number;
      readonly path: string;
      readonly metadata: ReadonlyMap<string, string | Buffer>;
      readonly deadlineMs: number;
    }
  | { readonly kind: 'message'; readonly call: number; readonly bytes: Buffer }
  | { readonly kind: 'window'; readonly call: number; readonly bytes: number }
  | { readonly kind: 'end'; readonly call: number }
  | { readonly kind: 'cancel'; readonly call: number }
  | {
      readonly kind: 'status';
      readonly call: number;
      readonly code: number;
      readonly details: string;
      readonly metadata: ReadonlyMap<string, string | Buffer>;
    };

/** One end of a connection. */
export class End {
  readonly process: Process;
  listener: EndListener | undefined;
  open = true;
  peer!: End;
  readonly #network: Network;
  /** When the newest frame for this end arrives. */
  #lastMs = 0;
  /** Frames that a cut link holds back from this end. */
  #held: Frame[] = [];
  #patience: Timer | undefined;

  constructor(process: Process, network: Network) {
    this.process = process;
    this.#network = network;
  }

  /** Sends a frame to the other end. */
  send(frame: Frame): void {
    if (this.open && this.process.alive) this.peer.#take(frame);
  }

  #take(frame: Frame): void {
    if (!this.open) {
      // Nobody is there any more: the sender learns of it.
      this.#network.reset(this.peer);
      return;
    }
    if (this.#held.length > 0 || this.#network.isCut(this.peer.process.host, this.process.host)) {
      this.#held.push(frame);
      this.peer.#losePatience();
      return;
    }
    const world = theWorld();
    const atMs = Math.max(
      this.#lastMs,
      world.nowMs + this.#network.delayMs(this.peer.process.host, this.process.host),
    );
    this.#lastMs = atMs;
    world.after(atMs - world.nowMs, this.process, () => {
      if (!this.open) return;
      world.note(frame.call);
      if (frame.kind === 'message') world.note(frame.bytes.length);
      this.listener?.frame(frame);
    });
  }

  /** Nothing comes back: gives up after a while. */
  #losePatience(): void {
    const [min, max] = PATIENCE_MS;
    const world = theWorld();
    this.#patience ??= world.after(min + world.random.next() * (max - min), this.process, () => {
      this.lose('nothing comes through');
    });
  }

  /** The link to this end is mended. */
  mended(): void {
    this.peer.#patience?.cancel();
    this.peer.#patience = undefined;
    const held = this.#held;
    this.#held = [];
    for (const frame of held) this.#take(frame);
  }

  /** This end is lost, and the other one will find out. */
  lose(why: string): void {
    if (!this.open) return;
    this.open = false;
    this.#patience?.cancel();
    this.#held = [];
    this.#network.forget(this);
    this.listener?.lost(why);
    this.#network.reset(this.peer);
  }
}

/** Takes connections. */
export interface Listener {
  readonly process: Process;
  accept(end: End): void;
}

/** All machines and what is between them. */
export class Network {
  readonly #world: World;
  readonly #listeners = new Map<string, Listener>();
  readonly #ends = new Set<End>();
  /** `from>to` */
  readonly #cut = new Set<string>();
  readonly #quality = new Map<string, LinkQuality>();

  constructor(world: World) {
    this.#world = world;
  }

  /** Listens at an address; false when somebody does already. */
  listen(address: string, listener: Listener): boolean {
    if (this.#listeners.get(address)?.process.alive === true) return false;
    this.#listeners.set(address, listener);
    return true;
  }

  /** Listens no more. */
  unlisten(address: string, listener: Listener): void {
    if (this.#listeners.get(address) === listener) this.#listeners.delete(address);
  }

  /** Connects; calls back with an end, or with why not. */
  connect(address: string, process: Process, done: (end: End | undefined) => void): void {
    const host = address.slice(0, address.lastIndexOf(':'));
    const cut = this.isCut(process.host, host) || this.isCut(host, process.host);
    const wayMs = this.delayMs(process.host, host) + this.delayMs(host, process.host);
    this.#world.after(cut ? 3000 : wayMs, process, () => {
      const listener = this.#listeners.get(address);
      const reachable = !this.isCut(process.host, host) && !this.isCut(host, process.host);
      if (!reachable || listener?.process.alive !== true) return done(undefined);
      const client = new End(process, this);
      const server = new End(listener.process, this);
      client.peer = server;
      server.peer = client;
      this.#ends.add(client).add(server);
      this.#world.as(listener.process, () => listener.accept(server));
      done(client);
    });
  }

  /** An end is lost because the other one is; it learns that when the link lets it. */
  reset(end: End): void {
    if (!end.open) return;
    const { host } = end.process;
    const from = end.peer.process.host;
    if (this.isCut(from, host)) {
      this.#world.after(1000, end.process, () => this.reset(end));
      return;
    }
    this.#world.after(this.delayMs(from, host), end.process, () => end.lose('connection reset'));
  }

  /** An end is no more. */
  forget(end: End): void {
    this.#ends.delete(end);
  }

  /** The process has died: those at the other ends learn of it at once, or when they find that nobody answers. */
  died(process: Process, silently: boolean): void {
    for (const [address, listener] of this.#listeners) {
      if (listener.process === process) this.#listeners.delete(address);
    }
    for (const end of this.#ends) {
      if (end.process !== process) continue;
      end.open = false;
      this.#ends.delete(end);
      const { peer } = end;
      if (!silently) this.reset(peer);
      else {
        const [min, max] = PATIENCE_MS;
        const waitMs = min + this.#world.random.next() * (max - min);
        this.#world.after(waitMs, peer.process, () => peer.lose('nobody answers'));
      }
    }
  }

  /** Breaks all connections between two machines. */
  breakBetween(a: string, b: string): void {
    for (const end of [...this.#ends]) {
      if (end.process.host === a && end.peer.process.host === b) {
        this.#world.as(end.process, () => end.lose('connection reset'));
      }
    }
  }

  /** Cuts a link in one direction. */
  cut(from: string, to: string): void {
    this.#cut.add(`${from}>${to}`);
  }

  /** Mends a link in one direction. */
  mend(from: string, to: string): void {
    this.#cut.delete(`${from}>${to}`);
    for (const end of [...this.#ends]) {
      if (end.process.host === to && end.peer.process.host === from) end.mended();
    }
  }

  /** Mends everything. */
  mendAll(): void {
    this.#cut.clear();
    this.#quality.clear();
    for (const end of [...this.#ends]) end.mended();
  }

  isCut(from: string, to: string): boolean {
    return from !== to && this.#cut.has(`${from}>${to}`);
  }

  /** Makes a link slow. */
  slow(from: string, to: string, quality: LinkQuality): void {
    this.#quality.set(`${from}>${to}`, quality);
  }

  /** How long a frame takes now. */
  delayMs(from: string, to: string): number {
    const [min, max] = (this.#quality.get(`${from}>${to}`) ?? CALM).delayMs;
    return min + this.#world.random.next() * (max - min);
  }
}

let network: Network | undefined;

/** The network of the run. */
export function theNetwork(): Network {
  if (network === undefined) throw new Error('no simulation runs');
  return network;
}

/** Begins a run's network. */
export function beginNetwork(world: World): Network {
  network = new Network(world);
  return network;
}
