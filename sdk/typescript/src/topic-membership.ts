// Membership in one topic: at the master of every broker group that has queues of it, as its route changes.

import { BrokerMembership, type QueueHolder } from './broker-membership.ts';
import type { Clock, Timer } from './clock.ts';
import { isMqError } from './errors.ts';
import type { Events } from './events.ts';
import type { Routes } from './routes.ts';
import type { AssignmentOpening } from './transport/assignment.ts';
import type { Channels } from './transport/channels.ts';

const FIND_MS = 5000;
const FIND_AGAIN_MS = 500;

/** What memberships use. */
export interface MembershipModules {
  readonly routes: Routes;
  readonly channels: Channels;
  readonly clock: Clock;
  readonly events: Events;
  /** The client's name. */
  readonly clientId: string;
}

/** The queues of one topic that a member has. */
export class TopicMembership {
  readonly #opening: AssignmentOpening;
  readonly #modules: MembershipModules;
  readonly #holder: QueueHolder;
  /** By name of the broker, with its address. */
  readonly #brokers = new Map<string, { address: string; membership: BrokerMembership }>();
  /** By name of the broker: what has not left yet. A broker that has moved is joined again only then. */
  readonly #leaving = new Map<string, Promise<void>>();
  readonly #stop: () => void;
  #timer: Timer | undefined;
  #closed = false;

  constructor(opening: AssignmentOpening, modules: MembershipModules, holder: QueueHolder) {
    this.#opening = opening;
    this.#modules = modules;
    this.#holder = holder;
    this.#stop = modules.routes.listen(opening.topic, () => this.#refresh());
    this.#find();
  }

  /** A topic that does not exist yet may come; its members wait for it. */
  #find(): void {
    if (this.#closed) return;
    const { routes, clock, events } = this.#modules;
    const { topic } = this.#opening;
    routes.find(topic, { deadlineMs: FIND_MS }).then(
      () => this.#refresh(),
      (error: Error) => {
        events.emit({ type: 'waiting', topic, reason: error.message });
        if (isMqError(error) && !error.retryable && error.code !== 'TOPIC_NOT_FOUND') {
          this.#holder.refused(error);
          return;
        }
        this.#timer = clock.setTimer(FIND_AGAIN_MS, () => this.#find());
      },
    );
  }

  #refresh(): void {
    if (this.#closed) return;
    const route = this.#modules.routes.known(this.#opening.topic);
    if (route === undefined) return;
    const wanted = new Map(route.queues.map(({ broker, address }) => [broker, address]));
    for (const [name, { address, membership }] of this.#brokers) {
      if (wanted.get(name) === address) continue;
      this.#brokers.delete(name);
      const left = membership.close().then(() => {
        this.#leaving.delete(name);
        this.#refresh();
      });
      this.#leaving.set(name, left);
    }
    for (const [name, address] of wanted) {
      if (this.#brokers.has(name) || this.#leaving.has(name)) continue;
      const broker = { name, address };
      const membership = new BrokerMembership(broker, this.#opening, this.#modules, this.#holder);
      this.#brokers.set(name, { address, membership });
    }
  }

  /** Lets go of all queues and leaves. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#stop();
    this.#timer?.cancel();
    const left = [...this.#brokers.values()].map(({ membership }) => membership.close());
    this.#brokers.clear();
    await Promise.all([...left, ...this.#leaving.values()]);
  }
}
