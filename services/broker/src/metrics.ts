// What a broker measures, under RocketMQ's names, so that its dashboards work. Values are read from where they
// are kept anyway when somebody asks; the paths of messages only add to plain fields.

import type { Registry } from '@ternmq/runtime';
import type { BrokerOptions } from './config.ts';
import type { DeadLetters } from './delivery/dead-letters.ts';
import type { Delivery } from './delivery/delivery.ts';
import type { LagTimes } from './delivery/lag-times.ts';
import type { DiskGuard } from './disk-guard.ts';
import type { ProduceStreams } from './grpc/produce.ts';
import type { SubscribeStream } from './grpc/subscribe.ts';
import type { CommitLog } from './log/commit-log.ts';
import type { Replicas } from './replication/replicas.ts';
import type { BrokerState } from './state/broker-state.ts';
import { queueProgress } from './state/groups.ts';
import type { StateWriter } from './state/state-writer.ts';
import { isSystemTopic, type Topic } from './state/topics.ts';
import type { TimerRelease } from './timers/timer-release.ts';

/** What is measured. */
export interface MeasuredParts {
  readonly options: BrokerOptions;
  readonly state: BrokerState;
  readonly log: CommitLog;
  readonly writer: StateWriter;
  readonly guard: DiskGuard;
  readonly delivery: Delivery;
  readonly deadLetters: DeadLetters;
  readonly lagTimes: LagTimes;
  readonly produce: ProduceStreams;
  readonly streams: ReadonlyMap<string, SubscribeStream>;
  readonly timers: TimerRelease;
  readonly replicas: Replicas;
}

const NODE = ['cluster', 'node_type', 'node_id'] as const;
const TOPIC = [...NODE, 'topic', 'message_type', 'is_system'] as const;
const GROUP = [...NODE, 'consumer_group', 'topic', 'is_retry', 'is_system'] as const;

/** Registers a broker's metrics. */
export function registerBrokerMetrics(registry: Registry, parts: MeasuredParts): void {
  const { options, state, log, writer, guard, produce, streams, deadLetters } = parts;
  const node = {
    cluster: options.cluster,
    node_type: 'broker',
    node_id: `${options.name}-${options.id}`,
  };
  const ofTopic = (topic: Topic) => ({
    ...node,
    topic: topic.name,
    message_type: 'normal',
    is_system: isSystemTopic(topic.name),
  });

  const gauge = (name: string, help: string, read: () => number): void => {
    registry.gauge(name, help, NODE, (show) => show(read(), node));
  };
  const topicCounter = (name: string, help: string, read: (topic: Topic) => number): void => {
    registry.observedCounter(name, help, TOPIC, (show) => {
      for (const topic of state.topics.all()) show(read(topic), ofTopic(topic));
    });
  };

  gauge('rocketmq_broker_permission', 'What clients may do: 4 read, 2 write', () =>
    guard.refusing ? 4 : 6,
  );
  gauge('rocketmq_topic_number', 'Topics', () => state.topics.size);
  gauge('rocketmq_consumer_group_number', 'Consumer groups', () => state.groups.size);
  gauge('rocketmq_producer_connections', 'Open producer streams', () => produce.open);
  registry.gauge(
    'rocketmq_consumer_connections',
    'Open consumer streams',
    [...NODE, 'consumer_group'],
    (show) => {
      const counts = new Map<string, number>();
      for (const { opening } of streams.values()) {
        const group = opening?.group ?? '';
        counts.set(group, (counts.get(group) ?? 0) + 1);
      }
      for (const [group, count] of counts) show(count, { ...node, consumer_group: group });
    },
  );

  topicCounter('rocketmq_messages_in_total', 'Messages stored', (topic) => topic.messagesIn);
  topicCounter('rocketmq_messages_out_total', 'Messages delivered', (topic) => topic.messagesOut);
  topicCounter('rocketmq_throughput_in_total', 'Bytes of records stored', (topic) => topic.bytesIn);
  topicCounter(
    'rocketmq_throughput_out_total',
    'Bytes of records delivered',
    (topic) => topic.bytesOut,
  );
  registry.observedCounter(
    'rocketmq_send_to_dlq_messages_total',
    'Messages moved to a dead-letter topic',
    [...NODE, 'topic'],
    (show) => {
      for (const [topic, count] of deadLetters.moved) show(count, { ...node, topic });
    },
  );

  registerGroupMetrics(registry, parts, node);

  gauge('rocketmq_timing_messages', 'Delayed messages that wait', () => state.held.pending);
  registry.observedCounter(
    'rocketmq_timer_dequeue_total',
    'Delayed messages moved to their topic when they were due',
    NODE,
    (show) => show(parts.timers.released, node),
  );
  gauge(
    'ternmq_in_sync_members',
    'Members that every acknowledgement waits for',
    () => parts.replicas.inSync.length,
  );
  registry.gauge(
    'ternmq_replica_behind_bytes',
    'Bytes of the log that a slave lacks, as its master knows',
    [...NODE, 'replica'],
    (show) => {
      for (const { id, durable } of parts.replicas.states()) {
        show(Math.max(0, log.written - durable), { ...node, replica: `${id}` });
      }
    },
  );
  gauge('rocketmq_storage_size', 'Bytes of the log that are kept', () => log.written - log.start);
  gauge('rocketmq_storage_flush_behind_bytes', 'Bytes written and not yet durable', () =>
    Math.max(0, log.written - log.durable),
  );
  gauge(
    'rocketmq_storage_dispatch_behind_bytes',
    'Bytes durable and not yet in the state store',
    () => Math.max(0, log.durable - writer.position),
  );
  gauge(
    'rocketmq_storage_message_reserve_time',
    'Age of the oldest segment kept, in milliseconds',
    () =>
      Math.max(0, state.lastTimeMs - Math.min(state.lastTimeMs, ...state.segmentTimes.values())),
  );
  gauge(
    'ternmq_disk_free_bytes',
    'Free bytes of the disk that holds the data',
    () => guard.freeBytes,
  );
  gauge(
    'ternmq_produce_frames_waiting',
    'Frames that wait until they are durable enough',
    () => produce.unanswered,
  );
  registry.observedCounter('ternmq_log_syncs_total', 'fdatasync calls of the log', NODE, (show) =>
    show(log.stats.syncs, node),
  );
  registry.observedCounter(
    'ternmq_log_corrupt_reads_total',
    'Reads of damaged records',
    NODE,
    (show) => show(log.read.corruptReads, node),
  );
}

/** Lag and what is in flight, by group and topic. */
function registerGroupMetrics(
  registry: Registry,
  { state, lagTimes }: MeasuredParts,
  node: Readonly<Record<string, string>>,
): void {
  interface Sums {
    lag: number;
    inFlight: number;
    ready: number;
    /** Ages in milliseconds. */
    lagMs: number;
    queueingMs: number;
  }
  registry.prepare(() => lagTimes.refresh());
  const sums = (visit: (sums: Sums, labels: Record<string, string | boolean>) => void): void => {
    for (const progress of state.groups.allProgress()) {
      const topic = state.topics.findById(progress.topicId);
      const group = state.groups.findById(progress.groupId);
      // A broadcasting member is no group: its series would have no end.
      if (topic === undefined || group === undefined || progress.consumerId !== '') continue;
      const sum: Sums = { lag: 0, inFlight: 0, ready: 0, lagMs: 0, queueingMs: 0 };
      for (const queue of topic.queues) {
        const inQueue = queueProgress(progress, queue.queueId);
        const { next, inFlight, waitingForRetry } = inQueue;
        const ready = Math.max(0, queue.visibleEnd - Math.max(next, queue.begin));
        sum.ready += ready;
        sum.inFlight += inFlight;
        sum.lag += ready + inFlight + waitingForRetry;
        const { unsettledMs, undeliveredMs } = lagTimes.known(inQueue, queue);
        sum.lagMs = Math.max(sum.lagMs, unsettledMs);
        sum.queueingMs = Math.max(sum.queueingMs, undeliveredMs);
      }
      visit(sum, {
        ...node,
        consumer_group: group.name,
        topic: topic.name,
        is_retry: false,
        is_system: isSystemTopic(topic.name),
      });
    }
  };
  const gauge = (name: string, help: string, read: (sum: Sums) => number): void => {
    registry.gauge(name, help, GROUP, (show) => sums((sum, labels) => show(read(sum), labels)));
  };
  gauge('rocketmq_consumer_lag_messages', 'Messages not settled', (sum) => sum.lag);
  gauge(
    'rocketmq_consumer_lag_latency',
    'Age of the oldest message not settled, in milliseconds',
    (sum) => sum.lagMs,
  );
  gauge(
    'rocketmq_consumer_queueing_latency',
    'Age of the oldest message never delivered, in milliseconds',
    (sum) => sum.queueingMs,
  );
  gauge(
    'rocketmq_consumer_inflight_messages',
    'Messages leased to consumers',
    (sum) => sum.inFlight,
  );
  gauge('rocketmq_consumer_ready_messages', 'Messages never delivered', (sum) => sum.ready);
}
