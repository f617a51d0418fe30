// `tern cluster`: what is there.

import type { BrokerDescription, RouteBroker } from '@ternmq/sdk';
import type { Command } from 'commander';
import { addClientCommand } from '../client-command.ts';
import { PartialFailure } from '../exit-code.ts';
import { sizeText, spanText } from '../format.ts';
import { jsonLine, print, table } from '../output.ts';

interface BrokerRow extends RouteBroker {
  /** What it tells of itself; absent when it did not answer. */
  readonly details?: BrokerDescription;
  /** Why it did not answer. */
  readonly error?: string;
}

/** Completes the command. */
export function clusterCommand(command: Command): void {
  addClientCommand(
    command,
    {
      usage: 'info',
      summary: 'show the brokers, as the name server and they themselves see them',
      examples: ['tern cluster info', 'tern cluster info --nameserver 10.0.0.1:9876 -o json'],
    },
    () => {},
    async ({ client, format, options }) => {
      const brokers = await client.admin.describeCluster(options);
      const rows = await Promise.all(
        brokers.map(async (broker): Promise<BrokerRow> => {
          if (!broker.master) return broker;
          try {
            const details = await client.admin.describeBroker(broker.name, options);
            return { ...broker, details };
          } catch (error) {
            return { ...broker, error: (error as Error).message };
          }
        }),
      );
      await print(format === 'json' ? jsonLine({ brokers: rows }) : brokerTable(rows));
      const silent = rows.filter(({ error }) => error !== undefined);
      if (silent.length > 0) {
        const [first] = silent;
        throw new PartialFailure(
          `${silent.length} of ${rows.length} brokers did not answer; ${first?.name}: ${first?.error}`,
        );
      }
    },
  );
}

function brokerTable(rows: readonly BrokerRow[]): string {
  return table(rows, [
    { title: 'broker', value: ({ name }) => name },
    { title: 'id', value: ({ id }) => id },
    { title: 'role', value: ({ master }) => (master ? 'master' : 'slave') },
    { title: 'state', value: stateText },
    { title: 'address', value: ({ address }) => address },
    { title: 'cluster', value: ({ cluster }) => cluster },
    { title: 'version', value: ({ version }) => version },
    { title: 'flush', value: ({ details }) => details?.flushMode ?? '-' },
    { title: 'topics', value: ({ topics }) => topics },
    { title: 'groups', value: ({ details }) => details?.groups ?? '-' },
    { title: 'uptime', value: ({ details }) => (details ? spanText(details.uptimeMs) : '-') },
    { title: 'log', value: ({ details }) => (details ? sizeText(logBytes(details)) : '-') },
    {
      title: 'disk free',
      value: ({ details }) => (details ? sizeText(details.diskFreeBytes) : '-'),
    },
  ]);
}

function stateText({ suspect, details, error }: BrokerRow): string {
  if (error !== undefined) return 'no answer';
  if (suspect) return 'suspect';
  if (details !== undefined && details.corruptRanges > 0) return 'damaged';
  return details?.acceptingSends === false ? 'disk full' : 'ok';
}

function logBytes({ writtenPosition, logStartPosition }: BrokerDescription): number {
  return writtenPosition - logStartPosition;
}
