// Membership in one topic at one broker: turns the lists of queues that the broker sends into queues that come and go,
// one list after the other.

import { AssignmentLink } from './assignment-link.ts';
import type { Clock } from './clock.ts';
import type { MqError } from './errors.ts';
import type { Events } from './events.ts';
import type { TopicQueue } from './pull-consumer.ts';
import {
  type Assignment,
  type AssignmentOpening,
  encodeJoin,
  type QueuePlace,
} from './transport/assignment.ts';
import type { Channels } from './transport/channels.ts';

/** A queue that was assigned. */
export interface GrantedQueue {
  readonly queue: TopicQueue;
  /** Where its broker is. */
  readonly address: string;
  /** The offset that the group's progress is at. */
  readonly offset: number;
  /** Names the last time that somebody else than a member has set the progress. */
  readonly generation: bigint;
  /** Names the stream in commits. */
  readonly session: bigint;
}

/** Who reads the queues. None of its promises rejects. */
export interface QueueHolder {
  /** Reads these queues from now on. */
  take(queues: readonly GrantedQueue[]): Promise<void>;
  /** Reads on from there at once where somebody else has set the group's progress in a queue that is read. */
  moved(queues: readonly GrantedQueue[]): void;
  /** Reads these queues no more; resolves when their progress is kept, in less than the time of a hand-over. */
  letGo(queues: readonly TopicQueue[]): Promise<void>;
  /** Reads these queues no more, at once: they belong to others. */
  lose(queues: readonly TopicQueue[]): void;
  /** Tells the application that it has lost queues. */
  tellLost(queues: readonly TopicQueue[]): Promise<void>;
  /** A broker does not let the member in. */
  refused(error: MqError): void;
}

/** The queues of one topic that a member has at one broker. */
export class BrokerMembership {
  readonly #topic: string;
  readonly #broker: string;
  readonly #address: string;
  readonly #holder: QueueHolder;
  readonly #link: AssignmentLink;
  readonly #queues = new Map<number, TopicQueue>();
  /** What the broker has said last of each queue. */
  readonly #places = new Map<number, QueuePlace>();
  /** Queues that are being let go of. */
  #leaving: readonly TopicQueue[] = [];
  /** What the broker has sent is worked off one after the other. */
  #work: Promise<void> = Promise.resolve();
  /** Grows when what is still to be worked off does not count any more. */
  #epoch = 0;

  constructor(
    broker: { readonly name: string; readonly address: string },
    opening: AssignmentOpening,
    modules: { channels: Channels; clock: Clock; events: Events },
    holder: QueueHolder,
  ) {
    this.#topic = opening.topic;
    this.#broker = broker.name;
    this.#address = broker.address;
    this.#holder = holder;
    const channel = modules.channels.get(broker.address);
    this.#link = new AssignmentLink(channel, encodeJoin(opening), modules, {
      assigned: (queues, released) => {
        const epoch = this.#epoch;
        for (const place of queues) this.#places.set(place.queueId, place);
        // A reset does not wait for what else is worked off.
        this.#holder.moved(this.#granted([...this.#queues.keys()]));
        this.#work = this.#work.then(() => this.#change(queues, released, epoch));
      },
      lost: () => this.#lost(),
      refused: (error) => holder.refused(error),
    });
  }

  async #change(
    assigned: Assignment['queues'],
    released: () => void,
    epoch: number,
  ): Promise<void> {
    if (epoch !== this.#epoch) return;
    const wanted = new Set(assigned.map(({ queueId }) => queueId));
    const gone = [...this.#queues.values()].filter(({ queueId }) => !wanted.has(queueId));
    const come = [...wanted].filter((queueId) => !this.#queues.has(queueId));
    for (const queueId of come) {
      this.#queues.set(queueId, { topic: this.#topic, broker: this.#broker, queueId });
    }
    this.#leaving = gone;
    // Others wait for what goes; nobody waits for what comes.
    if (gone.length > 0) await this.#holder.letGo(gone);
    this.#leaving = [];
    if (epoch !== this.#epoch) return;
    for (const { queueId } of gone) this.#queues.delete(queueId);
    released();
    if (come.length > 0) await this.#holder.take(this.#granted(come));
  }

  #granted(queueIds: readonly number[]): GrantedQueue[] {
    return queueIds.flatMap((queueId) => {
      const [queue, place] = [this.#queues.get(queueId), this.#places.get(queueId)];
      if (queue === undefined || place === undefined) return [];
      const { offset, generation, session } = place;
      return [{ queue, address: this.#address, offset, generation, session }];
    });
  }

  #lost(): void {
    this.#epoch++;
    const all = [...this.#queues.values()];
    this.#queues.clear();
    this.#places.clear();
    this.#holder.lose(all);
    const untold = all.filter((queue) => !this.#leaving.includes(queue));
    if (untold.length > 0) this.#work = this.#work.then(() => this.#holder.tellLost(untold));
  }

  /** Lets go of all queues and leaves. */
  async close(): Promise<void> {
    this.#epoch++;
    this.#work = this.#work.then(() => this.#holder.letGo([...this.#queues.values()]));
    await this.#work;
    this.#queues.clear();
    await this.#link.close();
  }
}
