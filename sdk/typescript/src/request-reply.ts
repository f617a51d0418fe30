// Asking and answering: a message whose sender waits for what its consumer says to it.

import { decompressed, type EncodedMessage } from './body-encoding.ts';
import type { CallTime } from './call-time.ts';
import { isDelayed } from './delay.ts';
import { MqError } from './errors.ts';
import type { OutgoingMessage, Receipt } from './message.ts';
import type { Routes } from './routes.ts';
import type { Channel } from './transport/channel.ts';
import type { Channels } from './transport/channels.ts';
import { messageInit } from './transport/message-init.ts';
import { broker } from './transport/methods.ts';

/** How long an answer may take when nothing is said, in milliseconds; as RocketMQ's. */
export const REPLY_TIMEOUT_MS = 3000;
const REPLY_TIMEOUT_MS_MAX = 600_000;
/** So much later than the broker the client gives up, that it hears why. */
const ANSWER_MS = 1000;

/** How an answer is waited for. */
export interface RequestOptions {
  /** How long it may take, all in all, in milliseconds, at most 10 minutes. Default: 3,000. */
  readonly timeoutMs?: number;
  /** Stops waiting; the message may be stored and answered nevertheless. */
  readonly signal?: AbortSignal | undefined;
}

/** An answer to send. */
export type OutgoingReply = Pick<OutgoingMessage, 'body' | 'tag' | 'keys' | 'properties'>;

/** An answer. */
export interface Reply {
  /** What was said. */
  readonly body: Buffer;
  /** The body as text. */
  text(): string;
  /** The body as JSON. Throws SyntaxError when it is none. */
  json(): unknown;
  /** Its label; empty for none. */
  readonly tag: string;
  /** Its keys. */
  readonly keys: readonly string[];
  /** Its name-value pairs. */
  readonly properties: Readonly<Record<string, string>>;
  /** Where the message is that was answered. */
  readonly receipt: Receipt;
}

/** Sends a message to a queue and waits for the answer. Throws REPLY_TIMEOUT, and what sending throws. */
export async function requestReply(
  place: { readonly topic: string; readonly queueId: number; readonly channel: Channel },
  message: EncodedMessage,
  time: CallTime,
  nowMs: number,
): Promise<Reply> {
  if (isDelayed(message)) {
    throw new MqError('INVALID_OPTION', 'a message that asks for an answer cannot be delayed');
  }
  const timeoutMs = Math.ceil(time.deadlineMs);
  if (timeoutMs < 1 || timeoutMs > REPLY_TIMEOUT_MS_MAX) {
    throw timeoutMs < 1
      ? new MqError('DEADLINE_EXCEEDED', 'the time was up before the message left', {
          retryable: true,
        })
      : new MqError('INVALID_OPTION', 'timeoutMs must be 1 to 600,000 (10 minutes)');
  }
  const { receipt, reply } = await place.channel.unary(
    broker.requestReply,
    {
      topic: place.topic,
      queueId: place.queueId,
      message: messageInit(message, nowMs),
      timeoutMs,
    },
    { deadlineMs: timeoutMs + ANSWER_MS, signal: time.signal },
  );
  if (receipt === undefined || reply === undefined) {
    throw new MqError('MALFORMED_RESPONSE', 'the broker answered without a reply; update it');
  }
  return replyOf(reply, {
    messageId: receipt.messageId,
    broker: receipt.brokerName,
    queueId: receipt.queueId,
    offset: Number(receipt.offset),
    duplicate: receipt.duplicate,
  });
}

function replyOf(
  reply: Pick<Reply, 'tag' | 'keys' | 'properties'> & { body: Uint8Array; bodyEncoding: number },
  receipt: Receipt,
): Reply {
  const { body, bodyEncoding, tag, keys, properties } = reply;
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.length);
  const plain = bodyEncoding === 0 ? bytes : decompressed(bytes, bodyEncoding);
  return {
    body: plain,
    text: () => plain.toString('utf8'),
    json: () => JSON.parse(plain.toString('utf8')),
    ...{ tag, keys, properties, receipt },
  };
}

/** Answers a request at the broker where it waits. Throws NO_REPLY_WANTED, REPLY_NOT_AWAITED, NO_BROKER. */
export async function sendReply(
  replyTo: string,
  answer: EncodedMessage,
  modules: { readonly routes: Routes; readonly channels: Channels },
  time: CallTime,
  nowMs: number,
): Promise<void> {
  if (replyTo === '') {
    throw new MqError('NO_REPLY_WANTED', 'the message asks for no answer: it has no reply address');
  }
  const name = replyTo.slice(0, replyTo.lastIndexOf('/'));
  const brokers = await modules.routes.brokers(time);
  const asker = brokers.find((one) => one.master && one.name === name);
  if (asker === undefined) {
    throw new MqError(
      'NO_BROKER',
      `broker ${name}, where the answer is waited for, is not registered with the name server; start it`,
      { retryable: true },
    );
  }
  await modules.channels
    .get(asker.address)
    .unary(broker.reply, { replyTo, reply: messageInit(answer, nowMs) }, time);
}
