// The queues that a member of a group reads, and how far it is in each:
//
//   committed ≤ done ≤ given      (the application may seek, and then they go back together)
//
//   given      behind what `poll` has given out: the position of the queue
//   done       behind what the application has worked on: `given` when it polled or committed last
//   committed  what the broker keeps for the group
//
// When somebody else sets the group's progress, all three go there, and the queue has another generation. The broker takes
// commits only with the generation that it has now, so none that was made before can undo that.
//
//   granted -> starting -> read -> leaving -> gone
//
// While a queue starts, the application is told of it and may seek; it is read after that. While it leaves, the
// application finishes what it was given; then the progress is committed and the broker gives the queue to another.

import type { GrantedQueue, QueueHolder } from './broker-membership.ts';
import { type Clock, pause } from './clock.ts';
import type { MqError } from './errors.ts';
import type { Events } from './events.ts';
import { type PullConsumer, queueKey, type TopicQueue } from './pull-consumer.ts';
import type { TopicHandle } from './topic-handle.ts';
import type { Channels } from './transport/channels.ts';
import { broker } from './transport/methods.ts';

/** How long the application may take to finish with queues that leave, and to answer a callback, in milliseconds. */
const FINISH_MS = 1000;
/** How long a commit may take, in milliseconds. */
const COMMIT_MS = 5000;
/** How long the commit of queues that leave may take; with twice FINISH_MS less than the hand-over's 3 s. */
const LAST_COMMIT_MS = 900;

/** Told of queues that come or go. */
export type QueueListener = (queues: readonly TopicQueue[]) => void | Promise<void>;

interface Held {
  readonly queue: TopicQueue;
  readonly address: string;
  readonly session: bigint;
  generation: bigint;
  done: number;
  committed: number;
  /** The position when the queue began to leave; undefined before. */
  left: number | undefined;
  starting: boolean;
  paused: boolean;
}

/** How far this member was in a queue that it lost because the connection broke. */
interface Lost {
  done: number;
  readonly given: number;
  readonly committed: number;
  readonly generation: bigint;
}

/** What holding queues takes. */
export interface HoldOptions {
  readonly group: string;
  /** Commit before queues leave. */
  readonly autoCommit: boolean;
  readonly onAssigned: QueueListener | undefined;
  readonly onRevoked: QueueListener | undefined;
}

/** The queues that a member reads. */
export class HeldQueues implements QueueHolder {
  readonly #options: HoldOptions;
  readonly #pull: PullConsumer;
  readonly #channels: Channels;
  readonly #clock: Clock;
  readonly #events: Events;
  /** Told when there is something else to read than before, or an error. */
  readonly #changed: () => void;
  readonly #held = new Map<string, Held>();
  /** Bounded by the number of queues of the topics. */
  readonly #lost = new Map<string, Lost>();
  /** What the topics' messages hold, where the application has said. */
  readonly handles = new Map<string, TopicHandle<unknown>>();
  /** Commits go one after the other, so that none overtakes another. */
  #commits: Promise<void> = Promise.resolve();
  #finished = Promise.withResolvers<void>();
  /** Why a broker does not let the member in. */
  refusal: MqError | undefined;
  /** The member leaves: nothing more will be worked on. */
  closing = false;

  constructor(
    options: HoldOptions,
    modules: { pull: PullConsumer; channels: Channels; clock: Clock; events: Events },
    changed: () => void,
  ) {
    this.#options = options;
    this.#pull = modules.pull;
    this.#channels = modules.channels;
    this.#clock = modules.clock;
    this.#events = modules.events;
    this.#changed = changed;
  }

  /** Is there a queue to read? */
  get readable(): boolean {
    for (const { starting, paused, left } of this.#held.values()) {
      if (!starting && !paused && left === undefined) return true;
    }
    return false;
  }

  async take(granted: readonly GrantedQueue[]): Promise<void> {
    const come = granted.map(({ queue, address, offset, generation, session }) => {
      const key = queueKey(queue);
      const before = this.#lost.get(key);
      this.#lost.delete(key);
      // Nobody else has gone beyond what this member has read since: it goes on where it was.
      const same = before !== undefined && goesOn(before, offset, generation);
      const held: Held = {
        queue,
        address,
        session,
        generation,
        done: same ? Math.max(before.done, offset) : offset,
        committed: offset,
        left: undefined,
        starting: true,
        paused: false,
      };
      this.#held.set(key, held);
      const from = { address, offset: same ? before.given : offset };
      this.#pull.include(queue, from, this.handles.get(queue.topic));
      return held;
    });
    await this.#tell(this.#options.onAssigned, come);
    for (const held of come) {
      held.starting = false;
      if (this.#isHeld(held) && held.left === undefined && !held.paused) {
        this.#pull.resume([held.queue]);
      }
    }
    this.#changed();
  }

  moved(queues: readonly GrantedQueue[]): void {
    let changed = false;
    for (const { queue, offset, generation } of queues) {
      const held = this.#held.get(queueKey(queue));
      if (held === undefined || held.generation === generation) continue;
      changed = true;
      held.generation = generation;
      held.done = offset;
      held.committed = offset;
      if (held.left === undefined) this.#pull.move(queue, offset);
      else held.left = offset;
    }
    // Nobody waits for messages behind the old place.
    if (changed) this.#changed();
  }

  async letGo(queues: readonly TopicQueue[]): Promise<void> {
    const leaving = queues.flatMap((queue) => this.#held.get(queueKey(queue)) ?? []);
    for (const held of leaving) {
      held.left = this.#pull.position(held.queue);
      this.#pull.exclude(held.queue);
    }
    this.#changed();
    await this.#finishing(leaving);
    await this.#tell(this.#options.onRevoked, leaving);
    if (this.#options.autoCommit) {
      const committed = this.commitDone(leaving).catch((error: Error) => this.#tellFailed(error));
      await this.#within(LAST_COMMIT_MS, committed);
    }
    for (const held of leaving) if (this.#isHeld(held)) this.#held.delete(queueKey(held.queue));
  }

  lose(queues: readonly TopicQueue[]): void {
    for (const queue of queues) {
      const key = queueKey(queue);
      const held = this.#held.get(key);
      if (held === undefined) continue;
      this.#held.delete(key);
      const { done, committed, generation } = held;
      this.#lost.set(key, { done, committed, generation, given: this.#given(held) });
      this.#pull.exclude(queue);
    }
    this.#changed();
  }

  tellLost(queues: readonly TopicQueue[]): Promise<void> {
    return this.#tell(
      this.#options.onRevoked,
      queues.map((queue) => ({ queue })),
    );
  }

  refused(error: MqError): void {
    this.refusal = error;
    this.#changed();
  }

  /** The application has worked on everything that it was given. */
  finish(): void {
    for (const held of this.#held.values()) held.done = this.#given(held);
    for (const lost of this.#lost.values()) lost.done = lost.given;
    this.#finished.resolve();
    this.#finished = Promise.withResolvers();
  }

  /** Reads on from where the application has sought in a queue. */
  sought(queue: TopicQueue): void {
    const held = this.#held.get(queueKey(queue));
    if (held !== undefined) held.done = this.#given(held);
  }

  /** Reads queues, or does not, as the application wants. Throws QUEUE_NOT_ASSIGNED. */
  setPaused(queues: readonly TopicQueue[], paused: boolean): void {
    for (const queue of queues) {
      const held = this.#held.get(queueKey(queue));
      if (held === undefined || held.left !== undefined) {
        // The queue is not there: this says so.
        this.#pull.position(queue);
        continue;
      }
      held.paused = paused;
      if (paused) this.#pull.pause([queue]);
      else if (!held.starting) this.#pull.resume([queue]);
    }
    this.#changed();
  }

  /** Keeps what is done, of these queues or of all, on the brokers. */
  commitDone(only?: readonly Held[]): Promise<void> {
    const commit = this.#commits.then(() => this.#commit(only ?? [...this.#held.values()]));
    this.#commits = commit.catch(() => {});
    return commit;
  }

  /** As commitDone; what fails is told as an event. */
  async commitOrTell(): Promise<void> {
    await this.commitDone().catch((error: Error) => this.#tellFailed(error));
  }

  async #commit(queues: readonly Held[]): Promise<void> {
    const requests = new Map<string, Held[]>();
    for (const held of queues) {
      // A queue that is somebody else's by now must not be set back.
      if (!this.#isHeld(held) || held.done === held.committed) continue;
      const key = `${held.address} ${held.queue.topic}`;
      requests.set(key, [...(requests.get(key) ?? []), held]);
    }
    const { group } = this.#options;
    await Promise.all(
      [...requests.values()].map(async (list) => {
        const { address, queue, session } = list[0] as Held;
        const sent = list.map((held) => ({ held, done: held.done, generation: held.generation }));
        const offsets = sent.map(({ held, done, generation }) => ({
          queueId: held.queue.queueId,
          offset: BigInt(done),
          generation,
        }));
        const { refused } = await this.#channels
          .get(address)
          .unary(
            broker.commitOffset,
            { group, topic: queue.topic, offsets, session },
            { deadlineMs: COMMIT_MS },
          );
        // The stream says, or has said, where a queue is whose commit was refused, or whose it is.
        const not = new Set(refused.map(({ queueId }) => queueId));
        for (const { held, done, generation } of sent) {
          const counts = held.generation === generation && !not.has(held.queue.queueId);
          if (counts) held.committed = done;
        }
      }),
    );
  }

  #isHeld(held: Held): boolean {
    return this.#held.get(queueKey(held.queue)) === held;
  }

  #given(held: Held): number {
    return held.left ?? this.#pull.position(held.queue);
  }

  /** Resolves when the application has worked on what it was given of these queues, or has had its time. */
  async #finishing(queues: readonly Held[]): Promise<void> {
    const untilMs = this.#clock.monotonicMs() + FINISH_MS;
    for (;;) {
      const open = queues.some((held) => this.#isHeld(held) && held.done !== held.left);
      const leftMs = untilMs - this.#clock.monotonicMs();
      if (!open || this.closing || leftMs <= 0) return;
      await this.#within(leftMs, this.#finished.promise);
    }
  }

  async #tell(
    listener: QueueListener | undefined,
    list: readonly { readonly queue: TopicQueue }[],
  ): Promise<void> {
    const [first] = list;
    if (listener === undefined || first === undefined) return;
    const told = (async () => listener(list.map(({ queue }) => queue)))().catch((error) => {
      this.#events.emit({ type: 'handlerFailed', topic: first.queue.topic, error });
    });
    await this.#within(FINISH_MS, told);
  }

  #tellFailed(error: Error): void {
    const topic = [...this.#held.values()][0]?.queue.topic ?? '';
    this.#events.emit({ type: 'commitFailed', topic, error });
  }

  async #within(waitMs: number, what: Promise<void>): Promise<void> {
    const over = new AbortController();
    await Promise.race([what, pause(this.#clock, waitMs, over.signal)]);
    over.abort();
  }
}

/** May a member that has lost a queue and got it again go on where it was? */
function goesOn(
  { committed, given, ...before }: Lost,
  offset: number,
  generation: bigint,
): boolean {
  return generation === before.generation && offset >= committed && offset <= given;
}
