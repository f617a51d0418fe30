// DescribeBroker: what the broker is, how far its log is, and how full its disk.

import type { DescribeBrokerResponse } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import type { DiskGuard } from '../disk-guard.ts';
import type { CommitLog } from '../log/commit-log.ts';
import type { FlushMode } from '../log/log-options.ts';
import type { Replicas } from '../replication/replicas.ts';
import type { BrokerState } from '../state/broker-state.ts';
import type { StateWriter } from '../state/state-writer.ts';

/** What a broker is. */
export interface BrokerIdentity {
  readonly name: string;
  readonly id: number;
  readonly version: string;
  readonly flushMode: FlushMode;
  /** How long the broker has been running, in milliseconds. */
  readonly uptimeMs: () => number;
  /** Ranges of the log that were found to be damaged. */
  readonly corruptRanges: () => number;
  /** Its place in its group. */
  readonly standing: () => GroupStanding;
}

/** A broker's place in its group. */
export interface GroupStanding {
  readonly leading: boolean;
  /** It serves consumers in the place of the master. */
  readonly standingIn: boolean;
  readonly epoch: number;
  readonly master: string | undefined;
  readonly divergentBytes: number;
  /** While it leads. */
  readonly replicas: Replicas | undefined;
}

/** What the RPC uses. */
export interface DescribeModules {
  readonly identity: BrokerIdentity;
  readonly log: CommitLog;
  readonly state: BrokerState;
  readonly writer: StateWriter;
  readonly guard: DiskGuard;
}

/** The RPC. */
export function describeBroker(modules: DescribeModules): () => DescribeBrokerResponse {
  const { identity, log, state, writer, guard } = modules;
  return () => {
    const { leading, standingIn, epoch, master, divergentBytes, replicas } = identity.standing();
    return {
      $typeName: 'ternmq.broker.v1.DescribeBrokerResponse',
      name: identity.name,
      id: identity.id,
      version: identity.version,
      uptimeMs: BigInt(Math.round(identity.uptimeMs())),
      flushMode: identity.flushMode,
      logStartPosition: BigInt(log.start),
      writtenPosition: BigInt(log.written),
      durablePosition: BigInt(log.durable),
      visiblePosition: BigInt(log.visible),
      statePosition: BigInt(writer.position),
      diskFreeBytes: BigInt(Math.max(0, guard.freeBytes)),
      diskTotalBytes: BigInt(guard.totalBytes),
      acceptingSends: leading && !guard.refusing && replicas?.refusal() === undefined,
      topics: state.topics.size,
      groups: state.groups.size,
      corruptRanges: identity.corruptRanges(),
      leading,
      standingIn,
      epoch,
      inSync: [...(replicas?.inSync ?? [])],
      replicas: (replicas?.states() ?? []).map(({ id, connected, durable, inSync }) => ({
        $typeName: 'ternmq.broker.v1.ReplicaDescription',
        id,
        connected,
        durablePosition: BigInt(durable),
        lagBytes: BigInt(Math.max(0, log.written - durable)),
        inSync,
      })),
      masterAddress: master ?? '',
      divergentBytes: BigInt(divergentBytes),
    };
  };
}
