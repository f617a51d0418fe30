// A connection to a cluster, from which everything else is made.

import { hostname } from 'node:os';
import { Admin } from './admin.ts';
import { type Clock, systemClock } from './clock.ts';
import { Consumer, type ConsumerModules, type ConsumerOptions } from './consumer.ts';
import { closedError, MqError } from './errors.ts';
import { type Logger, logEvents } from './event-log.ts';
import { type EventListener, Events } from './events.ts';
import { GroupPullConsumer, type GroupPullOptions } from './group-pull-consumer.ts';
import { Producer, type ProducerOptions } from './producer.ts';
import { PullConsumer, type PullConsumerOptions } from './pull-consumer.ts';
import { Routes } from './routes.ts';
import { Channels } from './transport/channels.ts';

const DEFAULT_NAMESERVER = '127.0.0.1:9876';
/** Leaves room for what makes a consumer's name of it, which has at most 127 characters. */
const CLIENT_ID = /^[\x21-\x7e]{1,100}$/;
const ADDRESS = /^(\[[0-9a-fA-F:.%]+\]|[a-zA-Z0-9._-]+):\d{1,5}$/;

/** Where the cluster is. */
export interface ClientOptions {
  /** Name servers, `host:port`, as a list or separated by commas. Default: TERN_NAMESERVER or 127.0.0.1:9876. */
  readonly nameservers?: string | readonly string[];
  /**
   * Names the client: 1 to 100 printable characters without blanks. It begins the names of its consumers, which brokers
   * tell operators, and stands in its log lines. Default: host and process.
   */
  readonly clientId?: string;
  /** Closes the client when it aborts. */
  readonly signal?: AbortSignal;
  /** Told of connections, routes and failures that no call reports. */
  readonly onEvent?: EventListener;
  /** Takes a line for each of these events: pino, `console` or the like. Default: none. */
  readonly logger?: Logger;
  /** Time, for tests. Default: the machine's. */
  readonly clock?: Clock;
}

/**
 * A connection to a cluster. Nothing is connected before it is used.
 *
 * ```ts
 * await using client = new Client();
 * const producer = client.producer();
 * await producer.send('orders', { body: 'hello' });
 * ```
 */
export class Client implements AsyncDisposable {
  /** Names the client. */
  readonly clientId: string;
  readonly #clock: Clock;
  readonly #events = new Events();
  readonly #channels = new Channels();
  readonly #routes: Routes;
  readonly #parts = new Set<{ close(options?: { drainMs?: number }): Promise<void> | void }>();
  readonly #admin: Admin;
  #closed: Promise<void> | undefined;

  constructor(options: ClientOptions = {}) {
    this.#clock = options.clock ?? systemClock;
    this.clientId = clientIdOf(options.clientId);
    if (options.onEvent !== undefined) this.#events.listen(options.onEvent);
    if (options.logger !== undefined) this.#events.listen(logEvents(options.logger, this.clientId));
    this.#routes = new Routes(nameserversOf(options.nameservers), {
      channels: this.#channels,
      clock: this.#clock,
      events: this.#events,
    });
    this.#admin = new Admin(this.#modules);
    options.signal?.addEventListener('abort', () => void this.close(), { once: true });
    if (options.signal?.aborted) void this.close();
  }

  /** Tells a listener of events; the returned function stops that. */
  onEvent(listener: EventListener): () => void {
    return this.#events.listen(listener);
  }

  /** Makes a producer. */
  producer(options: ProducerOptions = {}): Producer {
    return this.#add(new Producer(options, this.#modules));
  }

  /** Makes a consumer of a group. */
  consumer(group: string, options: ConsumerOptions = {}): Consumer {
    return this.#add(new Consumer(group, options, this.#modules));
  }

  /** Makes a consumer that keeps its offsets itself. */
  pullConsumer(options?: PullConsumerOptions): PullConsumer;
  /** Makes a member of a group that pulls: it shares the queues of topics with the other members. */
  pullConsumer(group: string, options?: GroupPullOptions): GroupPullConsumer;
  pullConsumer(
    first: PullConsumerOptions | string = {},
    options: GroupPullOptions = {},
  ): PullConsumer | GroupPullConsumer {
    return typeof first === 'string'
      ? this.#add(new GroupPullConsumer(first, options, this.#modules))
      : this.#add(new PullConsumer(first, this.#modules));
  }

  /** Operators' calls. */
  get admin(): Admin {
    if (this.#closed !== undefined) throw closedError('client');
    return this.#admin;
  }

  get #modules(): ConsumerModules {
    return {
      routes: this.#routes,
      channels: this.#channels,
      clock: this.#clock,
      events: this.#events,
      clientId: this.clientId,
    };
  }

  #add<Part extends { close(options?: { drainMs?: number }): Promise<void> | void }>(
    part: Part,
  ): Part {
    if (this.#closed !== undefined) throw closedError('client');
    this.#parts.add(part);
    return part;
  }

  /** Closes everything that was made from it, each drained for at most so long, and then the connections. */
  close(options: { readonly drainMs?: number } = {}): Promise<void> {
    this.#closed ??= (async () => {
      await Promise.all([...this.#parts].map((part) => part.close(options)));
      this.#routes.close();
      this.#channels.close();
    })();
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function clientIdOf(option: string | undefined): string {
  if (option === undefined) {
    const host = hostname().replaceAll(/[^\x21-\x7e]/g, '');
    return `${host.slice(0, 80)}-${process.pid}`;
  }
  if (CLIENT_ID.test(option)) return option;
  throw new MqError(
    'INVALID_OPTION',
    'clientId must have 1 to 100 printable ASCII characters without blanks',
  );
}

function nameserversOf(option: string | readonly string[] | undefined): string[] {
  const given = option ?? process.env.TERN_NAMESERVER ?? DEFAULT_NAMESERVER;
  const list = typeof given === 'string' ? given.split(',') : [...given];
  const addresses = list.map((address) => address.trim()).filter((address) => address !== '');
  const wrong = addresses.find((address) => !ADDRESS.test(address));
  if (addresses.length === 0 || wrong !== undefined) {
    throw new MqError(
      'INVALID_OPTION',
      `${wrong === undefined ? 'no name server is given' : `'${wrong}' is no host:port`}: set the option ` +
        '`nameservers`, the flag --nameserver or the variable TERN_NAMESERVER, for example to 127.0.0.1:9876',
    );
  }
  return addresses;
}
