// The topics of this broker and their queues.

import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  Acknowledgement,
  TopicKind,
  type Topic as TopicMessage,
  TopicSchema,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { HELD_TOPIC } from './held-table.ts';
import { Queue } from './queue.ts';

/** How a topic behaves, with the broker's defaults filled in where it has none of its own. */
export interface TopicSettings {
  /** Number of queues. */
  readonly queues: number;
  /** How long messages are kept at least, in milliseconds; 0 for the broker's default. */
  readonly retentionMs: number;
  /** Bytes of each queue's newest messages that are kept; 0 for no limit of its own. */
  readonly retentionBytes: number;
  /** Which kind of messages it takes. */
  readonly kind: TopicKind;
  /** How long a message's repeats are known and dropped, in milliseconds; 0 for not at all. */
  readonly deduplicationWindowMs: number;
  /** The newest message of each ordering key is retained. */
  readonly compacted: boolean;
  /** When senders are answered; UNSPECIFIED is what the group was told. */
  readonly acknowledgement: Acknowledgement;
}

/** A topic on this broker. */
export interface Topic {
  readonly id: number;
  readonly name: string;
  readonly createdMs: number;
  settings: TopicSettings;
  /** Since when repeats are dropped, in milliseconds since the Unix epoch; 0 when they are not. */
  deduplicatedSinceMs: number;
  /** By queue id; as many as the settings say. */
  readonly queues: Queue[];
  /** Queue that the next frame without a choice goes to. */
  turn: number;
  /** Figures since the start of the process: messages and bytes of records, in and out. */
  messagesIn: number;
  bytesIn: number;
  messagesOut: number;
  bytesOut: number;
}

/** The broker's own topics: retries, dead letters, half messages. */
export function isSystemTopic(name: string): boolean {
  return name.startsWith('%');
}

/** Do messages wait in the topic that belong elsewhere? Nobody reads it, and it has no place in routes and lists. */
export function isHoldingTopic(name: string): boolean {
  return name === HELD_TOPIC;
}

/** The topics of a broker. */
export class TopicTable {
  readonly #byName = new Map<string, Topic>();
  readonly #byId = new Map<number, Topic>();
  /** The number that the next topic gets. */
  nextId = 1;
  /** Told of topics that are created, changed or deleted by a master's records. */
  changed: ((topic: Topic, deleted: boolean) => void) | undefined;

  /** Number of topics. */
  get size(): number {
    return this.#byId.size;
  }

  /** All topics, in no order. */
  all(): Iterable<Topic> {
    return this.#byId.values();
  }

  /** The topic of a name. */
  find(name: string): Topic | undefined {
    return this.#byName.get(name);
  }

  /** The topic of a number. */
  findById(id: number): Topic | undefined {
    return this.#byId.get(id);
  }

  /** Creates or changes a topic as a record or row says; returns it. */
  put(message: TopicMessage): Topic {
    const id = message.topicId;
    const settings: TopicSettings = {
      queues: message.settings?.queues ?? 0,
      retentionMs: Number(message.settings?.retentionMs ?? 0n),
      retentionBytes: Number(message.settings?.retentionBytes ?? 0n),
      kind: message.settings?.kind ?? TopicKind.UNSPECIFIED,
      deduplicationWindowMs: Number(message.settings?.deduplicationWindowMs ?? 0n),
      compacted: message.settings?.compacted ?? false,
      acknowledgement: message.settings?.acknowledgement ?? Acknowledgement.UNSPECIFIED,
    };
    let topic = this.#byId.get(id);
    if (topic === undefined) {
      topic = {
        id,
        name: message.name,
        createdMs: Number(message.createdMs),
        settings,
        deduplicatedSinceMs: 0,
        queues: [],
        turn: 0,
        messagesIn: 0,
        bytesIn: 0,
        messagesOut: 0,
        bytesOut: 0,
      };
      this.#byId.set(id, topic);
      this.#byName.set(topic.name, topic);
      this.nextId = Math.max(this.nextId, id + 1);
    }
    topic.settings = settings;
    topic.deduplicatedSinceMs = Number(message.deduplicatedSinceMs);
    while (topic.queues.length < settings.queues) {
      topic.queues.push(new Queue(id, topic.queues.length));
    }
    for (const queue of topic.queues) {
      queue.deduplicated = settings.deduplicationWindowMs > 0;
      queue.compacted = settings.compacted;
    }
    this.changed?.(topic, false);
    return topic;
  }

  /** Deletes a topic; returns what it was. */
  remove(id: number): Topic | undefined {
    const topic = this.#byId.get(id);
    if (topic === undefined) return undefined;
    this.#byId.delete(id);
    this.#byName.delete(topic.name);
    for (const queue of topic.queues) queue.deleted = true;
    this.changed?.(topic, true);
    return topic;
  }
}

/** A topic as the API and the log tell it. */
export function topicMessage(
  topic: Pick<Topic, 'id' | 'name' | 'createdMs' | 'settings' | 'deduplicatedSinceMs'>,
): TopicMessage {
  return create(TopicSchema, {
    name: topic.name,
    topicId: topic.id,
    createdMs: BigInt(topic.createdMs),
    deduplicatedSinceMs: BigInt(topic.deduplicatedSinceMs),
    settings: {
      queues: topic.settings.queues,
      retentionMs: BigInt(topic.settings.retentionMs),
      retentionBytes: BigInt(topic.settings.retentionBytes),
      kind: topic.settings.kind,
      deduplicationWindowMs: BigInt(topic.settings.deduplicationWindowMs),
      compacted: topic.settings.compacted,
      acknowledgement: topic.settings.acknowledgement,
    },
  });
}

/** The row of a topic. */
export function encodeTopic(topic: Topic): Buffer {
  return Buffer.from(toBinary(TopicSchema, topicMessage(topic)));
}

/** Reads the row of a topic. */
export function decodeTopic(row: Buffer): TopicMessage {
  return fromBinary(TopicSchema, row);
}
