// The messages of a member that pulls and shares queues, and the names of the ways to share them.

import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  AssignmentStrategy,
  AssignQueuesRequestSchema,
  AssignQueuesResponseSchema,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import type { StartPoint } from '../message.ts';
import { targetOf } from './subscription-opening.ts';

const STRATEGIES = {
  average: AssignmentStrategy.AVERAGE,
  circle: AssignmentStrategy.CIRCLE,
  consistentHash: AssignmentStrategy.CONSISTENT_HASH,
  machineRoom: AssignmentStrategy.MACHINE_ROOM,
} as const;

/** How members share queues. */
export type StrategyName = keyof typeof STRATEGIES;

/** Who joins what, and how. */
export interface AssignmentOpening {
  readonly group: string;
  readonly topic: string;
  readonly consumerId: string;
  readonly strategy: StrategyName;
  /** The machine room; empty for strategies that do not ask. */
  readonly room: string;
  readonly from: StartPoint;
}

/** Where a group's progress is in a queue. */
export interface QueuePlace {
  readonly queueId: number;
  readonly offset: number;
  /** Names the last time that somebody else than a member has set the progress. */
  readonly generation: bigint;
  /** Names the stream that told so. */
  readonly session: bigint;
}

/** What a member may read from now on. */
export interface Assignment {
  readonly generation: bigint;
  readonly queues: readonly QueuePlace[];
}

/** Is there a strategy of this name? */
export function isStrategy(name: string): name is StrategyName {
  return Object.hasOwn(STRATEGIES, name);
}

/** The name of a strategy; `average` for one that this SDK does not know. */
export function strategyOf(strategy: AssignmentStrategy): StrategyName {
  const names = Object.keys(STRATEGIES).filter(isStrategy);
  return names.find((name) => STRATEGIES[name] === strategy) ?? 'average';
}

/** Encodes the message that joins. */
export function encodeJoin(opening: AssignmentOpening): Buffer {
  const request = create(AssignQueuesRequestSchema, {
    open: {
      ...opening,
      strategy: STRATEGIES[opening.strategy],
      from: targetOf(opening.from),
    },
  });
  return Buffer.from(toBinary(AssignQueuesRequestSchema, request));
}

/** Encodes that queues were let go of. */
export function encodeReleased(releasedGeneration: bigint): Buffer {
  const request = create(AssignQueuesRequestSchema, { releasedGeneration });
  return Buffer.from(toBinary(AssignQueuesRequestSchema, request));
}

/** Reads what the broker assigns. */
export function readAssignment(bytes: Buffer): Assignment {
  const { generation, queues, session } = fromBinary(AssignQueuesResponseSchema, bytes);
  return {
    generation,
    queues: queues.map((queue) => ({
      queueId: queue.queueId,
      offset: Number(queue.offset),
      generation: queue.generation ?? 0n,
      session,
    })),
  };
}
