// Pull and PullStream: reading one queue from an offset.

import type { ServerWritableStream } from '@grpc/grpc-js';
import type { PullRequest, PullStreamRequest } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { type Clock, failStream, TernError, type UnaryContext } from '@ternmq/runtime';
import type { TopicCatalog } from '../catalog/topic-catalog.ts';
import { parseMessageFilter } from '../delivery/message-filter.ts';
import type { PullChoice, Puller } from '../delivery/pull.ts';
import type { Queue } from '../state/queue.ts';
import type { Topic } from '../state/topics.ts';
import { boundedWait, inRange } from './bounds.ts';

const MESSAGES_DEFAULT = 32;
const MESSAGES_MAX = 4096;
const BYTES_DEFAULT = 256 << 10;
const BYTES_MAX = 4 << 20;
const STREAM_MESSAGES = 1024;

/** A topic's queue. Throws NOT_FOUND (TOPIC_NOT_FOUND, QUEUE_NOT_FOUND). */
export function findQueue(
  topics: TopicCatalog,
  name: string,
  queueId: number,
): { topic: Topic; queue: Queue } {
  const topic = topics.get(name);
  const queue = topic.queues[queueId];
  if (queue !== undefined) return { topic, queue };
  throw new TernError(
    'NOT_FOUND',
    'QUEUE_NOT_FOUND',
    `topic ${name} has the queues 0 to ${topic.queues.length - 1} on this broker, and no ${queueId}`,
    { metadata: { topic: name } },
  );
}

/** The unary RPC. */
export function pull(modules: {
  topics: TopicCatalog;
  puller: Puller;
  clock: Clock;
}): (request: PullRequest, context: UnaryContext) => Promise<Buffer> {
  const { topics, puller, clock } = modules;
  return async (request, context) => {
    const choice: PullChoice = {
      ...findQueue(topics, request.topic, request.queueId),
      offset: Number(request.offset),
      messagesMax: inRange('messages_max', request.messagesMax, MESSAGES_DEFAULT, MESSAGES_MAX),
      bytesMax: inRange('bytes_max', request.bytesMax, BYTES_DEFAULT, BYTES_MAX),
      filter: parseMessageFilter(request.tags, request.sql),
    };
    const waitMs = boundedWait(request.waitMs, context, clock);
    const { bytes } = await puller.readOrWait(choice, waitMs, context.signal);
    return bytes;
  };
}

/** The streaming RPC. */
export function pullStream(modules: {
  topics: TopicCatalog;
  puller: Puller;
  closing: AbortSignal;
}): (call: ServerWritableStream<PullStreamRequest, Buffer>) => void {
  const { topics, puller, closing } = modules;
  return (call) => {
    const ended = new AbortController();
    call.on('cancelled', () => ended.abort());
    call.on('close', () => ended.abort());
    call.on('error', () => ended.abort());
    const signal = AbortSignal.any([ended.signal, closing]);
    const run = async (): Promise<void> => {
      const { topic, queueId, offset, tags, sql } = call.request;
      const choice = {
        ...findQueue(topics, topic, queueId),
        messagesMax: STREAM_MESSAGES,
        bytesMax: BYTES_DEFAULT,
        filter: parseMessageFilter(tags, sql),
      };
      let next = Number(offset);
      while (!signal.aborted) {
        if (choice.queue.deleted) topics.get(topic);
        const batch = await puller.read({ ...choice, offset: next });
        if (batch.messages > 0 && !call.write(batch.bytes)) await drained(call, signal);
        if (batch.nextOffset === next) await puller.arrival(choice.queue, next, signal);
        next = batch.nextOffset;
      }
      if (closing.aborted) throw closing.reason;
    };
    run().catch((error: unknown) => {
      if (!ended.signal.aborted) failStream(call, error);
    });
  };
}

function drained(
  call: ServerWritableStream<PullStreamRequest, Buffer>,
  signal: AbortSignal,
): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = (): void => {
      call.off('drain', done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    call.once('drain', done);
    signal.addEventListener('abort', done);
  });
}
