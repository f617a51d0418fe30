// `tern nameserver`: a name server as a process of its own.

import { defineOptions, formatAddress, type OptionDefinitions, systemClock } from '@ternmq/runtime';
import type { Command } from 'commander';
import { fields, jsonLine, outputFormat } from '../output.ts';
import { ownHost } from '../service/advertised-address.ts';
import { runService } from '../service/running.ts';
import { addServiceFlags, SERVICE_OPTIONS, serviceOptions } from '../service/service-options.ts';

/** Completes the command. */
export async function nameserverCommand(command: Command): Promise<void> {
  const { NameServer, NAMESERVER_OPTIONS } = await import('@ternmq/nameserver');
  const definitions = defineOptions({
    ...NAMESERVER_OPTIONS,
    metricsPort: {
      kind: 'int',
      default: 5557,
      min: 0,
      max: 65_535,
      doc: 'Port of /metrics, /healthz and /readyz; 0 for any',
    },
    ...SERVICE_OPTIONS,
  });

  addServiceFlags(command, definitions);
  command
    .addHelpText(
      'after',
      `
Examples:
  $ tern nameserver
  $ tern nameserver --host 0.0.0.0 --nameserver-port 9877 --metrics-port 5558`,
    )
    .action(async (flags) => {
      const format = outputFormat(flags.output);
      const others = [await brokerOptions()];
      const options = serviceOptions(definitions, { flags, env: process.env, others });
      await runService(options, async ({ logger, registry, metricsPort, started }) => {
        const nameServer = await NameServer.create(
          {
            host: options.host,
            port: options.nameserverPort,
            brokerTimeoutMs: options.brokerTimeout,
            topicsMax: options.topicsMax,
            watchersMax: options.watchersMax,
          },
          { clock: systemClock, logger, registry },
        );
        await nameServer.start();
        started(() => nameServer.close());
        const host = ownHost(options.host);
        const nameserver = formatAddress(host, nameServer.port);
        const metrics = formatAddress(host, metricsPort);
        const announcement =
          format === 'json'
            ? jsonLine({ nameserver, metrics })
            : fields([
                ['name server', nameserver],
                ['metrics', `http://${metrics}/metrics`],
              ]);
        return { notReady: () => [], announcement };
      });
    });
}

/** A broker's options may stand in the same environment and file. */
async function brokerOptions(): Promise<OptionDefinitions> {
  return (await import('@ternmq/broker')).BROKER_OPTIONS;
}
