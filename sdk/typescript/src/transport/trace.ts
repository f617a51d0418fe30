// What happened to a message, as the broker tells it.

import {
  type TraceEvent as EventMessage,
  TraceEvent_Kind as Kind,
  type TraceMessageResponse,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import type { CallTime } from '../call-time.ts';
import type { Clock } from '../clock.ts';
import { abortedError, MqError } from '../errors.ts';
import type { Channel } from './channel.ts';
import { broker } from './methods.ts';

const NAMES = {
  stored: Kind.STORED,
  held: Kind.HELD,
  released: Kind.RELEASED,
  recalled: Kind.RECALLED,
  'transaction begun': Kind.TRANSACTION_BEGUN,
  'transaction checked': Kind.TRANSACTION_CHECKED,
  committed: Kind.COMMITTED,
  'rolled back': Kind.ROLLED_BACK,
  leased: Kind.LEASED,
  filtered: Kind.FILTERED,
  skipped: Kind.SKIPPED,
  extended: Kind.EXTENDED,
  acknowledged: Kind.ACKNOWLEDGED,
  retried: Kind.RETRIED,
  'lease ended': Kind.LEASE_ENDED,
  returned: Kind.RETURNED,
  dropped: Kind.DROPPED,
  'dead-lettered': Kind.DEAD_LETTERED,
  resent: Kind.RESENT,
  relocated: Kind.RELOCATED,
  'progress set': Kind.PROGRESS_SET,
  expired: Kind.EXPIRED,
  other: Kind.UNSPECIFIED,
} as const;

/** Kinds of events; `other` comes from a newer broker. */
export type TraceEventName = keyof typeof NAMES;

/** One thing that happened to a message. */
export interface TraceEvent {
  readonly event: TraceEventName;
  /** When, by the broker's clock; of a relocated one, when it was stored. */
  readonly timeMs: number;
  /** The message that it happened to: the one asked for, or what became of it. */
  readonly messageId: string;
  readonly topic: string;
  /** The consumer group; empty when it is not a matter of one. */
  readonly group: string;
  /** Its broadcasting member; empty for the group itself. */
  readonly memberId: string;
  /** Who got it. */
  readonly consumerId: string;
  /** Which delivery; of a dead letter, how many. */
  readonly attempt: number;
  /** When the lease ends, it is delivered again, or is due; 0 when there is no such time. */
  readonly untilMs: number;
  /** What it became: released, dead-lettered or resent; what a stored one was before it was moved. Else empty. */
  readonly otherId: string;
  readonly otherTopic: string;
  /** Where a group's progress was set to. */
  readonly offset: number;
  /** Address that it was sent from. */
  readonly address: string;
  readonly reason: string;
}

/** What happened to a message. */
export interface MessageTrace {
  /** In the order of the log. */
  readonly events: readonly TraceEvent[];
  /** Older parts of the log are deleted: what happened before them is not known. */
  readonly beginningGone: boolean;
  /** Bytes of the log that could not be searched. */
  readonly lostBytes: number;
  /** There are more events than the broker tells. */
  readonly truncated: boolean;
}

function eventOf(message: EventMessage): TraceEvent {
  const { $typeName, $unknown, kind, position, timeMs, untilMs, offset, ...rest } = message;
  const event = Object.entries(NAMES).find(([, value]) => value === kind)?.[0] ?? 'other';
  return {
    event: event as TraceEventName,
    timeMs: Number(timeMs),
    untilMs: Number(untilMs),
    offset: Number(offset),
    ...rest,
  };
}

/**
 * Traces a message on one broker. Throws the broker's errors, DEADLINE_EXCEEDED and ABORTED.
 *
 * @param progress told how much of the log is searched, from 0 to 1
 */
export function traceOn(
  channel: Channel,
  messageId: string,
  clock: Clock,
  { deadlineMs, signal }: CallTime,
  progress: (share: number) => void,
): Promise<MessageTrace> {
  return new Promise((resolve, reject) => {
    const events: TraceEvent[] = [];
    let last: TraceMessageResponse | undefined;
    let begin: number | undefined;
    const settle = (error: MqError | undefined): void => {
      timer.cancel();
      signal?.removeEventListener('abort', abort);
      if (error !== undefined) reject(error);
      else {
        const { beginningGone = false, lostBytes = 0n, truncated = false } = last ?? {};
        resolve({ events, beginningGone, lostBytes: Number(lostBytes), truncated });
      }
    };
    const stream = channel.watch(
      broker.traceMessage,
      { messageId },
      {
        message: (response) => {
          events.push(...response.events.map(eventOf));
          last = response;
          begin ??= Number(response.position);
          const whole = Number(response.endPosition) - begin;
          progress(whole > 0 ? (Number(response.position) - begin) / whole : 1);
        },
        ended: settle,
      },
    );
    const stop = (error: MqError): void => {
      settle(error);
      stream.cancel();
    };
    const timer = clock.setTimer(deadlineMs, () =>
      stop(
        new MqError(
          'DEADLINE_EXCEEDED',
          'the log was not searched before the deadline; allow more time',
          {
            retryable: true,
          },
        ),
      ),
    );
    const abort = (): void => stop(abortedError(signal as AbortSignal));
    signal?.addEventListener('abort', abort);
  });
}
