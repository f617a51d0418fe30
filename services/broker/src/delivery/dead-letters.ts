// Moves messages that were delivered too often, or that a consumer gave up, to the dead-letter topic of their
// group. The move is one record: it stores the message there and removes it here.

import { type Logger, TernError } from '@ternmq/runtime';
import { deadLetterTopic } from '../catalog/names.ts';
import type { TopicCatalog } from '../catalog/topic-catalog.ts';
import { RECORD_HEADER_BYTES, viewOf } from '../log/record.ts';
import type { UnsettledRange } from '../progress/unsettled-range.ts';
import type { Group, TopicProgress } from '../state/groups.ts';
import { MESSAGE_AT, messageBytesOf } from '../state/message-record.ts';
import type { Queue } from '../state/queue.ts';
import type { StateLog } from '../state/state-log.ts';
import type { Topic } from '../state/topics.ts';
import type { Collector } from './collect.ts';
import { dropMessage } from './drop-message.ts';

/** Moves messages to dead-letter topics. */
export class DeadLetters {
  readonly #stateLog: StateLog;
  readonly #catalog: TopicCatalog;
  readonly #collector: Collector;
  readonly #logger: Logger;
  /** Messages that are being moved: progress, queue and offset. */
  readonly #moving = new Set<string>();
  /** Messages moved since the start of the process, by topic. */
  readonly moved = new Map<string, number>();

  constructor(modules: {
    stateLog: StateLog;
    catalog: TopicCatalog;
    collector: Collector;
    logger: Logger;
  }) {
    this.#stateLog = modules.stateLog;
    this.#catalog = modules.catalog;
    this.#collector = modules.collector;
    this.#logger = modules.logger;
  }

  /**
   * Moves the messages of a range; each stays as it is until its move is in the log. Resolves when all of them are, or
   * could not be moved.
   */
  async move(
    group: Group,
    topic: Topic,
    progress: TopicProgress,
    queueId: number,
    range: UnsettledRange,
    reason: string,
  ): Promise<void> {
    const queue = topic.queues[queueId] as Queue;
    const moves: Promise<void>[] = [];
    for (let offset = range.first; offset < range.end; offset++) {
      const name = `${progress.id} ${queueId} ${offset}`;
      if (this.#moving.has(name)) continue;
      this.#moving.add(name);
      const move = this.#moveOne(group, topic, progress, queue, offset, range, reason)
        .catch((error: unknown) => {
          if (!(error instanceof TernError)) throw error;
          this.#logger.error(
            { error, topic: topic.name, queueId, offset },
            'a message could not be moved to the dead-letter topic; it is tried again',
          );
        })
        .finally(() => this.#moving.delete(name));
      moves.push(move);
    }
    await Promise.all(moves);
  }

  async #moveOne(
    group: Group,
    topic: Topic,
    progress: TopicProgress,
    queue: Queue,
    offset: number,
    range: UnsettledRange,
    reason: string,
  ): Promise<void> {
    const record = await this.#read(queue, offset);
    if (progress.deleted || queue.deleted) return;
    if (record === undefined) {
      this.#logger.error(
        { topic: topic.name, queueId: queue.queueId, offset },
        'a message that is to be moved to the dead-letter topic is damaged or gone; it is dropped',
      );
      dropMessage(this.#stateLog, progress, queue.queueId, offset);
      return;
    }
    const length = messageBytesOf(viewOf(record), RECORD_HEADER_BYTES);
    const message = record.subarray(MESSAGE_AT, MESSAGE_AT + length);
    const target = this.#catalog.system(deadLetterTopic(group.name));
    this.#stateLog.moveMessage(target.queues[0] as Queue, message, {
      topic: topic.name,
      topicId: topic.id,
      queueId: queue.queueId,
      offset: BigInt(offset),
      group: group.name,
      groupId: group.id,
      attempts: range.attempt,
      reason,
      progressId: progress.id,
    });
    target.messagesIn++;
    this.moved.set(topic.name, (this.moved.get(topic.name) ?? 0) + 1);
  }

  /** A copy of a message's record; undefined when it is damaged or gone. */
  async #read(queue: Queue, offset: number): Promise<Buffer | undefined> {
    try {
      return await this.#collector.copy(queue, offset);
    } catch (error) {
      if (error instanceof TernError && error.code === 'DATA_LOSS') return undefined;
      throw error;
    }
  }
}
