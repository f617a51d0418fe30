// Takes the state from the rows of a store, or of a snapshot.

import { fromBinary } from '@bufbuild/protobuf';
import { ProgressStartedSchema } from '@ternmq/proto/gen/ternmq/log/v1/log_pb';
import { QueueProgress } from '../progress/queue-progress.ts';
import type { BrokerState } from './broker-state.ts';
import { decodeGroup, queueProgress } from './groups.ts';
import {
  heldChunkIn,
  idOf,
  offsetIn,
  producerIn,
  queueIdIn,
  resentChunkIn,
  segmentStartIn,
  Table,
  tableEnd,
  tableStart,
} from './keys.ts';
import { decodeMeta, type StateMeta } from './meta-row.ts';
import { ProducerSequence } from './producer-sequence.ts';
import type { StateStore, StoreView } from './store.ts';
import { decodeTopic } from './topics.ts';

/** Takes what the tables say; returns up to where they hold, or undefined when the store is new. */
export function loadState(
  state: BrokerState,
  source: StateStore | StoreView,
): StateMeta | undefined {
  for (const { value } of source.range(tableStart(Table.TOPICS), tableEnd(Table.TOPICS))) {
    state.adoptHeldTopic(state.topics.put(decodeTopic(value)));
  }
  for (const { value } of source.range(tableStart(Table.GROUPS), tableEnd(Table.GROUPS))) {
    state.groups.put(decodeGroup(value));
  }
  for (const { key, value } of source.range(tableStart(Table.QUEUES), tableEnd(Table.QUEUES))) {
    state.topics.findById(idOf(key))?.queues[queueIdIn(key)]?.restore(value);
  }
  for (const { key, value } of source.range(
    tableStart(Table.PRODUCERS),
    tableEnd(Table.PRODUCERS),
  )) {
    const queue = state.topics.findById(idOf(key))?.queues[queueIdIn(key)];
    if (queue === undefined) continue;
    queue.producers ??= new Map();
    queue.producers.set(producerIn(key), ProducerSequence.decode(value));
  }
  for (const { value } of source.range(tableStart(Table.PROGRESS), tableEnd(Table.PROGRESS))) {
    const row = fromBinary(ProgressStartedSchema, value);
    const { progressId, groupId, topicId, consumerId, seenMs, tags, sql } = row;
    state.groups.start(progressId, groupId, topicId, consumerId, Number(seenMs), { tags, sql });
  }
  for (const { key, value } of source.range(tableStart(Table.FLOORS), tableEnd(Table.FLOORS))) {
    const progress = state.groups.findProgress(idOf(key));
    if (progress !== undefined) progress.queues[queueIdIn(key)] = QueueProgress.decode(value);
  }
  for (const { key, value } of source.range(tableStart(Table.RETRIES), tableEnd(Table.RETRIES))) {
    const progress = state.groups.findProgress(idOf(key));
    if (progress !== undefined) {
      queueProgress(progress, queueIdIn(key)).decodeRetry(offsetIn(key), value);
    }
  }
  for (const { key, value } of source.range(tableStart(Table.SEGMENTS), tableEnd(Table.SEGMENTS))) {
    state.segmentTimes.restore(segmentStartIn(key), value.readDoubleLE(0));
  }
  for (const { key, value } of source.range(
    tableStart(Table.RELOCATED),
    tableEnd(Table.RELOCATED),
  )) {
    const queue = state.topics.findById(idOf(key))?.queues[queueIdIn(key)];
    if (queue === undefined) continue;
    queue.relocate(offsetIn(key), {
      position: value.readDoubleLE(0),
      length: value.readDoubleLE(8),
      label: value.readDoubleLE(16),
    });
    state.relocating.add(queue);
  }
  for (const { key, value } of source.range(
    tableStart(Table.HELD_DONE),
    tableEnd(Table.HELD_DONE),
  )) {
    state.held.restore(heldChunkIn(key), value);
  }
  for (const { value } of source.range(
    tableStart(Table.TRANSACTIONS),
    tableEnd(Table.TRANSACTIONS),
  )) {
    state.transactions.restore(value);
  }
  for (const { key, value } of source.range(tableStart(Table.RESENT), tableEnd(Table.RESENT))) {
    const queue = state.topics.findById(idOf(key))?.queues[queueIdIn(key)];
    if (queue !== undefined) state.resent.restore(queue, resentChunkIn(key), value);
  }
  for (const { key, value } of source.range(tableStart(Table.EPOCHS), tableEnd(Table.EPOCHS))) {
    state.epochs.restore(idOf(key), value);
  }
  for (const { key } of source.range(tableStart(Table.DOOMED), tableEnd(Table.DOOMED))) {
    state.doomed.add(idOf(key));
  }
  for (const { value } of source.range(tableStart(Table.META), tableEnd(Table.META))) {
    return decodeMeta(state, value);
  }
  return undefined;
}
