// A consumer's streams: one to every broker group that the topics' routes name, to its master or who stands in for it, opened and
// closed as routes change.

import type { Clock, Timer } from './clock.ts';
import { isMqError } from './errors.ts';
import type { Events } from './events.ts';
import type { Routes } from './routes.ts';
import {
  type LinkSubscription,
  SubscriptionLink,
  type SubscriptionObserver,
} from './subscription-link.ts';
import type { Channels } from './transport/channels.ts';
import type { Route } from './transport/route.ts';
import { WANTS_ALL, type Wanted } from './wanted.ts';

const FIND_MS = 5000;
const FIND_AGAIN_MS = 500;

/** The streams of one consumer. */
export class SubscriptionSet {
  readonly #subscription: Omit<LinkSubscription, 'subscriptions'>;
  readonly #topics: ReadonlyMap<string, Wanted>;
  readonly #modules: { routes: Routes; channels: Channels; clock: Clock; events: Events };
  readonly #observer: SubscriptionObserver;
  readonly #links = new Map<string, SubscriptionLink>();
  readonly #stop: (() => void)[] = [];
  readonly #timers = new Set<Timer>();
  #closed = false;

  /** @param topics what is wanted, by topic */
  constructor(
    subscription: Omit<LinkSubscription, 'subscriptions'>,
    topics: ReadonlyMap<string, Wanted>,
    modules: { routes: Routes; channels: Channels; clock: Clock; events: Events },
    observer: SubscriptionObserver,
  ) {
    this.#subscription = subscription;
    this.#topics = topics;
    this.#modules = modules;
    this.#observer = observer;
    for (const topic of topics.keys()) {
      this.#stop.push(modules.routes.listen(topic, () => this.#refresh()));
      this.#find(topic);
    }
  }

  /** A topic that does not exist yet may come; its consumers wait for it. */
  #find(topic: string): void {
    if (this.#closed) return;
    const { routes, clock, events } = this.#modules;
    routes.find(topic, { deadlineMs: FIND_MS }).then(
      () => this.#refresh(),
      (error: Error) => {
        events.emit({ type: 'waiting', topic, reason: error.message });
        if (isMqError(error) && !error.retryable && error.code !== 'TOPIC_NOT_FOUND') {
          this.#observer.refused(error);
          return;
        }
        const timer = clock.setTimer(FIND_AGAIN_MS, () => {
          this.#timers.delete(timer);
          this.#find(topic);
        });
        this.#timers.add(timer);
      },
    );
  }

  /** Opens a stream to each broker group that has one of the topics, and closes those that are not needed. */
  #refresh(): void {
    if (this.#closed) return;
    const wanted = new Map<string, { broker: string; address: string; topics: string[] }>();
    for (const topic of this.#topics.keys()) {
      for (const { broker, address } of brokersOf(this.#modules.routes.known(topic))) {
        const entry = wanted.get(broker) ?? { broker, address, topics: [] };
        entry.topics.push(topic);
        wanted.set(broker, entry);
      }
    }
    const keys = new Set<string>();
    for (const { broker, address, topics } of wanted.values()) {
      const key = `${broker} ${address} ${topics.join(' ')}`;
      keys.add(key);
      if (this.#links.has(key)) continue;
      const subscriptions = topics.map((topic) => ({
        topic,
        ...(this.#topics.get(topic) ?? WANTS_ALL),
      }));
      const channel = this.#modules.channels.get(address);
      const subscription = { ...this.#subscription, subscriptions };
      this.#links.set(
        key,
        new SubscriptionLink(broker, channel, subscription, this.#modules, this.#observer),
      );
    }
    for (const [key, link] of this.#links) {
      if (keys.has(key)) continue;
      this.#links.delete(key);
      const successor = [...this.#links.values()].find(({ broker }) => broker === link.broker);
      if (successor === undefined) void link.close();
      else link.leaveTo(successor);
    }
  }

  /** Sends what waits to be sent. */
  flush(): void {
    for (const link of this.#links.values()) link.flush();
  }

  /** Ends all streams; resolves when the brokers know. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const stop of this.#stop) stop();
    for (const timer of this.#timers) timer.cancel();
    const links = [...this.#links.values()];
    this.#links.clear();
    await Promise.all(links.map((link) => link.close()));
  }
}

function brokersOf(route: Route | undefined): { broker: string; address: string }[] {
  return (route?.groups ?? []).flatMap(({ broker, consumeAt: address }) =>
    address === undefined ? [] : [{ broker, address }],
  );
}
