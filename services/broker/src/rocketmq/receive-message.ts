// ReceiveMessage: leases messages, and waits for them. Frames: the status, the messages, and when they were sent off.

import type { ServerWritableStream } from '@grpc/grpc-js';
import {
  Code,
  type FilterExpression,
  FilterType,
  type Message,
  type Status,
} from '@ternmq/proto/gen/apache/rocketmq/v2/definition_pb';
import type {
  ReceiveMessageRequest,
  ReceiveMessageResponse,
} from '@ternmq/proto/gen/apache/rocketmq/v2/service_pb';
import { BrokerService, type ReceiveResponse } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import type { Lease } from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import { type Clock, TernError } from '@ternmq/runtime';
import type { Brokers, ServingBroker } from './brokers.ts';
import { type Caller, callerOf } from './caller.ts';
import type { Clients } from './clients.ts';
import { type Deliveries, RENEWED_LEASE_MS } from './deliveries.ts';
import { messageOut, timestampOf } from './message-out.ts';
import { servingBrokers } from './query-route.ts';
import { type Delivery, writeHandle } from './receipt-handle.ts';
import { groupNameOf, topicNameOf } from './resource.ts';
import { LONG_POLL_MS_MAX, msOf, RECEIVE_BATCH_MAX } from './settings.ts';
import { failureStatus, okStatus, Refused, statusWith } from './status.ts';

/** Bounds of how long a message may stay invisible, in milliseconds. */
const INVISIBLE_MS_MIN = 10_000;
export const INVISIBLE_MS_MAX = 12 * 3_600_000;
/** What is left of a call's deadline for the way back, in milliseconds. */
const RETURN_MS = 500;
/** Where several brokers are asked in turn: how long each is waited for, in milliseconds. */
const TURN_MS = 1000;
/** A consumer's id as the own service takes it. */
const CONSUMER_ID_LENGTH_MAX = 127;
const UNPRINTABLE = /[^\x20-\x7e]/g;
/** Calls that wait at the same time. */
const WAITING_MAX = 50_000;

/** What the RPC uses. */
export interface ReceiveModules {
  readonly brokers: Brokers;
  readonly clients: Clients;
  readonly deliveries: Deliveries;
  readonly clock: Clock;
  /** Aborts when the server stops. */
  readonly closing: AbortSignal;
}

type Call = ServerWritableStream<ReceiveMessageRequest, ReceiveMessageResponse>;

/** What was leased for a client. */
interface Leased {
  readonly broker: ServingBroker;
  readonly messages: readonly Message[];
  readonly deliveries: readonly Delivery[];
}

/** The RPC. */
export function receiveMessage(modules: ReceiveModules): (call: Call) => void {
  let waiting = 0;
  let turn = 0;
  /** Calls that wait, by client. */
  const calls = new Map<string, Set<AbortController>>();
  modules.clients.onEnd((clientId) => {
    for (const call of calls.get(clientId) ?? []) call.abort();
  });

  const receive = async (call: Call, caller: Caller): Promise<void> => {
    const { request } = call;
    const asked = readRequest(request, caller, modules.clock);
    const brokers = (await servingBrokers(modules.brokers, asked.topic)).filter(
      ({ readable }) => readable,
    );
    if (brokers.length === 0) {
      throw new Refused(Code.FORBIDDEN, `no queue of topic ${asked.topic} may be read now`);
    }
    const named = brokers.find(
      ({ brokerName }) => brokerName === request.messageQueue?.broker?.name,
    );
    const inTurn = named === undefined ? turned(brokers, turn++) : [named];
    const leased = await leaseFrom(inTurn, asked, request, caller, modules);
    const { deliveries } = modules;
    if (leased !== undefined && caller.signal.aborted) {
      // Others need not wait for the end of leases that nobody has.
      await deliveries.giveBack(leased.broker.link, asked.group, leased.deliveries);
    }
    if (leased === undefined || caller.signal.aborted) {
      finish(
        call,
        statusWith(Code.MESSAGE_NOT_FOUND, 'no message has come'),
        [],
        modules.clock.nowMs(),
      );
      return;
    }
    const { link } = leased.broker;
    for (const delivery of leased.deliveries) {
      deliveries.add(caller.clientId, asked.group, link, delivery);
    }
    finish(call, okStatus(), leased.messages, modules.clock.nowMs());
  };

  return (call) => {
    const going = new AbortController();
    const cancel = (): void => going.abort();
    call.on('cancelled', cancel);
    modules.closing.addEventListener('abort', cancel);
    const begun = async (): Promise<void> => {
      if (waiting >= WAITING_MAX) {
        throw new Refused(
          Code.TOO_MANY_REQUESTS,
          `${WAITING_MAX} receives wait here; try again later`,
        );
      }
      waiting++;
      try {
        const caller = callerOf({
          metadata: call.metadata,
          peer: call.getPeer(),
          deadlineMs: Number(call.getDeadline()),
          signal: going.signal,
        });
        modules.clients.heard(caller.clientId);
        const others = calls.get(caller.clientId) ?? new Set();
        calls.set(caller.clientId, others.add(going));
        try {
          await receive(call, caller);
        } finally {
          others.delete(going);
          if (others.size === 0) calls.delete(caller.clientId);
        }
      } finally {
        waiting--;
      }
    };
    begun()
      .catch((error: unknown) => finish(call, failureStatus(error), [], modules.clock.nowMs()))
      .finally(() => {
        call.off('cancelled', cancel);
        modules.closing.removeEventListener('abort', cancel);
      });
  };
}

/** What a client asks for, within the bounds. */
interface Asked {
  readonly topic: string;
  readonly group: string;
  readonly tags: string;
  readonly sql: string;
  readonly messagesMax: number;
  readonly leaseMs: number;
  readonly renewed: boolean;
  /** Until when it waits, in wall milliseconds. */
  readonly untilMs: number;
}

function readRequest(request: ReceiveMessageRequest, caller: Caller, clock: Clock): Asked {
  const topic = topicNameOf(request.messageQueue?.topic, caller.namespace);
  const group = groupNameOf(request.group, caller.namespace);
  const nowMs = clock.nowMs();
  const leftMs = Math.max(0, caller.deadlineMs - nowMs - RETURN_MS);
  const pollMs = msOf(request.longPollingTimeout) ?? leftMs;
  return {
    topic,
    group,
    ...filterOf(request.filterExpression),
    messagesMax: Math.min(Math.max(1, request.batchSize), RECEIVE_BATCH_MAX),
    leaseMs: request.autoRenew
      ? RENEWED_LEASE_MS
      : checkedInvisible(msOf(request.invisibleDuration)),
    renewed: request.autoRenew,
    untilMs: nowMs + Math.min(pollMs, LONG_POLL_MS_MAX, leftMs),
  };
}

function checkedInvisible(ms: number | undefined): number {
  if (ms === undefined || ms < INVISIBLE_MS_MIN) {
    throw new Refused(
      Code.ILLEGAL_INVISIBLE_TIME,
      `the invisibleTime is too small; it is at least ${INVISIBLE_MS_MIN / 1000} s`,
    );
  }
  if (ms <= INVISIBLE_MS_MAX) return ms;
  throw new Refused(
    Code.ILLEGAL_INVISIBLE_TIME,
    `the invisibleTime is too large; it is at most ${INVISIBLE_MS_MAX / 3_600_000} hours`,
  );
}

/** The filter as the own service takes it. */
export function filterOf(filter: FilterExpression | undefined): { tags: string; sql: string } {
  if (filter === undefined) return { tags: '', sql: '' };
  return filter.type === FilterType.SQL
    ? { tags: '', sql: filter.expression }
    : { tags: filter.expression, sql: '' };
}

/** Asks brokers for messages: all of them at once for what is there, then one after the other. */
async function leaseFrom(
  brokers: readonly ServingBroker[],
  asked: Asked,
  request: ReceiveMessageRequest,
  caller: Caller,
  { clock }: ReceiveModules,
): Promise<Leased | undefined> {
  const [only] = brokers;
  for (let round = 0; !caller.signal.aborted; round++) {
    for (const broker of brokers) {
      const leftMs = asked.untilMs - clock.nowMs();
      const waitMs = brokers.length === 1 ? leftMs : round === 0 ? 0 : Math.min(leftMs, TURN_MS);
      const leased = await leaseAt(broker, Math.max(0, waitMs), asked, request, caller);
      if (leased !== undefined) return leased;
      if (caller.signal.aborted) return undefined;
    }
    if (asked.untilMs <= clock.nowMs() || only === undefined) return undefined;
  }
  return undefined;
}

async function leaseAt(
  broker: ServingBroker,
  waitMs: number,
  asked: Asked,
  request: ReceiveMessageRequest,
  caller: Caller,
): Promise<Leased | undefined> {
  const { topic, group, tags, sql, messagesMax, leaseMs, renewed } = asked;
  const consumerId = caller.clientId.replace(UNPRINTABLE, '_').slice(-CONSUMER_ID_LENGTH_MAX);
  let response: ReceiveResponse;
  try {
    response = await broker.link.call(
      BrokerService.method.receive,
      {
        group,
        subscription: { topic, tags, sql, from: { target: { case: 'begin', value: {} } } },
        messagesMax,
        waitMs: Math.round(waitMs),
        leaseMs,
        consumerId,
      },
      caller,
    );
  } catch (error) {
    // Nobody waits for the answer.
    if (caller.signal.aborted) return undefined;
    if (error instanceof TernError && error.reason === 'SUBSCRIPTION_MISMATCH') {
      throw new Refused(Code.ILLEGAL_FILTER_EXPRESSION, error.message);
    }
    throw error;
  }
  const { brokerName } = broker;
  const deliveries: Delivery[] = [];
  const messages: Message[] = [];
  let lease = 0;
  for (const stored of response.messages) {
    while (!holds(response.leases[lease], stored)) lease++;
    const { leaseId, deadlineMs, attempt } = response.leases[lease] as Lease;
    const delivery: Delivery = {
      brokerName,
      topicId: stored.topicId,
      queueId: stored.queueId,
      offset: Number(stored.offset),
      leaseId: Number(leaseId),
      deadlineMs: Number(deadlineMs),
      attempt,
      renewed,
      changes: 0,
    };
    deliveries.push(delivery);
    const delivered = { receiptHandle: writeHandle(delivery), attempt, invisibleMs: leaseMs };
    messages.push(messageOut(stored, brokerName, request.messageQueue?.topic, delivered));
  }
  return messages.length === 0 ? undefined : { broker, messages, deliveries };
}

/** Is a message part of a lease? Leases are in the order of the messages. True behind the last lease. */
function holds(
  lease: Lease | undefined,
  { topicId, queueId, offset }: Pick<Lease, 'topicId' | 'queueId'> & { readonly offset: bigint },
): boolean {
  return (
    lease === undefined ||
    (lease.topicId === topicId &&
      lease.queueId === queueId &&
      lease.firstOffset <= offset &&
      offset < lease.endOffset)
  );
}

function turned<Item>(items: readonly Item[], by: number): Item[] {
  const at = by % items.length;
  return [...items.slice(at), ...items.slice(0, at)];
}

/** Writes the frames of an answer. A client that is gone gets nothing. */
function finish(call: Call, status: Status, messages: readonly Message[], nowMs: number): void {
  if (call.cancelled) return;
  call.write(frame({ case: 'status', value: status }));
  for (const value of messages) call.write(frame({ case: 'message', value }));
  call.write(frame({ case: 'deliveryTimestamp', value: timestampOf(nowMs) }));
  call.end();
}

function frame(content: ReceiveMessageResponse['content']): ReceiveMessageResponse {
  return { $typeName: 'apache.rocketmq.v2.ReceiveMessageResponse', content };
}
