// The clients of RocketMQ 5 that this broker knows: what they have said of themselves, and whether they live. Nothing but
// heartbeats, checks of transactions and commands needs it: a client that is not known is served all the same.

import {
  ClientType,
  Language,
  type Settings,
} from '@ternmq/proto/gen/apache/rocketmq/v2/definition_pb';
import type { TelemetryCommand } from '@ternmq/proto/gen/apache/rocketmq/v2/service_pb';
import { type Clock, TernError, type Timer } from '@ternmq/runtime';
import { nameOf } from './resource.ts';

const CLIENTS_MAX = 100_000;
const SWEEP_MS = 10_000;
/** Without a stream and a word for so long, a client is forgotten. */
const FORGOTTEN_AFTER_MS = 120_000;
/** Without a stream, a client lives that was heard so lately: heartbeats come every 10 s, of some every 30 s. */
const LIVES_MS = 40_000;

/** A stream to a client. */
export interface ClientStream {
  /** Sends a command; false when the client takes none now. */
  send(command: TelemetryCommand): boolean;
}

/** A client. */
export interface KnownClient {
  readonly id: string;
  readonly type: ClientType;
  readonly language: Language;
  /** Topics that a producer sends to. */
  readonly topics: readonly string[];
  /** Its open streams, oldest first. */
  readonly streams: Set<ClientStream>;
}

/** The clients of this broker. */
export class Clients {
  readonly #clock: Clock;
  readonly #clients = new Map<string, KnownClient>();
  /** When clients were heard last, by the monotonic clock; also those that have sent no settings. */
  readonly #heardAtMs = new Map<string, number>();
  readonly #sweep: Timer;
  readonly #onEnd = new Set<(clientId: string) => void>();

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#sweep = clock.every(SWEEP_MS, () => this.#forgetSilent());
  }

  /** All clients, in the order in which they came. */
  all(): Iterable<KnownClient> {
    return this.#clients.values();
  }

  /** The client of an id; undefined when it has sent no settings. */
  find(id: string): KnownClient | undefined {
    return this.#clients.get(id);
  }

  /** Does a client live, as far as its streams and calls tell? */
  lives(id: string): boolean {
    return (this.#clients.get(id)?.streams.size ?? 0) > 0 || this.#silentMs(id) < LIVES_MS;
  }

  /** A client has called. */
  heard(id: string): void {
    if (this.#heardAtMs.size >= CLIENTS_MAX && !this.#heardAtMs.has(id)) return;
    this.#heardAtMs.set(id, this.#clock.monotonicMs());
  }

  #silentMs(id: string): number {
    return this.#clock.monotonicMs() - (this.#heardAtMs.get(id) ?? Number.NEGATIVE_INFINITY);
  }

  /** A client says what it is, over a stream. Throws RESOURCE_EXHAUSTED (TOO_MANY_CLIENTS). */
  put(id: string, settings: Settings, namespace: string, stream: ClientStream): void {
    const before = this.#clients.get(id);
    if (before === undefined && this.#clients.size >= CLIENTS_MAX) {
      throw new TernError(
        'RESOURCE_EXHAUSTED',
        'TOO_MANY_CLIENTS',
        `this broker knows ${CLIENTS_MAX} clients, which is the limit; connect to another one`,
      );
    }
    const publishing = settings.pubSub.case === 'publishing' ? settings.pubSub.value.topics : [];
    const streams = before?.streams ?? new Set();
    streams.add(stream);
    this.#clients.set(id, {
      id,
      type: settings.clientType ?? ClientType.CLIENT_TYPE_UNSPECIFIED,
      language: settings.userAgent?.language ?? Language.LANGUAGE_UNSPECIFIED,
      topics: publishing.map((topic) => nameOf(topic, namespace)),
      streams,
    });
    this.heard(id);
  }

  /** A stream of a client has ended, which ends nothing else. */
  streamEnded(id: string, stream: ClientStream): void {
    this.#clients.get(id)?.streams.delete(stream);
    this.heard(id);
  }

  /** Tells of clients that end, or are forgotten. */
  onEnd(listener: (clientId: string) => void): void {
    this.#onEnd.add(listener);
  }

  /** A client says that it ends; false when it was not known. */
  end(id: string): boolean {
    const known = this.#clients.delete(id);
    this.#heardAtMs.delete(id);
    for (const listener of this.#onEnd) listener(id);
    return known;
  }

  /** Forgets them all. */
  close(): void {
    this.#sweep.cancel();
    this.#clients.clear();
  }

  #forgetSilent(): void {
    for (const id of [...this.#heardAtMs.keys()]) {
      if (this.#silentMs(id) < FORGOTTEN_AFTER_MS) continue;
      if ((this.#clients.get(id)?.streams.size ?? 0) === 0) this.end(id);
    }
  }
}
