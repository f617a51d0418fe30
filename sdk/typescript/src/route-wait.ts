// Messages that wait for the route of their topic. They are let on in order, all at once, when it is found; a topic that
// does not exist is created for them, and the first of them waits for the new topic's queues like the others.

import { type Clock, pause } from './clock.ts';
import { isMqError, MqError, noMaster } from './errors.ts';
import type { Outgoing } from './outgoing.ts';
import type { Routes } from './routes.ts';

const RETRY_MS = 200;

/** Messages of topics whose route is not known. */
export class RouteWait {
  readonly #routes: Routes;
  readonly #clock: Clock;
  /** Aborts when nothing is waited for any more. */
  readonly #closing: AbortSignal;
  readonly #found: (item: Outgoing) => void;
  readonly #topics = new Map<string, Outgoing[]>();

  /** @param found called with each message, in order, when its topic's queues are known */
  constructor(
    modules: { routes: Routes; clock: Clock; closing: AbortSignal },
    found: (item: Outgoing) => void,
  ) {
    this.#routes = modules.routes;
    this.#clock = modules.clock;
    this.#closing = modules.closing;
    this.#found = found;
  }

  /** Takes a message unless it may go on at once. */
  takes(item: Outgoing): boolean {
    const { topic } = item;
    const waiting = this.#topics.get(topic);
    if (waiting !== undefined) {
      waiting.push(item);
      return true;
    }
    if (this.#known(topic)) return false;
    const items = [item];
    this.#topics.set(topic, items);
    void this.#find(topic, items);
    return true;
  }

  #known(topic: string): boolean {
    return (this.#routes.known(topic)?.places.length ?? 0) > 0;
  }

  /** Looks for a route for as long as messages wait for it. */
  async #find(topic: string, items: Outgoing[]): Promise<void> {
    for (;;) {
      const waiting = items.filter(({ done }) => !done);
      const untilMs = waiting.reduce((latest, item) => Math.max(latest, item.untilMs), 0);
      const deadlineMs = untilMs - this.#clock.monotonicMs();
      if (waiting.length === 0 || deadlineMs <= 0) break;
      try {
        await this.#routes.find(topic, { deadlineMs, signal: this.#closing }, true);
        if (this.#known(topic)) break;
        this.#refuse(items, noMaster(topic));
      } catch (error) {
        this.#refuse(items, isMqError(error) ? error : new MqError('UNKNOWN', String(error)));
      }
      await pause(this.#clock, RETRY_MS, this.#closing);
    }
    this.#topics.delete(topic);
    const known = this.#known(topic);
    for (const item of items) {
      if (known) this.#found(item);
      else item.failed(item.refusal ?? noRoute(topic));
    }
  }

  #refuse(items: readonly Outgoing[], error: MqError): void {
    for (const item of items) {
      if (error.retryable) item.refusal = error;
      else item.failed(error);
    }
  }

  /** Fails what has waited past its deadline. */
  expire(nowMs: number): void {
    for (const [topic, items] of this.#topics) {
      for (const item of items) {
        if (item.untilMs <= nowMs) item.failed(item.refusal ?? noRoute(topic));
      }
    }
  }
}

function noRoute(topic: string): MqError {
  return new MqError(
    'DEADLINE_EXCEEDED',
    `the route of topic ${topic} was not found before the deadline; check the name servers, or allow more time`,
    { retryable: true },
  );
}
