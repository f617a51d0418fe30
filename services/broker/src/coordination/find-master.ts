// Where the master of a broker group is, as the name servers know it.

import { Client, credentials } from '@grpc/grpc-js';
import {
  type Broker,
  BrokerRole,
  NameServerService,
} from '@ternmq/proto/gen/ternmq/nameserver/v1/nameserver_pb';
import { type Clock, callUnary } from '@ternmq/runtime';

const DEADLINE_MS = 2000;

/** Asks every name server; the master with the highest epoch counts. Rejects when none answers. */
export async function findMaster(
  nameservers: readonly string[],
  brokerName: string,
  clock: Clock,
): Promise<string | undefined> {
  const answers = await Promise.allSettled(nameservers.map((address) => mastersAt(address, clock)));
  if (answers.every(({ status }) => status === 'rejected'))
    throw new Error('no name server answers');
  let newest: Broker | undefined;
  for (const answer of answers) {
    if (answer.status === 'rejected') continue;
    for (const broker of answer.value) {
      if (broker.name !== brokerName || broker.role !== BrokerRole.MASTER) continue;
      if (newest === undefined || broker.epoch > newest.epoch) newest = broker;
    }
  }
  return newest?.address;
}

async function mastersAt(address: string, clock: Clock): Promise<Broker[]> {
  const client = new Client(address, credentials.createInsecure(), {
    'grpc.use_local_subchannel_pool': 1,
    'grpc.enable_http_proxy': 0,
  });
  try {
    const { brokers } = await callUnary(
      client,
      NameServerService.method.describeCluster,
      {},
      { deadline: clock.nowMs() + DEADLINE_MS },
    );
    return brokers.map(({ broker }) => broker).filter((broker) => broker !== undefined);
  } finally {
    client.close();
  }
}
