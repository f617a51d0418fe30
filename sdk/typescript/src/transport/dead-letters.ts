// Dead letters and what became of them, as plain objects.

import {
  DeadLetterState,
  type DeadLetter as LetterMessage,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import type { MessageOrigin } from '../message.ts';

/** A message that a group gave up. */
export interface DeadLetter {
  /** Names it in `%DLQ%<group>`. */
  readonly messageId: string;
  /** The broker group that keeps it. */
  readonly broker: string;
  /** Where it was before, and why it was given up; undefined when there is no such dead letter. */
  readonly origin: MessageOrigin | undefined;
  /** When it was given up, in milliseconds since 1970 UTC. */
  readonly deadMs: number;
  /** Bytes of its body. */
  readonly bodyBytes: number;
  readonly tag: string;
  readonly keys: readonly string[];
  /** Was it sent again? */
  readonly resent: boolean;
  /** The id that it has in its topic, when this call has sent it again; else undefined. */
  readonly resentMessageId: string | undefined;
  /** Why it cannot be sent again: MESSAGE_NOT_FOUND, TOPIC_NOT_FOUND; else undefined. */
  readonly refusal: string | undefined;
}

/** Describes a dead letter. */
export function deadLetterOf(broker: string, letter: LetterMessage): DeadLetter {
  const { messageId, origin, originMessageId, bodyBytes, tag, keys } = letter;
  return {
    messageId,
    broker,
    origin: origin && {
      topic: origin.topic,
      queueId: origin.queueId,
      offset: Number(origin.offset),
      messageId: originMessageId,
      group: origin.group,
      attempts: origin.attempts,
      reason: origin.reason,
    },
    deadMs: Number(letter.deadMs),
    bodyBytes,
    tag,
    keys,
    resent: letter.state === DeadLetterState.RESENT,
    resentMessageId: letter.resentMessageId || undefined,
    refusal: letter.refusal || undefined,
  };
}
