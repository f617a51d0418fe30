// Routes for tests: what a name server would say, without one.

import type { MqError } from '../errors.ts';
import { queuePlaces } from '../queue-places.ts';
import type { Routes } from '../routes.ts';
import type { Route } from '../transport/route.ts';
import { turn } from './manual-clock.ts';

/** Topics and where they are. */
export class FakeRoutes {
  readonly #routes = new Map<string, Route>();
  readonly #listeners = new Map<string, Set<(route: Route) => void>>();
  /** Thrown by every query. */
  failure: MqError | undefined;
  /** Addresses of slaves, of every broker group that is added. */
  slaves: readonly string[] = [];
  /** How often a route was asked for. */
  queries = 0;

  /** As clients take it. */
  get routes(): Routes {
    return this as unknown as Routes;
  }

  /** Adds or changes a topic: its number of queues by broker, which is reached at `<broker>:<port>`. */
  add(topic: string, queues: Readonly<Record<string, number>>, port = 1): void {
    const list = Object.entries(queues).flatMap(([broker, count]) =>
      Array.from({ length: count }, (_, queueId) => ({
        broker,
        queueId,
        address: `${broker}:${port}`,
        suspect: false,
      })),
    );
    const places = queuePlaces(this.#routes.get(topic)?.places ?? [], list);
    const groups = Object.keys(queues).map((broker) => ({
      broker,
      consumeAt: `${broker}:${port}`,
      slaves: this.slaves,
    }));
    const route: Route = { topic, queues: list, places, groups };
    this.#routes.set(topic, route);
    for (const listener of this.#listeners.get(topic) ?? []) listener(route);
  }

  known(topic: string): Route | undefined {
    return this.queries > 0 ? this.#routes.get(topic) : undefined;
  }

  async find(topic: string): Promise<Route> {
    await turn();
    this.queries++;
    if (this.failure !== undefined) throw this.failure;
    return this.#routes.get(topic) as Route;
  }

  listen(topic: string, listener: (route: Route) => void): () => void {
    const listeners = this.#listeners.get(topic) ?? new Set();
    this.#listeners.set(topic, listeners.add(listener));
    return () => listeners.delete(listener);
  }
}
