// A member of a group that pulls: its topics' queues are shared among the members, and it reads those that it is
// assigned by offset, from where the group is.

import { pause, type Timer } from './clock.ts';
import { newConsumerId } from './consumer-id.ts';
import { abortedError, closedError, isMqError, MqError } from './errors.ts';
import { HeldQueues, type QueueListener } from './held-queues.ts';
import type { StartPoint } from './message.ts';
import {
  type PollOptions,
  PullConsumer,
  type PullConsumerOptions,
  type TopicQueue,
} from './pull-consumer.ts';
import type { ReceivedMessage } from './received-message.ts';
import type { TopicHandle } from './topic-handle.ts';
import { type MembershipModules, TopicMembership } from './topic-membership.ts';
import { isStrategy, type StrategyName } from './transport/assignment.ts';

const AUTO_COMMIT_MS = 5000;
const AUTO_COMMIT_MS_MIN = 1000;
const POLL_MS = 5000;

/** How a member of a group pulls. */
export interface GroupPullOptions extends Omit<PullConsumerOptions, 'offsets'> {
  /** How often progress is committed, in milliseconds, at least 1,000; 0: only by `commit`. Default: 5,000. */
  readonly autoCommitMs?: number;
  /** Names the member in its group. Default: host, process and a random part. */
  readonly consumerId?: string;
  /** Told of queues before they are read; may seek in them. They are read when it returns, or after 1 s. */
  readonly onAssigned?: QueueListener;
  /**
   * Told of queues that are read no more. When the broker takes them in order, it may still commit what it was given,
   * within 1 s; when the connection broke, they are somebody else's already.
   */
  readonly onRevoked?: QueueListener;
}

/** How a topic's queues are shared. */
export interface SharedTopicOptions {
  /**
   * `average`: a range of queues for each member; `circle`: dealt like cards; `consistentHash`: fewest moves when
   * members come and go; `machineRoom`: brokers' queues stay with members in the same room. The same for all members.
   * Default: `average`.
   */
  readonly strategy?: StrategyName;
  /** The machine room that this member is in, with `machineRoom`: brokers in it are called `<room>` or `<room>-…`. */
  readonly room?: string;
  /** Where a group that has no progress yet starts. Default: `last`, behind the newest message. */
  readonly from?: StartPoint;
}

/**
 * A member of a group that pulls; made by `Client.pullConsumer(group)`.
 *
 * What `poll` gave counts as worked on when `poll` is called again or `commit` is called. Only that is committed:
 * every 5 s, before a queue goes to another member, and by `close`. So nothing is lost when a member fails; it comes
 * again elsewhere. When an operator sets the group's progress, it reads on from there at once.
 */
export class GroupPullConsumer implements AsyncDisposable {
  readonly #group: string;
  readonly #consumerId: string;
  readonly #modules: MembershipModules;
  readonly #pull: PullConsumer;
  readonly #queues: HeldQueues;
  readonly #memberships = new Map<string, TopicMembership>();
  readonly #committer: Timer | undefined;
  /** Aborts when there is something else to read than before. */
  #change = new AbortController();
  #polling = false;
  #closed: Promise<void> | undefined;

  constructor(group: string, options: GroupPullOptions, modules: MembershipModules) {
    const autoCommitMs = options.autoCommitMs ?? AUTO_COMMIT_MS;
    if (autoCommitMs !== 0 && !(autoCommitMs >= AUTO_COMMIT_MS_MIN)) {
      throw new MqError(
        'INVALID_OPTION',
        `autoCommitMs is ${autoCommitMs}; it is at least ${AUTO_COMMIT_MS_MIN}, or 0 for commits by hand`,
      );
    }
    this.#group = group;
    this.#consumerId = options.consumerId ?? newConsumerId(modules.clientId);
    this.#modules = modules;
    this.#pull = new PullConsumer(options, modules);
    const { onAssigned, onRevoked } = options;
    const hold = { group, autoCommit: autoCommitMs > 0, onAssigned, onRevoked };
    this.#queues = new HeldQueues(hold, { ...modules, pull: this.#pull }, () => this.#changed());
    if (autoCommitMs > 0) {
      this.#committer = modules.clock.every(autoCommitMs, () => void this.#queues.commitOrTell());
    }
  }

  /** The name of this member in its group. */
  get consumerId(): string {
    return this.#consumerId;
  }

  /** The queues that are read. */
  get assigned(): TopicQueue[] {
    return this.#pull.assigned;
  }

  /** Joins the members of the group that share a topic's queues. Throws INVALID_OPTION. */
  subscribe<Value>(topic: string | TopicHandle<Value>, options: SharedTopicOptions = {}): this {
    if (this.#closed !== undefined) throw closedError('pull consumer');
    const name = typeof topic === 'string' ? topic : topic.name;
    const { strategy = 'average', room = '', from = 'last' } = options;
    if (this.#memberships.has(name)) {
      throw new MqError('INVALID_OPTION', `the consumer has subscribed to ${name} already`);
    }
    if (!isStrategy(strategy)) {
      const known = 'average, circle, consistentHash or machineRoom';
      throw new MqError(
        'INVALID_OPTION',
        `there is no strategy ${String(strategy)}: take ${known}`,
      );
    }
    if ((strategy === 'machineRoom') !== (room !== '')) {
      throw new MqError(
        'INVALID_OPTION',
        'the strategy machineRoom needs a room, and no other does',
      );
    }
    if (typeof topic !== 'string') this.#queues.handles.set(name, topic as TopicHandle<unknown>);
    const opening = {
      group: this.#group,
      topic: name,
      consumerId: this.#consumerId,
      strategy,
      room,
      from,
    };
    this.#memberships.set(name, new TopicMembership(opening, this.#modules, this.#queues));
    return this;
  }

  /**
   * Messages of one of the assigned queues, or none when nothing has come in time; what was given before counts as
   * worked on. Throws what a broker refuses the member with, for example STRATEGY_MISMATCH.
   */
  async poll<Value = unknown>(options: PollOptions = {}): Promise<ReceivedMessage<Value>[]> {
    const { max = 32, waitMs = POLL_MS, signal } = options;
    if (this.#polling) {
      throw new MqError('ALREADY_RUNNING', 'wait for the poll before, or make another consumer');
    }
    this.#polling = true;
    try {
      const { clock } = this.#modules;
      const untilMs = clock.monotonicMs() + waitMs;
      for (;;) {
        this.#queues.finish();
        if (this.#queues.refusal !== undefined) throw this.#queues.refusal;
        if (this.#closed !== undefined) throw closedError('pull consumer');
        if (signal?.aborted) throw abortedError(signal);
        const change = this.#change.signal;
        const either = signal === undefined ? change : AbortSignal.any([signal, change]);
        const leftMs = Math.max(0, untilMs - clock.monotonicMs());
        const messages = await this.#read<Value>(max, leftMs, either);
        if (messages.length > 0) return messages;
        // What was passed over, because its tag was not wanted, is done.
        this.#queues.finish();
        if (clock.monotonicMs() >= untilMs) return [];
      }
    } finally {
      this.#polling = false;
    }
  }

  /** As PullConsumer.poll; nothing when the signal aborts. */
  async #read<Value>(
    max: number,
    waitMs: number,
    signal: AbortSignal,
  ): Promise<ReceivedMessage<Value>[]> {
    if (!this.#queues.readable) {
      await pause(this.#modules.clock, waitMs, signal);
      return [];
    }
    try {
      return await this.#pull.poll<Value>({ max, waitMs, signal });
    } catch (error) {
      if (signal.aborted && isMqError(error, 'ABORTED')) return [];
      throw error;
    }
  }

  #changed(): void {
    this.#change.abort();
    this.#change = new AbortController();
  }

  /** The offset that is read next. Throws QUEUE_NOT_ASSIGNED. */
  position(queue: TopicQueue): number {
    return this.#pull.position(queue);
  }

  /** Reads on from an offset, or from a place in the queue. Throws QUEUE_NOT_ASSIGNED. */
  async seek(queue: TopicQueue, to: number | StartPoint): Promise<void> {
    await this.#pull.seek(queue, to);
    this.#queues.sought(queue);
  }

  /** Reads these queues on from their oldest message; all that are assigned when none are named. */
  async seekToBegin(queues: readonly TopicQueue[] = this.assigned): Promise<void> {
    await Promise.all(queues.map((queue) => this.seek(queue, 'first')));
  }

  /** Reads these queues on from behind their newest message; all that are assigned when none are named. */
  async seekToEnd(queues: readonly TopicQueue[] = this.assigned): Promise<void> {
    await Promise.all(queues.map((queue) => this.seek(queue, 'last')));
  }

  /** The offset of the first message that a queue got at or after a time; behind the newest when there is none. */
  offsetForTime(queue: TopicQueue, time: Date): Promise<number> {
    return this.#pull.offsetForTime(queue, time);
  }

  /** Does not read these queues until `resume`. Throws QUEUE_NOT_ASSIGNED. */
  pause(queues: readonly TopicQueue[]): void {
    this.#queues.setPaused(queues, true);
  }

  /** Reads these queues again. Throws QUEUE_NOT_ASSIGNED. */
  resume(queues: readonly TopicQueue[]): void {
    this.#queues.setPaused(queues, false);
  }

  /**
   * Keeps the positions as the group's progress: everything that `poll` gave counts as worked on. Not in queues that are
   * another member's by now, or in which an operator has set the progress meanwhile.
   */
  commit(): Promise<void> {
    this.#queues.finish();
    return this.#queues.commitDone();
  }

  /**
   * Commits what was worked on (unless commits are by hand), and leaves: the queues go to other members at once. Call
   * `commit` before when what `poll` gave last is worked on.
   */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#committer?.cancel();
    this.#queues.closing = true;
    this.#changed();
    await Promise.all([...this.#memberships.values()].map((membership) => membership.close()));
    this.#pull.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
