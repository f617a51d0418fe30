// Decides what is deleted, and deletes it: whole segments, oldest first, never the active one.
//
//   a segment goes when its newest message is older than the longest retention of any topic, or when the log
//   is larger than its limit, or when the disk is too full;
//   a topic with a shorter retention of its own has its queues begin later.
//
// Nothing goes before a snapshot of the state lies behind it in the log, durable: the state could not be built
// any more. Messages that are delivered and not settled, delayed ones that wait, and the newest of each key of compacted
// topics are appended again first, with their old offsets.

import type { Clock, Logger, Timer } from '@ternmq/runtime';
import { isNewest, isTombstone, newestThatGo } from './compaction.ts';
import type { OffsetFinder } from './delivery/offsets.ts';
import type { DiskGuard } from './disk-guard.ts';
import { CHUNK_ENTRIES, type Queue } from './state/queue.ts';
import { writeSnapshot } from './state/snapshot.ts';
import type { StateLog } from './state/state-log.ts';
import type { StateWriter } from './state/state-writer.ts';
import type { StateStore } from './state/store.ts';
import type { Topic } from './state/topics.ts';

/** Entries of a queue's index that are added up in one turn of the event loop. */
const ENTRIES_A_TURN = 64 * CHUNK_ENTRIES;

/** How long messages are kept where a topic does not say. */
export interface RetentionOptions {
  /** In milliseconds. */
  readonly retentionMs: number;
  /** Size of the log, in bytes; Infinity for no limit. */
  readonly retentionBytes: number;
  /** Pause between two looks, in milliseconds. */
  readonly intervalMs: number;
}

/** Deletes what is old. */
export class Retention {
  readonly #options: RetentionOptions;
  readonly #stateLog: StateLog;
  readonly #store: StateStore;
  readonly #writer: StateWriter;
  readonly #offsets: OffsetFinder;
  readonly #guard: DiskGuard;
  readonly #clock: Clock;
  readonly #logger: Logger;
  #timer: Timer | undefined;
  #running: Promise<void> | undefined;
  #closed = false;

  constructor(
    options: RetentionOptions,
    modules: {
      stateLog: StateLog;
      store: StateStore;
      writer: StateWriter;
      offsets: OffsetFinder;
      guard: DiskGuard;
      clock: Clock;
      logger: Logger;
    },
  ) {
    this.#options = options;
    this.#stateLog = modules.stateLog;
    this.#store = modules.store;
    this.#writer = modules.writer;
    this.#offsets = modules.offsets;
    this.#guard = modules.guard;
    this.#clock = modules.clock;
    this.#logger = modules.logger;
  }

  /** Begins to look by itself. */
  start(): void {
    this.#timer = this.#clock.every(this.#options.intervalMs, () => {
      this.run().catch((error: Error) => {
        this.#logger.error({ error }, 'old messages could not be deleted; it is tried again');
      });
    });
  }

  /** Deletes what is old now. */
  async run(): Promise<void> {
    if (this.#running !== undefined || this.#closed) return this.#running;
    this.#running = this.#runOnce().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  async #runOnce(): Promise<void> {
    await this.#trimTopics();
    const position = this.#trimPosition();
    if (position > this.#stateLog.log.start) await this.#trimLog(position);
  }

  /** Position before which segments are to go. */
  #trimPosition(): number {
    const { log, state } = this.#stateLog;
    const { segments } = log;
    const active = log.segmentAt(log.next);
    const longestMs = this.#longestRetentionMs();
    const oldestMs = this.#clock.nowMs() - longestMs;
    const expireNow = this.#guard.pressure !== 'none';
    const clean = this.#guard.pressure === 'clean';
    let position = log.start;
    for (const segment of segments) {
      if (segment.start === active?.start || segment.end > log.durable) break;
      const newestMs = state.segmentTimes.find(segment.start) ?? state.lastTimeMs;
      const expired = newestMs < oldestMs;
      const tooLarge = log.next - segment.end >= this.#options.retentionBytes;
      // Under pressure one segment a round: the next measurement tells whether it was enough.
      const forced = clean && position === log.start;
      const empty = expireNow && this.#holdsNothing(segment.end);
      if (!expired && !tooLarge && !forced && !empty) break;
      position = segment.end;
    }
    return position;
  }

  /** Does no queue keep a message from before a position? */
  #holdsNothing(position: number): boolean {
    const { state } = this.#stateLog;
    if (state.held.pending > 0) return false;
    for (const topic of state.topics.all()) {
      for (const queue of topic.queues) {
        if (queue.sparse) continue;
        const begin = state.beginOf(queue);
        if (begin < queue.next && state.locate(queue, begin).position < position) return false;
      }
    }
    return true;
  }

  #longestRetentionMs(): number {
    let longest = this.#options.retentionMs;
    for (const { settings } of this.#stateLog.state.topics.all()) {
      longest = Math.max(longest, settings.retentionMs);
    }
    return longest;
  }

  async #trimLog(position: number): Promise<void> {
    const { log } = this.#stateLog;
    await this.#writer.write();
    const snapshot = await writeSnapshot(this.#stateLog, this.#store, this.#clock);
    if (snapshot < position) return;
    // As late as possible: messages are delivered all the time.
    const goes = (queue: Queue, offset: number): boolean => {
      const { position: at, length } = this.#stateLog.state.locate(queue, offset);
      return length > 0 && at < position;
    };
    await this.#relocateUnsettled(goes);
    await this.#relocateTimers(goes);
    for (const topic of [...this.#stateLog.state.topics.all()]) {
      await this.#relocateNewest(topic, goes);
    }
    this.#stateLog.change({
      case: 'logTrimmed',
      value: { $typeName: 'ternmq.log.v1.LogTrimmed', startPosition: BigInt(position) },
    });
    await log.keptAt(log.next);
    // The store must not need what goes.
    await this.#writer.write();
    const bytes = position - log.start;
    log.dropBefore(position, this.#guard.pressure === 'none');
    this.#logger.info({ start: position, bytes }, 'deleted old segments');
    await this.#guard.check();
  }

  /**
   * Appends messages again that are not settled yet and would go.
   *
   * @param goes asked of every unsettled message
   */
  async #relocateUnsettled(goes: (queue: Queue, offset: number) => boolean): Promise<void> {
    const { state } = this.#stateLog;
    for (const progress of [...state.groups.allProgress()]) {
      const topic = state.topics.findById(progress.topicId);
      for (const [queueId, unsettled] of progress.queues.entries()) {
        const queue = topic?.queues[queueId];
        if (unsettled === undefined || queue === undefined) continue;
        for (const offset of unsettled.unsettledOffsets()) {
          if (goes(queue, offset)) await this.#relocate(queue, offset);
        }
      }
    }
  }

  /** Appends messages again that a compacted topic retains and that would go. */
  async #relocateNewest(
    topic: Topic,
    goes: (queue: Queue, offset: number) => boolean,
  ): Promise<void> {
    if (!topic.settings.compacted) return;
    const { state } = this.#stateLog;
    for (const { queue, offset } of await newestThatGo(state, topic, goes, this.#clock)) {
      // One that was not settled has been appended again already.
      if (goes(queue, offset))
        await this.#relocate(queue, offset, (record) => !isTombstone(record));
    }
  }

  /** Appends delayed messages again that wait and would go. */
  async #relocateTimers(goes: (queue: Queue, offset: number) => boolean): Promise<void> {
    const { held } = this.#stateLog.state;
    const { queue } = held;
    if (queue === undefined) return;
    const going: number[] = [];
    held.forEachPending((offset) => {
      if (goes(queue, offset)) going.push(offset);
    });
    for (const offset of going) {
      if (held.isPending(offset)) await this.#relocate(queue, offset);
    }
  }

  /** @param wanted asked of its record; of a compacted queue, only the newest of their keys are appended again */
  async #relocate(
    queue: Queue,
    offset: number,
    wanted: (record: Buffer) => boolean = () => true,
  ): Promise<void> {
    const { state, log } = this.#stateLog;
    const { position, length } = state.locate(queue, offset);
    if (length === 0 || queue.deleted) return;
    try {
      await log.read.load(position, length);
      const record = log.read.find(position, length);
      if (record === undefined || queue.deleted || !wanted(record)) return;
      if (queue.compacted && !isNewest(state, queue, offset, record)) return;
      this.#stateLog.relocateMessage(queue, offset, record);
    } catch (error) {
      const { topicId, queueId } = queue;
      this.#logger.error(
        { error, topicId, queueId, offset },
        'a message that is to be kept is damaged',
      );
    }
  }

  /** Lets the queues of topics with a retention of their own begin later. */
  async #trimTopics(): Promise<void> {
    for (const topic of [...this.#stateLog.state.topics.all()]) {
      if (topic.queues[0]?.sparse) continue;
      const { retentionMs, retentionBytes } = topic.settings;
      const shorter = retentionMs > 0 && retentionMs < this.#longestRetentionMs();
      const mixed = retentionMs === 0 && this.#options.retentionMs < this.#longestRetentionMs();
      if (!shorter && !mixed && retentionBytes === 0) continue;
      await this.#trimTopic(topic, retentionMs || this.#options.retentionMs, retentionBytes);
    }
  }

  async #trimTopic(topic: Topic, retentionMs: number, retentionBytes: number): Promise<void> {
    const { state } = this.#stateLog;
    const oldestMs = this.#clock.nowMs() - retentionMs;
    const begins: { queue: Queue; begin: number }[] = [];
    for (const queue of topic.queues) {
      const begin = Math.max(
        await this.#offsets.atTime(queue, oldestMs),
        retentionBytes > 0 ? await this.#newestWithin(queue, retentionBytes) : 0,
      );
      if (begin > state.beginOf(queue)) begins.push({ queue, begin });
    }
    if (begins.length === 0) return;
    const beginOf = new Map(begins.map(({ queue, begin }) => [queue, begin]));
    const goes = (queue: Queue, offset: number): boolean =>
      offset < (beginOf.get(queue) ?? 0) && !queue.relocated?.has(offset);
    await this.#relocateUnsettled(goes);
    if (topic.settings.compacted) {
      await this.#writer.write();
      await this.#relocateNewest(topic, goes);
    }
    if (topic.queues[0]?.deleted) return;
    this.#stateLog.change({
      case: 'queuesTrimmed',
      value: {
        $typeName: 'ternmq.log.v1.QueuesTrimmed',
        topicId: topic.id,
        begins: begins.map(({ queue, begin }) => ({
          $typeName: 'ternmq.broker.v1.QueueOffset',
          queueId: queue.queueId,
          offset: BigInt(begin),
        })),
      },
    });
  }

  /** Offset from which on the queue's records fit into so many bytes. */
  async #newestWithin(queue: Queue, bytes: number): Promise<number> {
    const { state } = this.#stateLog;
    const end = queue.next;
    let sum = 0;
    let offset = end;
    while (!queue.deleted && offset > state.beginOf(queue)) {
      sum += state.locate(queue, offset - 1).length;
      if (sum > bytes) break;
      offset--;
      if ((end - offset) % ENTRIES_A_TURN === 0) {
        await new Promise<void>((resolve) => this.#clock.defer(resolve));
      }
    }
    return offset;
  }

  /** Stops looking; resolves when a deletion under way has ended. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#running?.catch(() => {});
  }
}
