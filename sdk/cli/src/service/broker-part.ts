// Starts a broker as a part of a service.

import type { BrokerOptions } from '@ternmq/broker';
import { formatAddress, nodeDisk, systemClock, systemRandom } from '@ternmq/runtime';
import { VERSION } from '../version.ts';
import { advertisedHost, checkAdvertised, ownHost } from './advertised-address.ts';
import type { Starting } from './running.ts';

type BrokerClass = typeof import('@ternmq/broker').Broker;

/** A broker that runs. */
export interface RunningBroker {
  /** Where clients reach it. */
  readonly address: string;
  /** Where clients of RocketMQ 5 reach it; undefined when they are not served. */
  readonly rocketmq: string | undefined;
  readonly notReady: () => readonly string[];
}

/** Starts a broker; it ends the process when it can no longer keep its promises. */
export async function startBroker(
  Broker: BrokerClass,
  options: BrokerOptions,
  { logger, registry, started }: Starting,
): Promise<RunningBroker> {
  const broker = await Broker.open(
    { ...options, advertise: advertisedHost(options, logger) },
    {
      clock: systemClock,
      disk: nodeDisk,
      random: systemRandom,
      logger,
      registry,
      version: VERSION,
      fatal(error) {
        logger.fatal({ error }, 'the broker can keep no promise any more and stops at once');
        process.exit(1);
      },
    },
  );
  started(() => broker.close());
  void checkAdvertised(broker.address, logger);
  const { address, rocketmqPort } = broker;
  return {
    address,
    rocketmq:
      rocketmqPort === undefined ? undefined : formatAddress(ownHost(options.host), rocketmqPort),
    notReady: () => broker.notReady(),
  };
}
