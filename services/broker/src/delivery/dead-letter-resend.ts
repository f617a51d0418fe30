// Dead letters of a group, and sending them to the topics again that they come from. One record stores a letter there
// and marks it here, so that it is sent again once, whatever is repeated or fails.

import { fromBinary } from '@bufbuild/protobuf';
import {
  type Origin,
  type StoredMessage,
  StoredMessageSchema,
} from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import { TernError } from '@ternmq/runtime';
import { deadLetterTopic } from '../catalog/names.ts';
import type { TopicCatalog } from '../catalog/topic-catalog.ts';
import { RECORD_HEADER_BYTES, RECORD_PREFIX_BYTES, viewOf } from '../log/record.ts';
import { MESSAGE_AT, messageBytesOf } from '../state/message-record.ts';
import type { Queue } from '../state/queue.ts';
import type { StateLog } from '../state/state-log.ts';
import { isHoldingTopic } from '../state/topics.ts';
import type { Collector } from './collect.ts';

/** A dead letter, read from the log. */
export interface DeadLetter {
  readonly queue: Queue;
  readonly offset: number;
  readonly stored: StoredMessage;
  readonly origin: Origin;
  /** The producer's bytes. */
  readonly message: Buffer;
}

/** Reads dead letters, and sends them again. */
export class DeadLetterResend {
  readonly #stateLog: StateLog;
  readonly #catalog: TopicCatalog;
  readonly #collector: Collector;

  constructor(modules: { stateLog: StateLog; catalog: TopicCatalog; collector: Collector }) {
    this.#stateLog = modules.stateLog;
    this.#catalog = modules.catalog;
    this.#collector = modules.collector;
  }

  /** Where a group's dead letters lie; undefined while it never had one. */
  queueOf(group: string): Queue | undefined {
    return this.#catalog.find(deadLetterTopic(group))?.queues[0];
  }

  /** Was a letter sent again? */
  wasResent(queue: Queue, offset: number): boolean {
    return this.#stateLog.state.resent.has(queue, offset);
  }

  /** The letter at an offset; undefined when there is none of the group, or when it is damaged or gone. */
  async read(group: string, queue: Queue, offset: number): Promise<DeadLetter | undefined> {
    const kept = offset >= this.#stateLog.state.beginOf(queue) && offset < queue.visibleEnd;
    const record = kept ? await this.#copy(queue, offset) : undefined;
    if (record === undefined) return undefined;
    const stored = fromBinary(StoredMessageSchema, record.subarray(RECORD_PREFIX_BYTES));
    const { origin } = stored;
    // A letter of another group that was sent again to this topic is a message here and no letter.
    if (origin === undefined || origin.group !== group) return undefined;
    const end = MESSAGE_AT + messageBytesOf(viewOf(record), RECORD_HEADER_BYTES);
    return { queue, offset, stored, origin, message: record.subarray(MESSAGE_AT, end) };
  }

  async #copy(queue: Queue, offset: number): Promise<Buffer | undefined> {
    try {
      return await this.#collector.copy(queue, offset);
    } catch (error) {
      if (error instanceof TernError && error.code === 'DATA_LOSS') return undefined;
      throw error;
    }
  }

  /** The queue that a letter would go to: the one that it was in, if its topic has as many; undefined without topic. */
  targetOf({ origin }: DeadLetter): Queue | undefined {
    const topic = this.#catalog.find(origin.topic);
    if (topic === undefined || isHoldingTopic(topic.name)) return undefined;
    return topic.queues[origin.queueId % topic.queues.length];
  }

  /**
   * Sends a letter again that was not yet; returns its offset in the target. Asked and done in one turn of the event
   * loop, so that of two calls one does it. Throws as CommitLog.begin.
   */
  send({ queue, offset, origin, message }: DeadLetter, target: Queue): number {
    const topics = this.#stateLog.state.topics;
    const at = target.next;
    this.#stateLog.moveMessage(target, message, {
      topic: topics.findById(queue.topicId)?.name ?? '',
      topicId: queue.topicId,
      queueId: queue.queueId,
      offset: BigInt(offset),
      group: origin.group,
      groupId: origin.groupId,
      attempts: origin.attempts,
      reason: 'sent again',
      progressId: 0,
    });
    const topic = topics.findById(target.topicId);
    if (topic !== undefined) {
      topic.messagesIn++;
      topic.bytesIn += message.length;
    }
    return at;
  }
}
