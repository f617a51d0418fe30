// Where topics are. Routes are asked for once and then watched at one name server, picked at random; when it
// fails another one is taken, and the routes known so far stay good meanwhile.

import { BackOff, type Clock, pause, randomBelow, type Timer } from './clock.ts';
import { abortedError, isMqError, MqError } from './errors.ts';
import type { Events } from './events.ts';
import type { QueueId } from './message.ts';
import type { Channels } from './transport/channels.ts';
import { nameserver } from './transport/methods.ts';
import { brokerOf, type Route, type RouteBroker, routeOf } from './transport/route.ts';

const QUERY_MS_MAX = 3000;
/** Pause in which new topics are collected before the watch is opened anew, in milliseconds. */
const WATCH_DELAY_MS = 5;
/** Above so many topics all of the cluster's are watched. */
const WATCHED_TOPICS_MAX = 256;

/** How long finding a route may take. */
export interface FindOptions {
  readonly deadlineMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** The routes of a client's topics. */
export class Routes {
  readonly #nameservers: readonly string[];
  readonly #channels: Channels;
  readonly #clock: Clock;
  readonly #events: Events;
  readonly #routes = new Map<string, Route>();
  /** Topics whose changes are wanted, with who wants them. */
  readonly #listeners = new Map<string, Set<(route: Route) => void>>();
  /** Routes that are being asked for. */
  readonly #finding = new Map<string, Promise<Route>>();
  #server: number;
  #watch: { cancel(): void } | undefined;
  /** The watch is for all topics of the cluster, because the client uses very many. */
  #watchesAll = false;
  #rewatch: Timer | undefined;
  readonly #backOff = new BackOff(100, 5000);
  #closed = false;

  constructor(
    nameservers: readonly string[],
    modules: { channels: Channels; clock: Clock; events: Events },
  ) {
    this.#nameservers = nameservers;
    this.#channels = modules.channels;
    this.#clock = modules.clock;
    this.#events = modules.events;
    this.#server = randomBelow(nameservers.length);
  }

  /** The route of a topic as it is known; undefined before it was found. */
  known(topic: string): Route | undefined {
    return this.#routes.get(topic);
  }

  /**
   * The route of a topic. Throws TOPIC_NOT_FOUND, NAMESERVER_UNREACHABLE, ABORTED.
   *
   * @param orAny for producers: a topic that does not exist may be created by the broker that gets its first
   *   message, so any broker will do
   */
  find(topic: string, options: FindOptions, orAny = false): Promise<Route> {
    const known = this.#routes.get(topic);
    if (known !== undefined && (orAny || !known.provisional)) return Promise.resolve(known);
    const key = `${topic} ${orAny}`;
    // Who asks for the same at the same time shares the answer.
    let finding = this.#finding.get(key);
    if (finding === undefined) {
      finding = this.#query(topic, { deadlineMs: options.deadlineMs }, orAny).finally(() =>
        this.#finding.delete(key),
      );
      this.#finding.set(key, finding);
    }
    return options.signal === undefined ? finding : unlessAborted(finding, options.signal);
  }

  async #query(topic: string, options: FindOptions, orAny: boolean): Promise<Route> {
    try {
      const { route } = await this.#ask(options, (channel, deadlineMs) =>
        channel.unary(nameserver.queryRoute, { topic }, { ...options, deadlineMs }),
      );
      if (route !== undefined) return this.#take(route);
    } catch (error) {
      if (!orAny || !isMqError(error, 'TOPIC_NOT_FOUND')) throw error;
    }
    if (!orAny) throw topicNotFound(topic);
    const brokers = await this.brokers(options);
    const masters = brokers.filter(({ master }) => master);
    if (masters.length === 0) {
      throw new MqError('NO_BROKER', 'no broker is registered with the name server; start one', {
        retryable: true,
      });
    }
    const route: Route = {
      topic,
      provisional: true,
      queues: masters.map(({ name, address, suspect }) => ({
        broker: name,
        queueId: 0,
        address,
        suspect,
      })),
    };
    // The watch brings the real one as soon as the topic exists.
    if (!this.#routes.has(topic)) this.#routes.set(topic, route);
    this.#addTopic(topic);
    return route;
  }

  /** All brokers that the name server knows. */
  async brokers(options: FindOptions): Promise<RouteBroker[]> {
    const { brokers } = await this.#ask(options, (channel, deadlineMs) =>
      channel.unary(nameserver.describeCluster, {}, { ...options, deadlineMs }),
    );
    return brokers.flatMap(brokerOf);
  }

  /** Tells of every change of a topic's route; the returned function stops that. */
  listen(topic: string, listener: (route: Route) => void): () => void {
    this.#addTopic(topic);
    this.#listeners.get(topic)?.add(listener);
    return () => this.#listeners.get(topic)?.delete(listener);
  }

  /** Asks one name server after the other until one answers or the deadline has passed. */
  async #ask<Answer>(
    { deadlineMs, signal }: FindOptions,
    call: (channel: ReturnType<Channels['get']>, deadlineMs: number) => Promise<Answer>,
  ): Promise<Answer> {
    const untilMs = this.#clock.monotonicMs() + deadlineMs;
    const backOff = new BackOff(50, 1000);
    for (;;) {
      const leftMs = untilMs - this.#clock.monotonicMs();
      const address = this.#nameservers[this.#server] as string;
      try {
        return await call(this.#channels.get(address), Math.min(QUERY_MS_MAX, leftMs));
      } catch (error) {
        if (signal?.aborted) throw abortedError(signal);
        if (!isMqError(error) || !error.retryable) throw error;
        const pauseMs = backOff.next();
        if (this.#closed || untilMs - this.#clock.monotonicMs() <= pauseMs) {
          throw error.code === 'WARMING_UP' ? error : this.#unreachable(error);
        }
        if (error.code !== 'WARMING_UP')
          this.#server = (this.#server + 1) % this.#nameservers.length;
        await pause(this.#clock, pauseMs, signal);
      }
    }
  }

  #unreachable(cause: MqError): MqError {
    return new MqError(
      'NAMESERVER_UNREACHABLE',
      `no name server answers at ${this.#nameservers.join(', ')}: check that it runs, and the option ` +
        '`nameservers`, the flag --nameserver or the variable TERN_NAMESERVER',
      { retryable: true, cause },
    );
  }

  #addTopic(topic: string): void {
    if (this.#listeners.has(topic)) return;
    this.#listeners.set(topic, new Set());
    // A client of so many topics watches all of them already.
    if (this.#watch !== undefined && this.#watchesAll) return;
    // Topics that come shortly after each other are watched by one call.
    this.#rewatch ??= this.#clock.setTimer(WATCH_DELAY_MS, () => this.#startWatch());
  }

  #startWatch(): void {
    this.#rewatch = undefined;
    this.#watch?.cancel();
    this.#watch = undefined;
    if (this.#closed || this.#listeners.size === 0) return;
    const address = this.#nameservers[this.#server] as string;
    this.#watchesAll = this.#listeners.size > WATCHED_TOPICS_MAX;
    let current = true;
    const watch = this.#channels.get(address).watch(
      nameserver.watchRoutes,
      { topics: this.#watchesAll ? [] : [...this.#listeners.keys()] },
      {
        message: ({ routes }) => {
          this.#backOff.reset();
          for (const route of routes) {
            // An empty route says less than the one that is known: the name server has just started, or the
            // brokers are away. A topic that was deleted is told of by its broker.
            if (route.groups.length > 0 && this.#listeners.has(route.topic)) this.#take(route);
          }
        },
        ended: () => {
          if (!current || this.#closed) return;
          this.#server = (this.#server + 1) % this.#nameservers.length;
          this.#rewatch ??= this.#clock.setTimer(this.#backOff.next(), () => this.#startWatch());
        },
      },
    );
    this.#watch = {
      cancel: () => {
        current = false;
        watch.cancel();
      },
    };
  }

  #take(message: Parameters<typeof routeOf>[0]): Route {
    const route = routeOf(message);
    const before = this.#routes.get(route.topic);
    this.#routes.set(route.topic, route);
    this.#addTopic(route.topic);
    if (before === undefined || !sameQueues(before.queues, route.queues)) {
      const { topic, queues } = route;
      this.#events.emit({ type: 'routeChanged', topic, queues: queues.length });
    }
    for (const listener of this.#listeners.get(route.topic) ?? []) listener(route);
    return route;
  }

  /** Stops watching. */
  close(): void {
    this.#closed = true;
    this.#rewatch?.cancel();
    this.#watch?.cancel();
  }
}

function sameQueues(one: readonly QueueId[], other: readonly QueueId[]): boolean {
  return (
    one.length === other.length &&
    one.every(
      (queue, i) => queue.broker === other[i]?.broker && queue.queueId === other[i]?.queueId,
    )
  );
}

function unlessAborted<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(abortedError(signal));
    const abort = (): void => reject(abortedError(signal));
    signal.addEventListener('abort', abort);
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}

function topicNotFound(topic: string): MqError {
  return new MqError(
    'TOPIC_NOT_FOUND',
    `there is no topic ${topic}; create it with 'tern topic create ${topic}'`,
  );
}
