// AckMessage, ChangeInvisibleDuration and ForwardMessageToDeadLetterQueue: what clients say of deliveries, as settlements of
// the broker that leased the messages.

import type { handleUnaryCall } from '@grpc/grpc-js';
import { Code, type Status } from '@ternmq/proto/gen/apache/rocketmq/v2/definition_pb';
import {
  type AckMessageEntry,
  type AckMessageRequest,
  AckMessageResponseSchema,
  type ChangeInvisibleDurationRequest,
  ChangeInvisibleDurationResponseSchema,
  type ForwardMessageToDeadLetterQueueRequest,
  ForwardMessageToDeadLetterQueueResponseSchema,
} from '@ternmq/proto/gen/apache/rocketmq/v2/service_pb';
import { BrokerService } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { Settlement_Action } from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import { type Clock, TernError } from '@ternmq/runtime';
import { answered } from './answered.ts';
import type { BrokerLink } from './broker-link.ts';
import { type Brokers, reachable } from './brokers.ts';
import type { Caller } from './caller.ts';
import type { Clients } from './clients.ts';
import { type Deliveries, settlementOf } from './deliveries.ts';
import { type Delivery, readHandle, writeHandle } from './receipt-handle.ts';
import { INVISIBLE_MS_MAX } from './receive-message.ts';
import { groupNameOf, topicNameOf } from './resource.ts';
import { msOf } from './settings.ts';
import { failureStatus, okStatus, Refused, statusWith } from './status.ts';

const ENTRIES_MAX = 1000;

/** What the RPCs use. */
export interface SettleModules {
  readonly brokers: Brokers;
  readonly clients: Clients;
  readonly deliveries: Deliveries;
  readonly clock: Clock;
}

/** A delivery, and who leased it. */
interface Found {
  readonly delivery: Delivery;
  readonly link: BrokerLink;
}

/** AckMessage. */
export function ackMessage(modules: SettleModules): handleUnaryCall<AckMessageRequest, unknown> {
  return answered(AckMessageResponseSchema, async (request: AckMessageRequest, caller) => {
    modules.clients.heard(caller.clientId);
    const group = groupNameOf(request.group, caller.namespace);
    const topic = topicNameOf(request.topic, caller.namespace);
    if (request.entries.length > ENTRIES_MAX) {
      throw new Refused(Code.BAD_REQUEST, `a request acknowledges at most ${ENTRIES_MAX} messages`);
    }
    const statuses = await acknowledge(modules, topic, group, request.entries, caller);
    const entries = request.entries.map(({ messageId, receiptHandle }, index) => ({
      messageId,
      receiptHandle,
      status: statuses[index] as Status,
    }));
    return { status: togetherOf(statuses), entries };
  });
}

/** ChangeInvisibleDuration: the delivery ends at another time, and has another handle from then on. */
export function changeInvisibleDuration(
  modules: SettleModules,
): handleUnaryCall<ChangeInvisibleDurationRequest, unknown> {
  const { clients, deliveries, clock } = modules;
  return answered(
    ChangeInvisibleDurationResponseSchema,
    async (request: ChangeInvisibleDurationRequest, caller) => {
      clients.heard(caller.clientId);
      const { receiptHandle } = request;
      try {
        const group = groupNameOf(request.group, caller.namespace);
        const topic = topicNameOf(request.topic, caller.namespace);
        const ms = msOf(request.invisibleDuration) ?? 0;
        if (ms < 0 || ms > INVISIBLE_MS_MAX) {
          throw new Refused(
            Code.ILLEGAL_INVISIBLE_TIME,
            `the invisibleTime is too ${ms < 0 ? 'small' : 'large'}; it is 0 to ${INVISIBLE_MS_MAX / 3_600_000} hours`,
          );
        }
        const { delivery, link } = await find(modules, topic, group, receiptHandle, caller);
        const delayMs = Math.max(1, Math.round(ms));
        await settleOne(link, group, delivery, Settlement_Action.EXTEND, delayMs, caller);
        const changed = {
          ...delivery,
          deadlineMs: clock.nowMs() + delayMs,
          // The client has said when it ends: nobody renews it any more.
          renewed: false,
          changes: delivery.changes + 1,
        };
        deliveries.change(caller.clientId, group, changed, link);
        return { receiptHandle: writeHandle(changed) };
      } catch (error) {
        // Java and Python keep the returned handle before they look at the status.
        return { status: failureStatus(error), receiptHandle };
      }
    },
  );
}

/** ForwardMessageToDeadLetterQueue. */
export function forwardToDeadLetters(
  modules: SettleModules,
): handleUnaryCall<ForwardMessageToDeadLetterQueueRequest, unknown> {
  return answered(
    ForwardMessageToDeadLetterQueueResponseSchema,
    async (request: ForwardMessageToDeadLetterQueueRequest, caller) => {
      modules.clients.heard(caller.clientId);
      const group = groupNameOf(request.group, caller.namespace);
      const topic = topicNameOf(request.topic, caller.namespace);
      const { delivery, link } = await find(modules, topic, group, request.receiptHandle, caller);
      await settleOne(link, group, delivery, Settlement_Action.DEAD_LETTER, 0, caller);
      modules.deliveries.settled(caller.clientId, group, delivery);
      return {};
    },
  );
}

/** The delivery of a handle, and its broker. Throws Refused (INVALID_RECEIPT_HANDLE). */
async function find(
  { brokers, deliveries }: SettleModules,
  topic: string,
  group: string,
  receiptHandle: string,
  { clientId }: Caller,
): Promise<Found> {
  const delivery = readHandle(receiptHandle);
  if (deliveries.isVoid(clientId, group, delivery)) {
    throw new Refused(
      Code.INVALID_RECEIPT_HANDLE,
      'the delivery of this handle has ended, is settled, or has a newer handle',
    );
  }
  const { brokerName } = delivery;
  const { link } = reachable(await brokers.find(topic, brokerName), brokerName, topic);
  return { delivery, link };
}

async function settleOne(
  link: BrokerLink,
  group: string,
  delivery: Delivery,
  action: Settlement_Action,
  delayMs: number,
  caller: Caller,
): Promise<void> {
  const settlements = [settlementOf(delivery, action, delayMs)];
  const { failures } = await link.call(BrokerService.method.settle, { group, settlements }, caller);
  const [failure] = failures;
  if (failure === undefined) return;
  throw new TernError('FAILED_PRECONDITION', failure.reason, failure.message);
}

/** Acknowledges deliveries, those of a broker with one call; a status for each, in their order. */
async function acknowledge(
  modules: SettleModules,
  topic: string,
  group: string,
  entries: readonly AckMessageEntry[],
  caller: Caller,
): Promise<Status[]> {
  const statuses: Status[] = [];
  const calls = new Map<string, { link: BrokerLink; indexes: number[]; deliveries: Delivery[] }>();
  for (const [index, { receiptHandle }] of entries.entries()) {
    try {
      const { delivery, link } = await find(modules, topic, group, receiptHandle, caller);
      const call = calls.get(link.brokerName) ?? { link, indexes: [], deliveries: [] };
      calls.set(link.brokerName, call);
      call.indexes.push(index);
      call.deliveries.push(delivery);
      statuses[index] = okStatus();
    } catch (error) {
      statuses[index] = failureStatus(error);
    }
  }
  const settled = [...calls.values()].map(async ({ link, indexes, deliveries }) => {
    const settlements = deliveries.map((delivery) =>
      settlementOf(delivery, Settlement_Action.ACKNOWLEDGE, 0),
    );
    try {
      const { failures } = await link.call(
        BrokerService.method.settle,
        { group, settlements },
        caller,
      );
      for (const { settlement, reason, message } of failures) {
        const at = settlements.findIndex(
          ({ queueId, firstOffset, leaseId }) =>
            queueId === settlement?.queueId &&
            firstOffset === settlement.firstOffset &&
            leaseId === settlement.leaseId,
        );
        const index = indexes[at];
        if (index === undefined) continue;
        statuses[index] = failureStatus(new TernError('FAILED_PRECONDITION', reason, message));
      }
    } catch (error) {
      for (const index of indexes) statuses[index] = failureStatus(error);
    }
    for (const [at, delivery] of deliveries.entries()) {
      if (statuses[indexes[at] as number]?.code !== Code.OK) continue;
      modules.deliveries.settled(caller.clientId, group, delivery);
    }
  });
  await Promise.all(settled);
  return statuses;
}

/** One status for several: theirs when they are alike. */
export function togetherOf(statuses: readonly Status[]): Status {
  const [first] = statuses;
  if (first === undefined) return okStatus();
  if (statuses.every(({ code }) => code === first.code)) return first;
  return statusWith(Code.MULTIPLE_RESULTS, 'see the entries');
}
