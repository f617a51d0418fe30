// Finds messages by key and time on one broker.

import type { ReceivedMessage } from './received-message.ts';
import type { CallLimits, Channel } from './transport/channel.ts';
import { broker } from './transport/methods.ts';
import { receivedOf } from './transport/stored-message.ts';

const PAGE_SIZE_MAX = 1000;
/** Messages that are found when nobody says how many. */
export const FOUND_MAX = 100;

/** Which messages are looked for. */
export interface MessageQuery {
  readonly topic: string;
  /** One of their first 256 keys; absent for all messages. */
  readonly key?: string;
  /** Stored at this time or later. */
  readonly from?: Date;
  /** Stored before this time. */
  readonly to?: Date;
  /** Most messages. Default: 100. */
  readonly max?: number;
}

/** The newest messages of a broker that are meant. */
export async function findOn(
  channel: Channel,
  brokerName: string,
  { topic, key = '', from, to, max = FOUND_MAX }: MessageQuery,
  limits: CallLimits,
): Promise<ReceivedMessage[]> {
  const fromMs = BigInt(from?.getTime() ?? 0);
  const toMs = BigInt(to?.getTime() ?? 0);
  const messages: ReceivedMessage[] = [];
  for (let pageToken = ''; ; ) {
    const pageSize = Math.min(PAGE_SIZE_MAX, max - messages.length);
    const request = { topic, key, fromMs, toMs, pageSize, pageToken };
    const page = await channel.unary(broker.findMessages, request, limits);
    messages.push(...page.messages.map((one) => receivedOf(one, topic, brokerName)));
    pageToken = page.nextPageToken;
    if (pageToken === '' || messages.length >= max) return messages;
  }
}
