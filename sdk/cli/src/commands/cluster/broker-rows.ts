// The brokers of a cluster, as the name server and they themselves see them.

import type { BrokerDescription, Client, RouteBroker } from '@ternmq/sdk';

/** A broker. */
export interface BrokerRow extends RouteBroker {
  /** What it tells of itself; absent when it did not answer. */
  readonly details?: BrokerDescription;
  /** Why it did not answer. */
  readonly error?: string;
}

/** Asks the name server, and every broker that it knows. */
export async function brokerRows(
  client: Client,
  options: { readonly deadlineMs: number },
): Promise<BrokerRow[]> {
  const brokers = await client.admin.describeCluster(options);
  return Promise.all(
    brokers.map(async (broker): Promise<BrokerRow> => {
      try {
        const { name, id } = broker;
        const details = await client.admin.describeBroker(name, { ...options, id });
        return { ...broker, details };
      } catch (error) {
        return { ...broker, error: (error as Error).message };
      }
    }),
  );
}
