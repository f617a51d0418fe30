// Keeps a broker known to its name servers: one stream to each of them, see RegistrationLink. They never talk
// to each other, so every one is told everything.

import { create, type MessageInitShape } from '@bufbuild/protobuf';
import {
  type Broker,
  BrokerSchema,
  type TopicQueues,
} from '@ternmq/proto/gen/ternmq/nameserver/v1/nameserver_pb';
import { type Clock, type Logger, type Random, TernError, type Timer } from '@ternmq/runtime';
import { type LinkState, RegistrationLink } from './registration-link.ts';

/** What is registered, and where. */
export interface RegistrationOptions {
  /** Name servers, `host:port` each; at least one. */
  readonly addresses: readonly string[];
  /** The broker. */
  readonly broker: MessageInitShape<typeof BrokerSchema>;
  /** All topics that it serves now. */
  readonly topics: () => TopicQueues[];
}

/** What a registration uses. */
export interface RegistrationModules {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** How it stands with one name server. */
export interface NameServerState {
  readonly address: string;
  readonly state: LinkState;
  /** Since when it has been so, in wall milliseconds. */
  readonly sinceMs: number;
  /** What led to it, one sentence. */
  readonly why: string;
}

/** How long a name server may be out of reach before its address is doubted. */
const DOUBT_AFTER_MS = 5000;
/** Time for saying goodbye. */
const LEAVE_TIMEOUT_MS = 1000;

/** A broker's registrations. They start at once and come back by themselves until it leaves. */
export class Registration {
  readonly #clock: Clock;
  readonly #logger: Logger;
  #broker: Broker;
  readonly #links: readonly RegistrationLink[];
  readonly #states = new Map<string, NameServerState>();
  readonly #doubts = new Map<string, Timer>();
  readonly #onRegistered = new Set<() => void>();
  #left: Promise<void> | undefined;

  constructor(options: RegistrationOptions, { clock, random, logger }: RegistrationModules) {
    if (options.addresses.length === 0) {
      throw new TernError(
        'INVALID_ARGUMENT',
        'NO_NAMESERVER',
        'No name server is given; set --nameserver or TERN_NAMESERVER to host:port of each of them.',
      );
    }
    this.#clock = clock;
    this.#logger = logger;
    this.#broker = create(BrokerSchema, options.broker);
    this.#links = [...new Set(options.addresses)].map((address) => {
      const observe = (state: LinkState, why: string): void => this.#moved(address, state, why);
      return new RegistrationLink(
        address,
        { broker: () => this.#broker, topics: options.topics },
        { clock, random, observe },
      );
    });
    for (const address of new Set(options.addresses)) {
      this.#states.set(address, {
        address,
        state: 'connecting',
        sinceMs: clock.nowMs(),
        why: 'the broker starts',
      });
      this.#doubt(address);
    }
    for (const link of this.#links) link.open();
  }

  /** Is the broker registered with at least one name server? */
  get registered(): boolean {
    return this.#links.some(({ state }) => state === 'registered');
  }

  /** How it stands with each name server. */
  states(): NameServerState[] {
    return [...this.#states.values()];
  }

  /** Tells all name servers at once that the broker's role or epoch has changed. */
  brokerChanged(broker: MessageInitShape<typeof BrokerSchema>): void {
    this.#broker = create(BrokerSchema, broker);
    for (const link of this.#links) link.brokerChanged();
  }

  /** Tells all name servers at once of topics that are new or have changed, and of those that are gone. */
  topicsChanged(changed: readonly TopicQueues[], removed: readonly string[]): void {
    for (const link of this.#links) link.topicsChanged(changed, removed);
  }

  /**
   * Resolves when at least one name server knows the broker.
   *
   * @param timeoutMs how long to wait, in milliseconds
   * @throws TernError DEADLINE_EXCEEDED with reason NOT_REGISTERED, and what each name server is like
   */
  async registeredOnce(timeoutMs: number): Promise<void> {
    if (this.registered) return;
    await new Promise<void>((resolve, reject) => {
      const registered = (): void => {
        this.#onRegistered.delete(registered);
        timer.cancel();
        resolve();
      };
      const timer = this.#clock.setTimer(timeoutMs, () => {
        this.#onRegistered.delete(registered);
        reject(notRegistered(timeoutMs, this.states()));
      });
      this.#onRegistered.add(registered);
    });
  }

  /** Tells all name servers that the broker stops, and closes the streams. */
  leave(): Promise<void> {
    this.#left ??= this.#leave();
    return this.#left;
  }

  async #leave(): Promise<void> {
    for (const doubt of this.#doubts.values()) doubt.cancel();
    await Promise.all(this.#links.map((link) => link.leave(LEAVE_TIMEOUT_MS)));
  }

  /** Takes note of what happened to a link; logs it only when it is news. */
  #moved(address: string, state: LinkState, why: string): void {
    const before = this.#states.get(address);
    if (before?.state === state && before.why === why) return;
    const sinceMs = before?.state === state ? before.sinceMs : this.#clock.nowMs();
    this.#states.set(address, { address, state, sinceMs, why });
    switch (state) {
      case 'registered':
        this.#doubts.get(address)?.cancel();
        this.#logger.info({ address }, 'registered with a name server');
        for (const registered of this.#onRegistered) registered();
        return;
      case 'lost':
        if (before?.state !== 'registered') return;
        this.#logger.warn({ address, why }, 'lost a name server; trying to come back');
        this.#doubt(address);
        return;
      case 'refused':
        this.#doubts.get(address)?.cancel();
        this.#logger.error({ address }, `a name server refuses this broker: ${why}`);
        return;
      case 'connecting':
      case 'left':
        return;
      default:
        state satisfies never;
    }
  }

  /** Says which setting may be wrong when a name server stays out of reach. */
  #doubt(address: string): void {
    const timer = this.#clock.setTimer(DOUBT_AFTER_MS, () => {
      const why = this.#states.get(address)?.why;
      this.#logger.warn(
        { address, why },
        `cannot reach the name server ${address}: start it, or set --nameserver or TERN_NAMESERVER to the right host:port`,
      );
    });
    this.#doubts.set(address, timer);
  }
}

function notRegistered(timeoutMs: number, states: readonly NameServerState[]): TernError {
  const each = states.map(({ address, state, why }) => `${address} ${state} (${why})`).join(', ');
  return new TernError(
    'DEADLINE_EXCEEDED',
    'NOT_REGISTERED',
    `No name server knows this broker after ${timeoutMs} ms: ${each}. Check --nameserver or TERN_NAMESERVER.`,
  );
}
