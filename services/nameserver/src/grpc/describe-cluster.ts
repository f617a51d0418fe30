import { create } from '@bufbuild/protobuf';
import { DescribeClusterResponseSchema } from '@ternmq/proto/gen/ternmq/nameserver/v1/nameserver_pb';
import { type Clock, unary } from '@ternmq/runtime';
import type { Cluster } from '../routes/cluster.ts';

/** Lists all brokers. */
export function describeCluster(
  cluster: Cluster,
  clock: Clock,
  age: () => { readonly uptimeMs: number; readonly warmingUp: boolean },
) {
  return unary(() => {
    const { uptimeMs, warmingUp } = age();
    return create(DescribeClusterResponseSchema, {
      brokers: cluster.describe(clock.monotonicMs()),
      uptimeMs: BigInt(Math.round(uptimeMs)),
      warmingUp,
    });
  });
}
