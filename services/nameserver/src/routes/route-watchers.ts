// Who wants to know of which topics, and what each of them has not been sent yet. A watcher keeps names, not
// routes: however long it does not read, it costs a set of names and then gets the newest routes.

import { TernError } from '@ternmq/runtime';

/** Bounds of watching. */
export interface RouteWatchersOptions {
  /** Watchers at the same time. */
  readonly watchersMax: number;
  /** Names that all watchers together may ask for. */
  readonly namesMax: number;
}

/** One that wants to know. */
export class RouteWatcher {
  /** The topics that it wants; undefined for all. */
  readonly topics: ReadonlySet<string> | undefined;
  readonly #unsent: Set<string>;
  /** It shall get a response even when no route has changed. */
  #owed = true;

  constructor(topics: ReadonlySet<string> | undefined, unsent: Iterable<string>) {
    this.topics = topics;
    this.#unsent = new Set(unsent);
  }

  /** Is there something to send? */
  get pending(): boolean {
    return this.#owed || this.#unsent.size > 0;
  }

  /** Number of topics whose routes are not sent yet. */
  get unsent(): number {
    return this.#unsent.size;
  }

  /** The route of a topic that it wants has changed. */
  changed(topic: string): void {
    this.#unsent.add(topic);
  }

  /** It shall get a response even when no route has changed. */
  owe(): void {
    this.#owed = true;
  }

  /** Takes at most so many topics to send now. */
  take(countMax: number): string[] {
    this.#owed = false;
    const taken: string[] = [];
    for (const topic of this.#unsent) {
      if (taken.length >= countMax) break;
      this.#unsent.delete(topic);
      taken.push(topic);
    }
    return taken;
  }
}

/** All who want to know. */
export class RouteWatchers {
  readonly #options: RouteWatchersOptions;
  readonly #all = new Set<RouteWatcher>();
  /** Those that want all topics. */
  readonly #ofEverything = new Set<RouteWatcher>();
  readonly #ofTopic = new Map<string, Set<RouteWatcher>>();
  #names = 0;

  constructor(options: RouteWatchersOptions) {
    this.#options = options;
  }

  /** Number of watchers. */
  get size(): number {
    return this.#all.size;
  }

  /**
   * Adds a watcher of some topics, or of all when none is named; it has everything still to be sent.
   *
   * @param known all topics that there are
   * @throws TernError RESOURCE_EXHAUSTED with reason TOO_MANY_WATCHERS
   */
  add(topics: readonly string[], known: Iterable<string>): RouteWatcher {
    const { watchersMax, namesMax } = this.#options;
    if (this.size >= watchersMax || this.#names + topics.length > namesMax) {
      throw new TernError(
        'RESOURCE_EXHAUSTED',
        'TOO_MANY_WATCHERS',
        `This name server serves at most ${watchersMax} watchers and ${namesMax} watched topics; use another one, or start it with a higher --watchers-max.`,
        { retryAfterMs: 1000 },
      );
    }
    const wanted = topics.length === 0 ? undefined : new Set(topics);
    const watcher = new RouteWatcher(wanted, wanted ?? known);
    this.#all.add(watcher);
    if (wanted === undefined) this.#ofEverything.add(watcher);
    for (const topic of wanted ?? []) {
      const others = this.#ofTopic.get(topic);
      if (others === undefined) this.#ofTopic.set(topic, new Set([watcher]));
      else others.add(watcher);
    }
    this.#names += wanted?.size ?? 0;
    return watcher;
  }

  /** Removes a watcher; harmless when it is removed. */
  remove(watcher: RouteWatcher): void {
    if (!this.#all.delete(watcher)) return;
    this.#ofEverything.delete(watcher);
    for (const topic of watcher.topics ?? []) {
      const others = this.#ofTopic.get(topic);
      others?.delete(watcher);
      if (others?.size === 0) this.#ofTopic.delete(topic);
    }
    this.#names -= watcher.topics?.size ?? 0;
  }

  /** Routes have changed. Returns the watchers that want to know. */
  changed(topics: ReadonlySet<string>): Set<RouteWatcher> {
    const concerned = new Set(topics.size === 0 ? [] : this.#ofEverything);
    for (const topic of topics) {
      for (const watcher of this.#ofEverything) watcher.changed(topic);
      for (const watcher of this.#ofTopic.get(topic) ?? []) {
        watcher.changed(topic);
        concerned.add(watcher);
      }
    }
    return concerned;
  }

  /**
   * The name server knows all brokers now. Whoever was told that a topic is not known, which meant little
   * until now, is told again; all others get an empty response.
   *
   * @param isKnown tells whether a topic is served
   */
  warmedUp(isKnown: (topic: string) => boolean): Iterable<RouteWatcher> {
    for (const watcher of this.#all) {
      watcher.owe();
      for (const topic of watcher.topics ?? []) if (!isKnown(topic)) watcher.changed(topic);
    }
    return this.#all;
  }
}
