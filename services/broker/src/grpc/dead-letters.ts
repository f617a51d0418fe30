// Dead letters of a group: ListDeadLetters, ResendDeadLetters.

import {
  type DeadLetter as DeadLetterMessage,
  DeadLetterState,
  type ListDeadLettersRequest,
  type ListDeadLettersResponse,
  type ResendDeadLettersRequest,
  type ResendDeadLettersResponse,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { type Clock, TernError, type UnaryContext } from '@ternmq/runtime';
import type { GroupCatalog } from '../catalog/group-catalog.ts';
import type { DeadLetter, DeadLetterResend } from '../delivery/dead-letter-resend.ts';
import type { DiskGuard } from '../disk-guard.ts';
import type { CommitLog } from '../log/commit-log.ts';
import type { BrokerState } from '../state/broker-state.ts';
import type { Queue } from '../state/queue.ts';
import { inRange } from './bounds.ts';
import { messageId, parseMessageId } from './message-id.ts';

const PAGE_SIZE_DEFAULT = 100;
const PAGE_SIZE_MAX = 1000;
/** Bytes of messages that one call reads before it ends its page. */
const PAGE_BYTES_MAX = 16 << 20;
/** Letters that one call passes over before it ends its page. */
const LOOKED_AT_MAX = 65_536;
/** Bytes that are appended before the log is waited for. */
const AHEAD_BYTES_MAX = 4 << 20;
const RETRY_AFTER_MS = 1000;
const TOKEN = /^(\d{1,15}):(\d{1,15})$/;

/** What the RPCs use. */
export interface DeadLetterModules {
  readonly groups: GroupCatalog;
  readonly letters: DeadLetterResend;
  readonly state: BrokerState;
  readonly guard: DiskGuard;
  readonly log: CommitLog;
  readonly clock: Clock;
}

/** The RPCs. */
export function deadLetterHandlers(
  brokerName: string,
  modules: DeadLetterModules,
): {
  listDeadLetters(request: ListDeadLettersRequest): Promise<ListDeadLettersResponse>;
  resendDeadLetters(
    request: ResendDeadLettersRequest,
    context: UnaryContext,
  ): Promise<ResendDeadLettersResponse>;
} {
  const { groups, letters, state, guard, log } = modules;

  /** Where the letters of a group lie. Throws NOT_FOUND (GROUP_NOT_FOUND) when there is nothing of that name. */
  const queueOf = (group: string): Queue | undefined => {
    const queue = letters.queueOf(group);
    if (queue === undefined) groups.get(group);
    return queue;
  };
  const describe = (letter: DeadLetter): DeadLetterMessage =>
    describeLetter(brokerName, letter, letters);

  const list = async (request: ListDeadLettersRequest): Promise<ListDeadLettersResponse> => {
    const size = inRange('page_size', request.pageSize, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX);
    const queue = queueOf(request.group);
    const found: DeadLetterMessage[] = [];
    if (queue === undefined) return listed(found, '');
    const walk = new Walk(request, state.beginOf(queue), queue.visibleEnd);
    for (let bytes = 0; walk.on && found.length < size && bytes < PAGE_BYTES_MAX; walk.step()) {
      const letter = await letters.read(request.group, queue, walk.offset);
      if (letter === undefined) continue;
      bytes += letter.message.length;
      found.push(describe(letter));
    }
    return listed(found, walk.token);
  };

  /** Sends a letter again, or tells what would become of it. */
  const resend = (letter: DeadLetter, dryRun: boolean): DeadLetterMessage => {
    if (letters.wasResent(letter.queue, letter.offset)) return describe(letter);
    const target = letters.targetOf(letter);
    if (target === undefined) return { ...describe(letter), refusal: 'TOPIC_NOT_FOUND' };
    if (dryRun) return describe(letter);
    const offset = letters.send(letter, target);
    const { topicId, queueId } = target;
    const resentMessageId = messageId({ brokerName, topicId, queueId, offset });
    return { ...describe(letter), resentMessageId };
  };

  /** Keeps the log from running away from the disk. */
  const pacer = (): ((letter: DeadLetter) => Promise<void>) => {
    let bytes = 0;
    return async ({ message }) => {
      bytes += message.length;
      if (bytes < AHEAD_BYTES_MAX) return;
      bytes = 0;
      await log.visibleAt(log.next);
    };
  };

  const resendNamed = async (
    { group, messageIds, dryRun }: ResendDeadLettersRequest,
    queue: Queue | undefined,
    { signal }: UnaryContext,
  ): Promise<ResendDeadLettersResponse> => {
    const places = messageIds.map((id) => ({ id, place: parseMessageId(id, brokerName) }));
    const results: DeadLetterMessage[] = [];
    const pace = pacer();
    for (const { id, place } of places) {
      if (signal.aborted) break;
      const { ours, topicId, queueId, offset } = place;
      const here = ours && queue?.topicId === topicId && queueId === queue.queueId;
      const letter = here ? await letters.read(group, queue, offset) : undefined;
      if (letter === undefined) {
        results.push(unknownLetter(id));
        continue;
      }
      results.push(resend(letter, dryRun));
      await pace(letter);
    }
    return resent(results, '', 0);
  };

  const resendNext = async (
    request: ResendDeadLettersRequest,
    queue: Queue,
    { signal }: UnaryContext,
  ): Promise<ResendDeadLettersResponse> => {
    const { group, dryRun, messagesMax } = request;
    const max = inRange('messages_max', messagesMax, PAGE_SIZE_MAX, PAGE_SIZE_MAX);
    const results: DeadLetterMessage[] = [];
    const pace = pacer();
    const walk = new Walk(request, state.beginOf(queue), queue.visibleEnd);
    for (let bytes = 0; walk.on && results.length < max && bytes < PAGE_BYTES_MAX; walk.step()) {
      if (signal.aborted) break;
      if (letters.wasResent(queue, walk.offset)) continue;
      const letter = await letters.read(group, queue, walk.offset);
      // Another call may have sent it again while it was read.
      if (letter === undefined || letters.wasResent(queue, walk.offset)) continue;
      bytes += letter.message.length;
      results.push(resend(letter, dryRun));
      await pace(letter);
    }
    return resent(results, walk.token, walk.left);
  };

  return {
    listDeadLetters: list,
    async resendDeadLetters(request, context) {
      const refusal = request.dryRun ? undefined : guard.refusal();
      if (refusal !== undefined) {
        throw new TernError('RESOURCE_EXHAUSTED', refusal.reason, refusal.message, {
          retryAfterMs: RETRY_AFTER_MS,
        });
      }
      if (request.messageIds.length > PAGE_SIZE_MAX) {
        throw invalid('message_ids', `are at most ${PAGE_SIZE_MAX} in one call`);
      }
      const queue = queueOf(request.group);
      let response = resent([], '', 0);
      try {
        if (request.messageIds.length > 0) response = await resendNamed(request, queue, context);
        else if (queue !== undefined) response = await resendNext(request, queue, context);
      } finally {
        // What was sent again before a failure is told by the next call, and must be true then.
        await log.keptAt(log.next);
      }
      return response;
    },
  };
}

function describeLetter(
  brokerName: string,
  { queue, offset, stored, origin }: DeadLetter,
  letters: DeadLetterResend,
): DeadLetterMessage {
  const { topicId, queueId } = queue;
  const { message } = stored;
  return {
    $typeName: 'ternmq.broker.v1.DeadLetter',
    messageId: messageId({ brokerName, topicId, queueId, offset }),
    origin,
    originMessageId: messageId({ brokerName, ...origin, offset: Number(origin.offset) }),
    deadMs: stored.storeTimeMs,
    bodyBytes: message?.body.length ?? 0,
    tag: message?.tag ?? '',
    keys: message?.keys ?? [],
    state: letters.wasResent(queue, offset) ? DeadLetterState.RESENT : DeadLetterState.WAITING,
    resentMessageId: '',
    refusal: '',
  };
}

function unknownLetter(id: string): DeadLetterMessage {
  return {
    $typeName: 'ternmq.broker.v1.DeadLetter',
    messageId: id,
    originMessageId: '',
    deadMs: 0n,
    bodyBytes: 0,
    tag: '',
    keys: [],
    state: DeadLetterState.UNSPECIFIED,
    resentMessageId: '',
    refusal: 'MESSAGE_NOT_FOUND',
  };
}

function listed(deadLetters: DeadLetterMessage[], nextPageToken: string): ListDeadLettersResponse {
  return { $typeName: 'ternmq.broker.v1.ListDeadLettersResponse', deadLetters, nextPageToken };
}

function resent(
  deadLetters: DeadLetterMessage[],
  nextPageToken: string,
  left: number,
): ResendDeadLettersResponse {
  return {
    $typeName: 'ternmq.broker.v1.ResendDeadLettersResponse',
    deadLetters,
    nextPageToken,
    left: BigInt(left),
  };
}

/** A way through the letters of a queue, a page at a time. A token holds where it goes on, and where it ends. */
class Walk {
  readonly #begin: number;
  readonly #end: number;
  readonly #step: number;
  #lookedAt = 0;
  offset: number;

  /** Throws INVALID_ARGUMENT. */
  constructor(
    request: { readonly pageToken: string; readonly newestFirst: boolean },
    begin: number,
    end: number,
  ) {
    const { newestFirst, pageToken } = request;
    const [offset, last] = TOKEN.exec(pageToken)?.slice(1).map(Number) ?? [];
    if (pageToken !== '' && offset === undefined) {
      throw invalid('page_token', 'must be the next_page_token of the call before');
    }
    this.#begin = begin;
    this.#end = Math.min(last ?? end, end);
    this.#step = newestFirst ? -1 : 1;
    this.offset = newestFirst
      ? Math.min(offset ?? end, this.#end - 1)
      : Math.max(offset ?? begin, begin);
  }

  /** May this call look at another one? */
  get on(): boolean {
    return this.left > 0 && this.#lookedAt < LOOKED_AT_MAX;
  }

  /** Letters that are not looked at. */
  get left(): number {
    const left = this.#step > 0 ? this.#end - this.offset : this.offset - this.#begin + 1;
    return Math.max(0, left);
  }

  /** For the next call; empty when there is nothing more. */
  get token(): string {
    return this.left > 0 ? `${this.offset}:${this.#end}` : '';
  }

  step(): void {
    this.offset += this.#step;
    this.#lookedAt++;
  }
}

function invalid(field: string, description: string): TernError {
  return new TernError('INVALID_ARGUMENT', 'INVALID_FIELD', `${field} ${description}`, {
    fields: [{ field, description }],
  });
}
