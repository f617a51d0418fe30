// How long messages wait for a group: when the oldest one was stored that is not settled, and the oldest one that was
// never delivered. The index does not hold times, so they are read from the records, and kept until the group is further.

import type { Clock } from '@ternmq/runtime';
import type { QueueProgress } from '../progress/queue-progress.ts';
import { queueProgress, type TopicProgress } from '../state/groups.ts';
import { nextKept } from '../state/kept-messages.ts';
import type { Queue } from '../state/queue.ts';
import type { StateLog } from '../state/state-log.ts';
import type { OffsetFinder } from './offsets.ts';

/** Times that are looked for side by side. */
const READS_MAX = 8;
/** How long a refresh may take, in milliseconds; what it has not come to shows nothing or what was known before. */
const REFRESH_MS_MAX = 1000;

/** Ages in milliseconds; 0 when there is no such message. */
export interface LagAges {
  /** Of the oldest message that is not settled. */
  readonly unsettledMs: number;
  /** Of the oldest message that was never delivered. */
  readonly undeliveredMs: number;
}

/** Store times of two messages of a queue: the oldest unsettled one, and the oldest undelivered one. */
interface Known {
  readonly unsettled: { readonly offset: number; readonly timeMs: number };
  readonly undelivered: { readonly offset: number; readonly timeMs: number };
}

const NOTHING = { offset: -1, timeMs: 0 } as const;

/** Tells how long messages wait for groups. */
export class LagTimes {
  readonly #stateLog: StateLog;
  readonly #offsets: OffsetFinder;
  readonly #clock: Clock;
  readonly #known = new WeakMap<QueueProgress, Known>();
  #refreshing: Promise<void> | undefined;

  constructor(modules: { stateLog: StateLog; offsets: OffsetFinder; clock: Clock }) {
    this.#stateLog = modules.stateLog;
    this.#offsets = modules.offsets;
    this.#clock = modules.clock;
  }

  /** The offsets that count, -1 for none: what lies below the queue's begin and waits for nothing is gone. */
  #oldest(progress: QueueProgress, queue: Queue): { unsettled: number; undelivered: number } {
    const next = nextKept(this.#stateLog.state, queue, progress.next);
    const undelivered = next < queue.visibleEnd ? next : -1;
    const { oldestUnsettled } = progress;
    return {
      undelivered,
      unsettled: oldestUnsettled < progress.next ? oldestUnsettled : undelivered,
    };
  }

  /** The ages in a queue, as far as they are known without reading from the disk. */
  known(progress: QueueProgress, queue: Queue): LagAges {
    const { unsettled, undelivered } = this.#oldest(progress, queue);
    const known = this.#known.get(progress);
    const age = (offset: number, timeMs = 0): number =>
      offset < 0 || timeMs === 0 ? 0 : Math.max(0, this.#stateLog.timeMs() - timeMs);
    return {
      unsettledMs: age(unsettled, known?.unsettled.timeMs),
      undeliveredMs: age(undelivered, known?.undelivered.timeMs),
    };
  }

  /** The ages in a queue. A message whose record is damaged counts as none. */
  async find(progress: QueueProgress, queue: Queue): Promise<LagAges> {
    const { unsettled, undelivered } = this.#oldest(progress, queue);
    const known = this.#known.get(progress);
    const time = async (offset: number, before = NOTHING as Known['unsettled']) => {
      if (offset < 0) return NOTHING;
      if (before.offset === offset) return before;
      const timeMs = await this.#offsets.storeTime(queue, offset);
      return timeMs === undefined ? NOTHING : { offset, timeMs };
    };
    const first = await time(undelivered, known?.undelivered);
    const second = unsettled === undelivered ? first : await time(unsettled, known?.unsettled);
    this.#known.set(progress, { undelivered: first, unsettled: second });
    return this.known(progress, queue);
  }

  /** How long ago a message was stored, in milliseconds; 0 when its record is damaged. */
  async ageOf(queue: Queue, offset: number): Promise<number> {
    const timeMs = await this.#offsets.storeTime(queue, offset);
    return timeMs === undefined ? 0 : Math.max(0, this.#stateLog.timeMs() - timeMs);
  }

  /** The ages in all queues of a topic, by queue id. */
  async findAll(progress: TopicProgress, queues: readonly Queue[]): Promise<LagAges[]> {
    const ages: LagAges[] = [];
    await this.#sideBySide(queues, async (queue) => {
      ages[queue.queueId] = await this.find(queueProgress(progress, queue.queueId), queue);
    });
    return ages;
  }

  /** Has `known` tell of all groups how it is now; within a second, and once for all who ask meanwhile. */
  refresh(): Promise<void> {
    this.#refreshing ??= this.#refresh().finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  async #refresh(): Promise<void> {
    const untilMs = this.#clock.monotonicMs() + REFRESH_MS_MAX;
    const { topics, groups } = this.#stateLog.state;
    for (const progress of [...groups.allProgress()]) {
      if (this.#clock.monotonicMs() >= untilMs) return;
      const topic = topics.findById(progress.topicId);
      if (progress.consumerId !== '' || topic === undefined) continue;
      const behind = topic.queues.filter(
        (queue) => this.#oldest(queueProgress(progress, queue.queueId), queue).unsettled >= 0,
      );
      if (behind.length > 0) await this.findAll(progress, behind);
    }
  }

  async #sideBySide(
    queues: readonly Queue[],
    work: (queue: Queue) => Promise<void>,
  ): Promise<void> {
    let next = 0;
    const turn = async (): Promise<void> => {
      for (let queue = queues[next++]; queue !== undefined; queue = queues[next++]) {
        await work(queue);
      }
    };
    await Promise.all(Array.from({ length: Math.min(READS_MAX, queues.length) }, turn));
  }
}
