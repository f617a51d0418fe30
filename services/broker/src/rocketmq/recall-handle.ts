// Recall handles: what clients take a delayed message back by. JSON in base64url; clients do not look into it.

import { Code } from '@ternmq/proto/gen/apache/rocketmq/v2/definition_pb';
import { Refused } from './status.ts';

/** A delayed message. */
export interface Recallable {
  readonly brokerName: string;
  /** Its name in TernMQ, and the id that its producer gave it. */
  readonly messageId: string;
  readonly producerMessageId: string;
}

const LENGTH_MAX = 2048;

/** Writes a handle. */
export function writeRecallHandle({
  brokerName,
  messageId,
  producerMessageId,
}: Recallable): string {
  return Buffer.from(JSON.stringify([brokerName, messageId, producerMessageId])).toString(
    'base64url',
  );
}

/** Reads a handle. Throws Refused (BAD_REQUEST). */
export function readRecallHandle(text: string): Recallable {
  let parts: unknown;
  try {
    parts = JSON.parse(Buffer.from(text.slice(0, LENGTH_MAX), 'base64url').toString());
  } catch {
    parts = undefined;
  }
  if (
    !Array.isArray(parts) ||
    parts.length !== 3 ||
    !parts.every((part) => typeof part === 'string')
  ) {
    throw new Refused(
      Code.BAD_REQUEST,
      'this is no recall handle; take the one that the send returned',
    );
  }
  const [brokerName, messageId, producerMessageId] = parts as [string, string, string];
  return { brokerName, messageId, producerMessageId };
}
