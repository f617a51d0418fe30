// Messages as applications write and read them.

import type { DelayLevel } from './delay.ts';

/** In a compacted topic, a message with this property, whatever its value, removes its ordering key. */
export const TOMBSTONE = 'ternmq.tombstone';

/** A message to send. */
export interface OutgoingMessage {
  /** Payload, 1 byte to 4 MiB; text is sent as UTF-8. */
  readonly body: Uint8Array | string;
  /** Label that consumers filter by; at most 127 bytes, no `|`. */
  readonly tag?: string;
  /** Business keys, each 1 to 255 bytes. */
  readonly keys?: readonly string[];
  /** Free name-value pairs: at most 128, and 16 KiB together with tag and keys. */
  readonly properties?: Readonly<Record<string, string>>;
  /**
   * Messages with the same key go to the same queue and keep their order. While the queue's broker group is away they
   * wait for it, until their deadline.
   */
  readonly orderingKey?: string;
  /**
   * Delivered so much later at the earliest: milliseconds, or one of RocketMQ's levels by name. The broker allows 40
   * days unless it is told otherwise. The receipt's message id takes it back: `recall`.
   */
  readonly delay?: number | DelayLevel;
  /** Delivered at this time at the earliest; instead of a delay. */
  readonly deliverAt?: Date;
  /** How urgent the message is, 0 to 9; for topics of the kind `priority`, which deliver the most urgent first. */
  readonly priority?: number;
  /**
   * Where the message stands in a distributed trace, for example a W3C `traceparent`; at most 255 bytes. Consumers get it
   * as it is.
   */
  readonly traceContext?: string;
  /** The queue; default: by ordering key or priority, or by turns. */
  readonly queue?: QueueId | QueueSelector;
}

/** Names a queue of a topic. */
export interface QueueId {
  /** The broker group. */
  readonly broker: string;
  /** Queue of the topic on that broker group, from 0. */
  readonly queueId: number;
}

/**
 * Chooses one of a topic's queues, which come sorted by broker and number, also those whose broker group is away for
 * now: the same choice is possible at any time, and a message for such a queue waits.
 */
export type QueueSelector = (queues: readonly QueueId[]) => QueueId;

/** Where a message was stored; for a delayed one where it waits, which is not where it will be. */
export interface Receipt {
  /** Names the message in its cluster: 32 hexadecimal digits. */
  readonly messageId: string;
  /** The broker group that keeps it. */
  readonly broker: string;
  /** Its queue there. */
  readonly queueId: number;
  /** Its offset in the queue. */
  readonly offset: number;
  /** It was not stored, because it repeats another: the receipt is that of the other one. */
  readonly duplicate: boolean;
}

/** What became of one message of a batch. */
export type SendOutcome =
  | { readonly status: 'stored'; readonly receipt: Receipt }
  | { readonly status: 'failed'; readonly error: Error };

/** Where a moved message was before: a dead letter in its topic, or one that was sent again in the dead-letter topic. */
export interface MessageOrigin {
  readonly topic: string;
  readonly queueId: number;
  readonly offset: number;
  /** The id that it had there. */
  readonly messageId: string;
  /** The consumer group that gave it up. */
  readonly group: string;
  /** How often it was delivered. */
  readonly attempts: number;
  /** Why it was moved. */
  readonly reason: string;
}

/**
 * Which messages are wanted: tags, `*` for all or names joined by `||`; or also an SQL-92 condition over properties, TAGS and
 * KEYS, such as `region = 'eu' AND amount > 100`.
 */
export type SubscriptionFilter = string | { readonly tags?: string; readonly sql?: string };

/** Where a consumer without progress starts: oldest kept, behind the newest, at a time, or at an offset. */
export type StartPoint = 'first' | 'last' | Date | { readonly offset: number };
