// Does a frame's kind of messages fit the topic? As RocketMQ checks message type against topic type at every send.

import { TopicKind } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import type { Topic } from '../state/topics.ts';
import type { Refusal } from './frame-refusal.ts';
import type { FrameScanner } from './frame-scanner.ts';

/** What a kind of topic takes, for people. */
const TAKES: Readonly<Record<number, string>> = {
  [TopicKind.UNSPECIFIED]: 'every kind of message without a priority',
  [TopicKind.MIXED]: 'every kind of message without a priority',
  [TopicKind.NORMAL]: 'messages without ordering key and delay',
  [TopicKind.ORDERED]: 'messages with an ordering key and without delay',
  [TopicKind.DELAYED]: 'messages with a delay and without ordering key',
  [TopicKind.TRANSACTIONAL]: 'messages of transactions',
  [TopicKind.PRIORITY]: 'messages with a priority and without ordering key and delay',
};

/** Why a topic does not take a frame; undefined when it does. */
export function wrongKind(topic: Topic, frame: FrameScanner): Refusal | undefined {
  const { compacted, deduplicationWindowMs } = topic.settings;
  if (compacted && frame.keyed < frame.count) {
    return {
      reason: 'ORDERING_KEY_REQUIRED',
      message: `topic ${topic.name} retains the newest message of each ordering key, and a message has none; give it one`,
    };
  }
  if (deduplicationWindowMs > 0 && (frame.delayed > 0 || frame.transactionAt >= 0)) {
    return {
      reason: 'WRONG_MESSAGE_KIND',
      message: `topic ${topic.name} drops repeats, which delayed messages and those of transactions cannot be held against; send them to another topic`,
    };
  }
  if (fits(topic.settings.kind, frame)) return undefined;
  return {
    reason: 'WRONG_MESSAGE_KIND',
    message: `topic ${topic.name} takes ${TAKES[topic.settings.kind] ?? 'a kind that this broker does not know'}; send to another topic, or change its kind`,
  };
}

function fits(kind: TopicKind, frame: FrameScanner): boolean {
  const { count, keyed, delayed, prioritized, transactionAt } = frame;
  const transactional = transactionAt >= 0;
  if (kind === TopicKind.PRIORITY) {
    return prioritized === count && keyed === 0 && delayed === 0 && !transactional;
  }
  // It would have no effect.
  if (prioritized > 0) return false;
  if (transactional && kind !== TopicKind.UNSPECIFIED && kind !== TopicKind.MIXED) {
    return kind === TopicKind.TRANSACTIONAL;
  }
  switch (kind) {
    case TopicKind.UNSPECIFIED:
    case TopicKind.MIXED:
      return true;
    case TopicKind.NORMAL:
      return keyed === 0 && delayed === 0;
    case TopicKind.ORDERED:
      return keyed === count && delayed === 0;
    case TopicKind.DELAYED:
      return delayed === count && keyed === 0;
    case TopicKind.TRANSACTIONAL:
      return false;
    default:
      // A newer broker made the topic; this one does not know what it takes.
      return false;
  }
}
