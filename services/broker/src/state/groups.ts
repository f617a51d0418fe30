// The consumer groups of this broker, and how far each is in the topics it reads.

import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  ExhaustedAction,
  type Group as GroupMessage,
  GroupSchema,
  type GroupSettings as GroupSettingsMessage,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { ProgressStartedSchema } from '@ternmq/proto/gen/ternmq/log/v1/log_pb';
import { QueueProgress } from '../progress/queue-progress.ts';

/** Pauses between deliveries that grow by a factor; zeros stand for the defaults. */
export interface RetryBackoff {
  /** Pause before the second delivery, in milliseconds. */
  readonly initialMs: number;
  /** How many times longer each pause is than the one before. */
  readonly multiplier: number;
  /** Longest pause, in milliseconds. */
  readonly maxMs: number;
}

/** How a group behaves; zeros and empty lists stand for the defaults. */
export interface GroupSettings {
  /** Deliveries of a message before it moves to the dead-letter topic. */
  readonly attemptsMax: number;
  /** Pauses before the second, third, … delivery, in milliseconds. */
  readonly retryDelaysMs: readonly number[];
  /** How long a delivered message may stay unsettled, in milliseconds. */
  readonly leaseMs: number;
  /** Messages with the same ordering key are delivered one after the other. */
  readonly ordered: boolean;
  /** After its last delivery a message of an ordered group stays, and holds back its key. */
  readonly stops: boolean;
  /** Pauses that grow by a factor, instead of a list. */
  readonly retryBackoff?: RetryBackoff | undefined;
}

/** Which messages of a topic are wanted: by tags, and by an SQL condition; empty for all. */
export interface Wanted {
  readonly tags: string;
  readonly sql: string;
}

/** Every message. */
export const ALL_WANTED: Wanted = { tags: '', sql: '' };

/** How far a group, or one broadcasting member of it, is in a topic. */
export interface TopicProgress {
  readonly id: number;
  readonly groupId: number;
  readonly topicId: number;
  /** The broadcasting member; empty for the group itself. */
  readonly consumerId: string;
  /** By queue id; a queue that nothing happened in yet has none and stands at 0. */
  readonly queues: QueueProgress[];
  /** Of a broadcasting member: when it was last known to be connected, in milliseconds since the Unix epoch. */
  seenMs: number;
  /** What is wanted of the topic, as in FilterSet. */
  wanted: Wanted;
  /** The progress was deleted, by itself or with its group or topic. */
  deleted: boolean;
}

/** A consumer group. */
export interface Group {
  readonly id: number;
  readonly name: string;
  readonly createdMs: number;
  settings: GroupSettings;
  /** By topic number and member; see progressKey. */
  readonly progress: Map<string, TopicProgress>;
}

function progressKey(topicId: number, consumerId: string): string {
  return `${topicId} ${consumerId}`;
}

/** The groups of a broker. */
export class GroupTable {
  readonly #byName = new Map<string, Group>();
  readonly #byId = new Map<number, Group>();
  readonly #progress = new Map<number, TopicProgress>();
  /** The numbers that the next group and the next progress get. */
  nextId = 1;
  nextProgressId = 1;

  /** Number of groups. */
  get size(): number {
    return this.#byId.size;
  }

  /** All groups, in no order. */
  all(): Iterable<Group> {
    return this.#byId.values();
  }

  /** Every progress, in no order. */
  allProgress(): Iterable<TopicProgress> {
    return this.#progress.values();
  }

  /** The group of a name. */
  find(name: string): Group | undefined {
    return this.#byName.get(name);
  }

  /** The group of a number. */
  findById(id: number): Group | undefined {
    return this.#byId.get(id);
  }

  /** The progress of a number. */
  findProgress(id: number): TopicProgress | undefined {
    return this.#progress.get(id);
  }

  /** The progress of a group, or of its broadcasting member, in a topic. */
  progressIn(group: Group, topicId: number, consumerId: string): TopicProgress | undefined {
    return group.progress.get(progressKey(topicId, consumerId));
  }

  /** Creates or changes a group as a record or row says. */
  put(message: GroupMessage): Group {
    const settings = groupSettings(message.settings);
    let group = this.#byId.get(message.groupId);
    if (group === undefined) {
      group = {
        id: message.groupId,
        name: message.name,
        createdMs: Number(message.createdMs),
        settings,
        progress: new Map(),
      };
      this.#byId.set(group.id, group);
      this.#byName.set(group.name, group);
      this.nextId = Math.max(this.nextId, group.id + 1);
    }
    group.settings = settings;
    return group;
  }

  /** Deletes a group with its progress; returns what it was. */
  remove(id: number): Group | undefined {
    const group = this.#byId.get(id);
    if (group === undefined) return undefined;
    this.#byId.delete(id);
    this.#byName.delete(group.name);
    for (const progress of group.progress.values()) this.#forget(progress);
    return group;
  }

  /** Deletes all progress in a topic; returns what it was. */
  removeTopic(topicId: number): TopicProgress[] {
    const removed = [...this.#progress.values()].filter((one) => one.topicId === topicId);
    for (const progress of removed) {
      this.#byId.get(progress.groupId)?.progress.delete(progressKey(topicId, progress.consumerId));
      this.#forget(progress);
    }
    return removed;
  }

  /** The broadcasting members of a group in a topic. */
  membersIn(group: Group, topicId: number): TopicProgress[] {
    return [...group.progress.values()].filter(
      (one) => one.topicId === topicId && one.consumerId !== '',
    );
  }

  /** Ends a progress; returns what it was. */
  end(id: number): TopicProgress | undefined {
    const progress = this.#progress.get(id);
    if (progress === undefined) return undefined;
    const { groupId, topicId, consumerId } = progress;
    this.#byId.get(groupId)?.progress.delete(progressKey(topicId, consumerId));
    this.#forget(progress);
    return progress;
  }

  /** Starts a progress as a record or row says. */
  start(
    id: number,
    groupId: number,
    topicId: number,
    consumerId: string,
    seenMs: number,
    wanted = ALL_WANTED,
  ): TopicProgress | undefined {
    const group = this.#byId.get(groupId);
    if (group === undefined) return undefined;
    const progress: TopicProgress = {
      id,
      groupId,
      topicId,
      consumerId,
      queues: [],
      seenMs,
      wanted,
      deleted: false,
    };
    group.progress.set(progressKey(topicId, consumerId), progress);
    this.#progress.set(id, progress);
    this.nextProgressId = Math.max(this.nextProgressId, id + 1);
    return progress;
  }

  #forget(progress: TopicProgress): void {
    progress.deleted = true;
    this.#progress.delete(progress.id);
  }
}

/** A progress's part for one queue; made when there was none. */
export function queueProgress(progress: TopicProgress, queueId: number): QueueProgress {
  let queue = progress.queues[queueId];
  if (queue === undefined) {
    queue = new QueueProgress();
    progress.queues[queueId] = queue;
  }
  return queue;
}

/**
 * Names the last time that somebody else than a member that pulls set the progress in a queue: random, or the progress's
 * own number before the first time. Neither is ever used again.
 */
export function generationOf(progress: TopicProgress, queueId: number): number {
  return progress.queues[queueId]?.generation || progress.id;
}

/** Settings as a message tells them. */
export function groupSettings(message: GroupSettingsMessage | undefined): GroupSettings {
  const { attemptsMax = 0, retryDelaysMs = [], leaseMs = 0, retryBackoff } = message ?? {};
  const ordered = message?.ordered ?? false;
  const stops = message?.exhaustedAction === ExhaustedAction.STOP;
  const settings = { attemptsMax, retryDelaysMs, leaseMs, ordered, stops };
  if (retryBackoff === undefined) return settings;
  const { initialMs, multiplier, maxMs } = retryBackoff;
  return { ...settings, retryBackoff: { initialMs, multiplier, maxMs } };
}

/** A group as the API and the log tell it. */
export function groupMessage(group: Group): GroupMessage {
  return create(GroupSchema, {
    name: group.name,
    groupId: group.id,
    createdMs: BigInt(group.createdMs),
    settings: {
      attemptsMax: group.settings.attemptsMax,
      retryDelaysMs: [...group.settings.retryDelaysMs],
      leaseMs: group.settings.leaseMs,
      ordered: group.settings.ordered,
      exhaustedAction: group.settings.stops ? ExhaustedAction.STOP : ExhaustedAction.DEAD_LETTER,
      ...(group.settings.retryBackoff === undefined
        ? {}
        : { retryBackoff: group.settings.retryBackoff }),
    },
  });
}

/** The row of a group. */
export function encodeGroup(group: Group): Buffer {
  return Buffer.from(toBinary(GroupSchema, groupMessage(group)));
}

/** Reads the row of a group. */
export function decodeGroup(row: Buffer): GroupMessage {
  return fromBinary(GroupSchema, row);
}

/** The row of a progress, without what it is in its queues. */
export function encodeProgress(progress: TopicProgress): Buffer {
  const { id: progressId, groupId, topicId, consumerId, wanted } = progress;
  const seenMs = BigInt(progress.seenMs);
  const whose = { progressId, groupId, topicId, consumerId };
  const row = create(ProgressStartedSchema, { ...whose, seenMs, ...wanted });
  return Buffer.from(toBinary(ProgressStartedSchema, row));
}
