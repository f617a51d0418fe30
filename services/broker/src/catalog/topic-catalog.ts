// The topics as applications and operators see them: found, created, changed and deleted by name.

import { Acknowledgement, TopicKind } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { TernError } from '@ternmq/runtime';
import { isByPriority, PRIORITIES } from '../state/priority.ts';
import { REPEAT_WINDOW_MS_MAX } from '../state/repeats.ts';
import type { StateLog } from '../state/state-log.ts';
import {
  isHoldingTopic,
  isSystemTopic,
  type Topic,
  type TopicSettings,
  topicMessage,
} from '../state/topics.ts';
import { isTopicName } from './names.ts';

/** Settings of a topic; what is absent or 0 takes the default, or keeps its value in a change. */
export interface TopicChoice {
  readonly queues?: number;
  readonly retentionMs?: number;
  readonly retentionBytes?: number;
  readonly kind?: TopicKind;
  /** 0 switches it off; absent keeps it as it is. */
  readonly deduplicationWindowMs?: number | undefined;
  /** Only when a topic is created; absent keeps it as it is. */
  readonly compacted?: boolean | undefined;
  /** UNSPECIFIED is what the group was told; absent keeps it as it is. */
  readonly acknowledgement?: Acknowledgement | undefined;
}

/** How topics are made. */
export interface CatalogOptions {
  /** Create a topic when a message for it arrives. */
  readonly autoCreateTopics: boolean;
  /** Queues of a topic that does not say. */
  readonly queuesDefault: number;
}

/** Most queues of a topic on one broker. */
export const QUEUES_MAX = 1024;
/** Most topics of a broker. */
export const TOPICS_MAX = 1_000_000;

/** The topics of a broker. */
export class TopicCatalog {
  readonly #options: CatalogOptions;
  readonly #stateLog: StateLog;
  /** Told of every topic that is created, changed or deleted. */
  readonly #changed: (topic: Topic, deleted: boolean) => void;

  constructor(
    options: CatalogOptions,
    modules: { stateLog: StateLog; changed: (topic: Topic, deleted: boolean) => void },
  ) {
    this.#options = options;
    this.#stateLog = modules.stateLog;
    this.#changed = modules.changed;
  }

  /** Are topics created when messages for them arrive? */
  get createsAutomatically(): boolean {
    return this.#options.autoCreateTopics;
  }

  /** The topic of a name. */
  find(name: string): Topic | undefined {
    return this.#stateLog.state.topics.find(name);
  }

  /** The topic of a name. Throws NOT_FOUND (TOPIC_NOT_FOUND). */
  get(name: string): Topic {
    const topic = this.find(name);
    if (topic !== undefined && !isHoldingTopic(name)) return topic;
    throw new TernError(
      'NOT_FOUND',
      'TOPIC_NOT_FOUND',
      isTopicName(name)
        ? `there is no topic ${name}; create it with 'tern topic create ${name}'`
        : 'there is no topic of that name: a topic has 1 to 127 characters of [%|a-zA-Z0-9_-]',
      { metadata: isTopicName(name) ? { topic: name } : {} },
    );
  }

  /**
   * Creates a topic. It exists for good when the log is visible up to its end.
   * Throws INVALID_ARGUMENT, ALREADY_EXISTS (TOPIC_EXISTS), RESOURCE_EXHAUSTED (TOO_MANY_TOPICS, DISK_FULL).
   */
  create(name: string, choice: TopicChoice): Topic {
    if (!isTopicName(name) || isSystemTopic(name)) {
      throw invalid(
        'name',
        "a topic has 1 to 127 characters of [|a-zA-Z0-9_-]; names that begin with % are the broker's own",
      );
    }
    if (this.find(name) !== undefined) {
      throw new TernError('ALREADY_EXISTS', 'TOPIC_EXISTS', `there is a topic ${name} already`, {
        metadata: { topic: name },
      });
    }
    return this.#put(name, this.#stateLog.state.topics.nextId, {
      queues:
        choice.queues ||
        (choice.kind === TopicKind.PRIORITY ? PRIORITIES : this.#options.queuesDefault),
      retentionMs: choice.retentionMs ?? 0,
      retentionBytes: choice.retentionBytes ?? 0,
      kind: choice.kind ?? TopicKind.UNSPECIFIED,
      deduplicationWindowMs: choice.deduplicationWindowMs ?? 0,
      compacted: choice.compacted ?? false,
      acknowledgement: choice.acknowledgement ?? Acknowledgement.UNSPECIFIED,
    });
  }

  /** Creates a topic with the default settings, for the message that asks for it. */
  createDefault(name: string): Topic {
    return this.create(name, {});
  }

  /** The broker's own topic of a name; created with one queue when there is none. */
  system(name: string): Topic {
    return (
      this.find(name) ??
      this.#put(name, this.#stateLog.state.topics.nextId, {
        queues: 1,
        retentionMs: 0,
        retentionBytes: 0,
        kind: TopicKind.UNSPECIFIED,
        deduplicationWindowMs: 0,
        compacted: false,
        acknowledgement: Acknowledgement.UNSPECIFIED,
      })
    );
  }

  /** Changes a topic. Throws NOT_FOUND, INVALID_ARGUMENT, FAILED_PRECONDITION (QUEUES_SHRINK, COMPACTION_FIXED, PRIORITY_FIXED). */
  update(name: string, choice: TopicChoice): Topic {
    const topic = this.get(name);
    const queues = choice.queues || topic.settings.queues;
    if (queues < topic.settings.queues) {
      throw new TernError(
        'FAILED_PRECONDITION',
        'QUEUES_SHRINK',
        `topic ${name} has ${topic.settings.queues} queues, and the number may only grow`,
        { metadata: { topic: name } },
      );
    }
    const kind = choice.kind || topic.settings.kind;
    const byPriority = isByPriority(topic.settings);
    if (
      isByPriority({ ...topic.settings, kind }) !== byPriority ||
      (byPriority && queues !== topic.settings.queues)
    ) {
      throw new TernError(
        'FAILED_PRECONDITION',
        'PRIORITY_FIXED',
        `topic ${name} was created ${byPriority ? 'with priorities, which its queues stand for: their number' : 'without priorities, and that'} stays; create another topic`,
        { metadata: { topic: name } },
      );
    }
    const { compacted } = topic.settings;
    if ((choice.compacted ?? compacted) !== compacted) {
      throw new TernError(
        'FAILED_PRECONDITION',
        'COMPACTION_FIXED',
        `topic ${name} was created ${compacted ? 'with' : 'without'} compaction, and that stays; create another topic`,
        { metadata: { topic: name } },
      );
    }
    return this.#put(name, topic.id, {
      queues,
      retentionMs: choice.retentionMs || topic.settings.retentionMs,
      retentionBytes: choice.retentionBytes || topic.settings.retentionBytes,
      kind,
      deduplicationWindowMs: choice.deduplicationWindowMs ?? topic.settings.deduplicationWindowMs,
      compacted,
      acknowledgement: choice.acknowledgement ?? topic.settings.acknowledgement,
    });
  }

  /** Deletes a topic with its messages and all progress in it. Throws NOT_FOUND. */
  delete(name: string): void {
    const topic = this.get(name);
    this.#stateLog.change({
      case: 'topicDeleted',
      value: { $typeName: 'ternmq.log.v1.TopicDeleted', topicId: topic.id },
    });
    this.#changed(topic, true);
  }

  #put(name: string, id: number, settings: TopicSettings): Topic {
    if (!Number.isInteger(settings.queues) || settings.queues < 1 || settings.queues > QUEUES_MAX) {
      throw invalid('settings.queues', `a topic has 1 to ${QUEUES_MAX} queues`);
    }
    if (!Object.values<number>(TopicKind).includes(settings.kind)) {
      throw invalid('settings.kind', `this broker knows no kind ${settings.kind} of topics`);
    }
    if (!Object.values<number>(Acknowledgement).includes(settings.acknowledgement)) {
      throw invalid(
        'settings.acknowledgement',
        `this broker knows no acknowledgement ${settings.acknowledgement}`,
      );
    }
    if (isByPriority(settings)) {
      if (settings.queues > PRIORITIES) {
        throw invalid(
          'settings.queues',
          `a topic with priorities has at most ${PRIORITIES} queues`,
        );
      }
      if (settings.compacted) {
        throw invalid('settings.compacted', 'a topic with priorities cannot be compacted');
      }
    }
    const { deduplicationWindowMs } = settings;
    if (!(deduplicationWindowMs <= REPEAT_WINDOW_MS_MAX)) {
      throw invalid(
        'settings.deduplication_window_ms',
        `is at most ${REPEAT_WINDOW_MS_MAX} (24 h)`,
      );
    }
    const { state } = this.#stateLog;
    if (state.topics.findById(id) === undefined && state.topics.size >= TOPICS_MAX) {
      throw new TernError(
        'RESOURCE_EXHAUSTED',
        'TOO_MANY_TOPICS',
        `this broker has ${TOPICS_MAX} topics, which is the limit; delete some, or use another broker`,
      );
    }
    const nowMs = this.#stateLog.timeMs();
    const before = state.topics.findById(id);
    const createdMs = before?.createdMs ?? nowMs;
    // What was stored before it was switched on was not noted.
    const deduplicatedSinceMs =
      deduplicationWindowMs === 0 ? 0 : before?.deduplicatedSinceMs || nowMs;
    const value = topicMessage({ id, name, createdMs, settings, deduplicatedSinceMs });
    this.#stateLog.change({ case: 'topicPut', value });
    const topic = state.topics.findById(id) as Topic;
    this.#changed(topic, false);
    return topic;
  }
}

function invalid(field: string, description: string): TernError {
  return new TernError('INVALID_ARGUMENT', 'INVALID_FIELD', `${field}: ${description}`, {
    fields: [{ field, description }],
  });
}
