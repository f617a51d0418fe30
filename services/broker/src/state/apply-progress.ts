// Applies the records of deliveries and settlements to the groups' progress.

import {
  type Leased,
  type ProgressSet,
  type Settled,
  SettledOutcome,
  type StateRecord,
} from '@ternmq/proto/gen/ternmq/log/v1/log_pb';
import { HELD_MS } from '../progress/retry-table.ts';
import type { BrokerState } from './broker-state.ts';
import type { Group } from './groups.ts';
import { applyMerged } from './settled-elsewhere.ts';

/** A change of what is delivered and settled, or of how far a group is. */
export type ProgressChange = Extract<
  StateRecord['change'],
  { case: 'leased' | 'settled' | 'progressMerged' | 'progressSet' }
>;

/** Applies a change that stands at a position of the log. */
export function applyProgress(state: BrokerState, change: ProgressChange, position: number): void {
  switch (change.case) {
    case 'leased':
      applyLeased(state, change.value, position);
      return;
    case 'settled':
      applySettled(state, change.value);
      return;
    case 'progressMerged':
      applyMerged(state, change.value, position);
      return;
    case 'progressSet':
      applyProgressSet(state, change.value);
      return;
    default:
      change satisfies never;
  }
}

/**
 * Messages are handed to a consumer.
 *
 * @param position the record's position, which is the lease id
 */
function applyLeased(state: BrokerState, leased: Leased, position: number): void {
  const { consumerId, streaming } = leased;
  const deadlineMs = Number(leased.deadlineMs);
  for (const range of leased.ranges) {
    const progress = state.groups.findProgress(range.progressId);
    if (progress === undefined) continue;
    const queue = state.changeQueue(progress, range.queueId);
    const first = Number(range.firstOffset);
    if (range.attempt > 1 || first < queue.next) {
      queue.leaseRetry(first, position, deadlineMs, consumerId, streaming);
    } else {
      const unmatched = range.unmatched.length === 0 ? undefined : range.unmatched;
      const end = Number(range.endOffset);
      const held = range.held.length === 0 ? undefined : range.held;
      queue.lease(first, end, position, deadlineMs, consumerId, streaming, unmatched, held);
    }
  }
}

/** Messages are settled. */
function applySettled(state: BrokerState, settled: Settled): void {
  for (const range of settled.ranges) {
    const progress = state.groups.findProgress(range.progressId);
    if (progress === undefined) continue;
    const queue = state.changeQueue(progress, range.queueId);
    const first = Number(range.firstOffset);
    const end = Number(range.endOffset);
    const leaseId = Number(range.leaseId);
    switch (range.outcome) {
      case SettledOutcome.ACKNOWLEDGED:
        queue.acknowledge(first, end, leaseId);
        break;
      case SettledOutcome.RETRY:
        queue.retry(first, end, leaseId, Number(range.atMs));
        break;
      case SettledOutcome.EXTENDED:
        queue.extend(first, end, leaseId, Number(range.atMs));
        break;
      case SettledOutcome.RETURNED:
        queue.giveBack(first, end, leaseId, Number(range.atMs));
        break;
      case SettledOutcome.RESUMED:
        queue.resume(first, Number(range.atMs));
        break;
      case SettledOutcome.DROPPED:
        for (let offset = first; offset < end; offset++) queue.remove(offset);
        break;
    }
  }
}

/** A group's progress is set. */
function applyProgressSet(state: BrokerState, set: ProgressSet): void {
  const progress = state.groups.findProgress(set.progressId);
  if (progress === undefined) return;
  for (const { queueId, offset } of set.offsets) {
    const queue = state.changeQueue(progress, queueId);
    queue.set(Number(offset));
    if (set.generation > 0n) queue.generation = Number(set.generation);
  }
}

/** A group is ordered no more: what waits for its ordering key need not. */
export function letGoOfOrder(state: BrokerState, group: Group): void {
  for (const progress of group.progress.values()) {
    for (const [queueId, queue] of progress.queues.entries()) {
      const held: number[] = [];
      queue?.forEachUnsettled((offset) => {
        if (queue.waiting(offset)?.dueMs === HELD_MS) held.push(offset);
      });
      for (const offset of held) state.changeQueue(progress, queueId).resume(offset, 0);
    }
  }
}
