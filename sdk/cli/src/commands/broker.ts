// `tern broker`: a broker as a process of its own.

import { defineOptions, formatAddress } from '@ternmq/runtime';
import type { Command } from 'commander';
import { wholeNumber } from '../arguments.ts';
import { addClientCommand, type ClientCall } from '../client-command.ts';
import { fields, jsonLine, outputFormat, print } from '../output.ts';
import { ownHost } from '../service/advertised-address.ts';
import { startBroker } from '../service/broker-part.ts';
import { runService } from '../service/running.ts';
import { addServiceFlags, SERVICE_OPTIONS, serviceOptions } from '../service/service-options.ts';
import { leaderOf } from './cluster.ts';

/** `tern broker drain`: a member leads no more, before it is stopped. */
function drainCommand(command: Command): void {
  addClientCommand(
    command,
    {
      usage: 'drain <broker>',
      summary: 'give the leadership of a member away before it is stopped, without a failed send',
      examples: ['tern broker drain broker-a --member 0'],
    },
    (drain) =>
      drain.requiredOption('--member <id>', 'The member that is to be stopped', wholeNumber(0)),
    async ({
      client,
      args: [name = ''],
      flags,
      format,
      options,
    }: ClientCall<{ member: number }>) => {
      const { member } = flags;
      const { leading } = await client.admin.describeBroker(name, { ...options, id: member });
      let leader: number | undefined;
      if (leading) {
        leader = await client.admin.moveLeadership(name, options);
        await leaderOf(client, name, leader, options);
      }
      await print(
        format === 'json'
          ? jsonLine({
              broker: name,
              member,
              moved: leading,
              ...(leader === undefined ? {} : { leader }),
            })
          : leading
            ? `member ${leader} of ${name} leads now; member ${member} may be stopped\n`
            : `member ${member} of ${name} does not lead; it may be stopped\n`,
      );
    },
  );
}

/** Completes the command. */
export async function brokerCommand(command: Command): Promise<void> {
  const [{ Broker, BROKER_OPTIONS }, { NAMESERVER_OPTIONS }] = await Promise.all([
    import('@ternmq/broker'),
    import('@ternmq/nameserver'),
  ]);
  const definitions = defineOptions({ ...BROKER_OPTIONS, ...SERVICE_OPTIONS });

  drainCommand(command);
  addServiceFlags(command, definitions);
  command
    .addHelpText(
      'after',
      `
Examples:
  $ tern broker --nameserver 10.0.0.1:9876,10.0.0.2:9876 --host 0.0.0.0 --advertise mq-a.example.com
  $ tern broker --name broker-b --data ./data-b --broker-port 10921 --rocketmq-port 8091 --metrics-port 5567`,
    )
    .action(async (flags) => {
      const format = outputFormat(flags.output);
      const others = [NAMESERVER_OPTIONS];
      const options = serviceOptions(definitions, { flags, env: process.env, others });
      await runService(options, async (starting) => {
        const { address, rocketmq, notReady } = await startBroker(Broker, options, starting);
        const metrics = formatAddress(ownHost(options.host), starting.metricsPort);
        const { name, data, nameserver } = options;
        const announcement =
          format === 'json'
            ? jsonLine({ name, broker: address, rocketmq, metrics, data, nameserver })
            : fields([
                ['broker', `${name} at ${address}`],
                ['name servers', nameserver.join(', ')],
                ...(rocketmq === undefined ? [] : [['RocketMQ 5', rocketmq] as const]),
                ['metrics', `http://${metrics}/metrics`],
                ['data', data],
              ]);
        return { notReady, announcement };
      });
    });
}
