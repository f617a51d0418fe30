// Where topics are. Routes are asked for once and then watched at one name server, picked at random; when it
// fails another one is taken, and the routes known so far stay good meanwhile.

import { CallTime } from './call-time.ts';
import { BackOff, type Clock, pause, randomBelow, type Timer } from './clock.ts';
import { abortedError, isMqError, MqError, noBroker } from './errors.ts';
import type { Events } from './events.ts';
import type { QueueId } from './message.ts';
import { createAsIfSent } from './topic-creation.ts';
import type { CallLimits, Channel } from './transport/channel.ts';
import type { Channels } from './transport/channels.ts';
import { nameserver } from './transport/methods.ts';
import { brokerOf, type Route, type RouteBroker, routeOf } from './transport/route.ts';

/** How long one server is asked before another one is, in milliseconds. */
const CALL_MS_MAX = 3000;
/** Pauses between looks for the route of a topic that was just created, in milliseconds. */
const CREATED_MS_MIN = 5;
const CREATED_MS_MAX = 200;
/** Pause in which new topics are collected before the watch is opened anew, in milliseconds. */
const WATCH_DELAY_MS = 5;
/** Above so many topics all of the cluster's are watched. */
const WATCHED_TOPICS_MAX = 256;

/** The routes of a client's topics. */
export class Routes {
  readonly #nameservers: readonly string[];
  readonly #channels: Channels;
  readonly #clock: Clock;
  readonly #events: Events;
  readonly #routes = new Map<string, Route>();
  /** Topics whose changes are wanted, with who wants them. */
  readonly #listeners = new Map<string, Set<(route: Route) => void>>();
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
   * The route of a topic. Throws TOPIC_NOT_FOUND, NAMESERVER_UNREACHABLE, ABORTED; with `create` also NO_BROKER,
   * BROKER_UNREACHABLE, and what the broker says.
   *
   * @param create for producers: has a topic that does not exist created where brokers do that automatically, and
   *   waits for its route
   */
  async find(topic: string, limits: CallLimits, create = false): Promise<Route> {
    const known = this.#routes.get(topic);
    if (known !== undefined && known.queues.length > 0) return known;
    const time = new CallTime(this.#clock, limits);
    const backOff = new BackOff(CREATED_MS_MIN, CREATED_MS_MAX);
    let created = false;
    for (;;) {
      try {
        return await this.#query(topic, time);
      } catch (error) {
        if (!create || !isMqError(error, 'TOPIC_NOT_FOUND')) throw error;
      }
      if (!created) {
        await this.#create(topic, time);
        created = true;
      }
      const pauseMs = backOff.next();
      if (time.deadlineMs <= pauseMs) throw createdUnseen(topic);
      // The broker tells its name servers at once; that takes no longer than a few turns of theirs.
      await pause(this.#clock, pauseMs, time.signal);
    }
  }

  async #query(topic: string, limits: CallLimits): Promise<Route> {
    const { route } = await this.#ask(limits, (channel, callLimits) =>
      channel.unary(nameserver.queryRoute, { topic }, callLimits),
    );
    if (route === undefined) throw topicNotFound(topic);
    return this.#take(route);
  }

  /** All clients have a topic created at the same broker, so that it is created once. */
  async #create(topic: string, time: CallTime): Promise<void> {
    const masters = (await this.brokers(time))
      .filter(({ master }) => master)
      .sort((one, other) => (one.name < other.name ? -1 : 1));
    const chosen = masters.find(({ suspect }) => !suspect) ?? masters[0];
    if (chosen === undefined) throw noBroker();
    await createAsIfSent(this.#channels.get(chosen.address), topic, time.atMost(CALL_MS_MAX));
  }

  /** All brokers that the name server knows. */
  async brokers(limits: CallLimits): Promise<RouteBroker[]> {
    const { brokers } = await this.#ask(limits, (channel, callLimits) =>
      channel.unary(nameserver.describeCluster, {}, callLimits),
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
    limits: CallLimits,
    call: (channel: Channel, limits: CallLimits) => Promise<Answer>,
  ): Promise<Answer> {
    const time = new CallTime(this.#clock, limits);
    const { signal } = time;
    const backOff = new BackOff(50, 1000);
    for (;;) {
      const address = this.#nameservers[this.#server] as string;
      try {
        return await call(this.#channels.get(address), time.atMost(CALL_MS_MAX));
      } catch (error) {
        if (signal?.aborted) throw abortedError(signal);
        if (!isMqError(error) || !error.retryable) throw error;
        const pauseMs = backOff.next();
        if (this.#closed || time.deadlineMs <= pauseMs) {
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
    const before = this.#routes.get(message.topic);
    const route = routeOf(message, before);
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

function topicNotFound(topic: string): MqError {
  return new MqError(
    'TOPIC_NOT_FOUND',
    `there is no topic ${topic}; create it with 'tern topic create ${topic}'`,
  );
}

function createdUnseen(topic: string): MqError {
  return new MqError(
    'DEADLINE_EXCEEDED',
    `topic ${topic} was created, and the name server does not tell of it yet; allow more time, or check that the ` +
      'broker is registered with every name server',
    { retryable: true },
  );
}
