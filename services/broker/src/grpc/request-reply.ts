// RequestReply and Reply: a message whose sender waits for what a consumer says to it.

import { create, toBinary } from '@bufbuild/protobuf';
import {
  type ReplyRequest,
  type ReplyResponse,
  type RequestReplyRequest,
  type RequestReplyResponse,
  SendRequestSchema,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import type { Message } from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import { type Clock, TernError, type UnaryContext } from '@ternmq/runtime';
import type { CommitLog } from '../log/commit-log.ts';
import type { ReplyInboxes } from '../replies/reply-inboxes.ts';
import type { Acknowledgements } from './acknowledgements.ts';
import type { FrameAppender } from './append-frame.ts';
import { bornHostOf } from './born-host.ts';
import { inRange, leftOf } from './bounds.ts';
import { FrameScanner } from './frame-scanner.ts';
import { refusalError, store } from './send.ts';

const TIMEOUT_MS_DEFAULT = 3000;
const TIMEOUT_MS_MAX = 600_000;

/** What the RPCs use. */
export interface ReplyModules {
  readonly log: CommitLog;
  readonly acknowledgements: Acknowledgements;
  readonly appender: FrameAppender;
  readonly inboxes: ReplyInboxes;
  readonly clock: Clock;
  /** Aborts when the broker stops. */
  readonly closing: AbortSignal;
}

/** The RPCs. */
export function replyHandlers(
  brokerName: string,
  modules: ReplyModules,
): {
  requestReply(request: RequestReplyRequest, context: UnaryContext): Promise<RequestReplyResponse>;
  reply(request: ReplyRequest): ReplyResponse;
} {
  const { inboxes, clock, closing } = modules;
  const scanner = new FrameScanner();
  return {
    async requestReply(request, context) {
      const { topic, queueId, message, timeoutMs } = request;
      if (message === undefined) throw invalid('message', 'the message is missing');
      if (message.replyTo !== '') throw invalid('message.reply_to', 'the broker writes it');
      if (message.delayMs !== 0n || message.deliverAtMs !== 0n) {
        throw invalid('message.delay_ms', 'a message that asks for an answer cannot be delayed');
      }
      const wantedMs = inRange('timeout_ms', timeoutMs, TIMEOUT_MS_DEFAULT, TIMEOUT_MS_MAX);
      const inbox = inboxes.open();
      try {
        const signal = AbortSignal.any([context.signal, closing]);
        const untilMs = clock.monotonicMs() + Math.min(wantedMs, leftOf(context, clock));
        const sent = create(SendRequestSchema, {
          topic,
          ...(queueId === undefined ? {} : { queueId }),
          messages: [{ ...message, replyTo: inbox.replyTo }],
        });
        const bytes = Buffer.from(toBinary(SendRequestSchema, sent));
        const { receipts } = await store(brokerName, modules, bytes, bornHostOf(context.peer));
        const [receipt] = receipts;
        const leftMs = Math.max(0, untilMs - clock.monotonicMs());
        const reply = await inbox.wait(leftMs, signal);
        if (receipt === undefined || reply === undefined) {
          throw new TernError(
            'DEADLINE_EXCEEDED',
            'REPLY_TIMEOUT',
            `nobody answered within ${Math.round(wantedMs)} ms; the message is stored, and its consumers may still work on it`,
            { metadata: { message_id: receipt?.messageId ?? '' } },
          );
        }
        return { $typeName: 'ternmq.broker.v1.RequestReplyResponse', receipt, reply };
      } finally {
        inbox.close();
      }
    },
    reply({ replyTo, reply }) {
      if (reply === undefined) throw invalid('reply', 'the answer is missing');
      checkMessage(scanner, reply);
      inboxes.answer(replyTo, reply);
      return { $typeName: 'ternmq.broker.v1.ReplyResponse' };
    },
  };
}

/** An answer keeps the limits of messages. Throws INVALID_ARGUMENT. */
function checkMessage(scanner: FrameScanner, message: Message): void {
  const frame = create(SendRequestSchema, { messages: [message] });
  const refusal = scanner.scan(Buffer.from(toBinary(SendRequestSchema, frame)));
  if (refusal !== undefined) throw refusalError(refusal);
}

function invalid(field: string, description: string): TernError {
  return new TernError('INVALID_ARGUMENT', 'INVALID_FIELD', `${field}: ${description}`, {
    fields: [{ field, description }],
  });
}
