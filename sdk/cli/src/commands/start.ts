// `tern start`: a name server and a broker in one process.

import { defineOptions, formatAddress, systemClock } from '@ternmq/runtime';
import type { Command } from 'commander';
import { outputFormat } from '../output.ts';
import { ownHost } from '../service/advertised-address.ts';
import { startBroker } from '../service/broker-part.ts';
import { runService } from '../service/running.ts';
import { addServiceFlags, SERVICE_OPTIONS, serviceOptions } from '../service/service-options.ts';
import { startAnnouncement } from '../service/start-announcement.ts';

/** Completes the command. */
export async function startCommand(command: Command): Promise<void> {
  const [{ Broker, BROKER_OPTIONS }, { NameServer, NAMESERVER_OPTIONS }] = await Promise.all([
    import('@ternmq/broker'),
    import('@ternmq/nameserver'),
  ]);
  // The broker reports to the name server beside it, as the only member of its group.
  const { nameserver: _, id: __, ...brokerOptions } = BROKER_OPTIONS;
  const definitions = defineOptions({
    ...NAMESERVER_OPTIONS,
    ...brokerOptions,
    host: {
      ...BROKER_OPTIONS.host,
      doc: 'Address to listen on; 0.0.0.0 for all, and then set --advertise as well',
    },
    autoCreateTopics: { ...BROKER_OPTIONS.autoCreateTopics, default: true },
    ...SERVICE_OPTIONS,
  });

  addServiceFlags(command, definitions);
  command
    .addHelpText(
      'after',
      `
Examples:
  $ tern start
  $ tern start --data /var/lib/ternmq --flush async
  $ tern start --host 0.0.0.0 --advertise mq.example.com
  $ tern start --nameserver-port 0 --broker-port 0 --rocketmq-port 0 --metrics-port 0 -o json`,
    )
    .action(async (flags) => {
      const format = outputFormat(flags.output);
      const options = serviceOptions(definitions, {
        flags,
        env: process.env,
        others: [BROKER_OPTIONS],
      });
      await runService(options, async (starting) => {
        const { logger, registry, metricsPort, started } = starting;
        const nameServer = await NameServer.create(
          {
            host: options.host,
            port: options.nameserverPort,
            brokerTimeoutMs: options.brokerTimeout,
            topicsMax: options.topicsMax,
            watchersMax: options.watchersMax,
            // Its only broker starts with it, so it knows all there are.
            warmUpMs: 0,
          },
          { clock: systemClock, logger, registry },
        );
        await nameServer.start();
        started(() => nameServer.close());
        const nameserver = formatAddress(ownHost(options.host), nameServer.port);
        const { address, rocketmq, notReady } = await startBroker(
          Broker,
          { ...options, nameserver: [nameserver], id: 0 },
          starting,
        );
        const metrics = formatAddress(ownHost(options.host), metricsPort);
        const places = { nameserver, broker: address, rocketmq, metrics, data: options.data };
        return { notReady, announcement: startAnnouncement(places, format) };
      });
    });
}
