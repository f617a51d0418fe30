// `tern broker`: a broker as a process of its own.

import { defineOptions, formatAddress } from '@ternmq/runtime';
import type { Command } from 'commander';
import { fields, jsonLine, outputFormat } from '../output.ts';
import { ownHost } from '../service/advertised-address.ts';
import { startBroker } from '../service/broker-part.ts';
import { runService } from '../service/running.ts';
import { addServiceFlags, SERVICE_OPTIONS, serviceOptions } from '../service/service-options.ts';

/** Completes the command. */
export async function brokerCommand(command: Command): Promise<void> {
  const [{ Broker, BROKER_OPTIONS }, { NAMESERVER_OPTIONS }] = await Promise.all([
    import('@ternmq/broker'),
    import('@ternmq/nameserver'),
  ]);
  const definitions = defineOptions({ ...BROKER_OPTIONS, ...SERVICE_OPTIONS });

  addServiceFlags(command, definitions);
  command
    .addHelpText(
      'after',
      `
Examples:
  $ tern broker --nameserver 10.0.0.1:9876,10.0.0.2:9876 --host 0.0.0.0 --advertise mq-a.example.com
  $ tern broker --name broker-b --data ./data-b --broker-port 10921 --metrics-port 5567`,
    )
    .action(async (flags) => {
      const format = outputFormat(flags.output);
      const others = [NAMESERVER_OPTIONS];
      const options = serviceOptions(definitions, { flags, env: process.env, others });
      await runService(options, async (starting) => {
        const { address, notReady } = await startBroker(Broker, options, starting);
        const metrics = formatAddress(ownHost(options.host), starting.metricsPort);
        const { name, data, nameserver } = options;
        const announcement =
          format === 'json'
            ? jsonLine({ name, broker: address, metrics, data, nameserver })
            : fields([
                ['broker', `${name} at ${address}`],
                ['name servers', nameserver.join(', ')],
                ['metrics', `http://${metrics}/metrics`],
                ['data', data],
              ]);
        return { notReady, announcement };
      });
    });
}
