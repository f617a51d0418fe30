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
          try {
            const { name, id } = broker;
            const details = await client.admin.describeBroker(name, { ...options, id });
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
    { title: 'epoch', value: ({ details }) => details?.epoch ?? '-' },
    { title: 'in sync', value: syncText },
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

/** Of a master, who is in sync; of a slave, how much it lacks, as its master knows. */
function syncText({ master, details }: BrokerRow): string {
  if (details === undefined || !master) return '-';
  const lagging = details.replicas.filter(({ inSync }) => !inSync);
  const behind = lagging.map(({ id, lagBytes }) => `, ${id} lacks ${sizeText(lagBytes)}`);
  return `${details.inSync.join(' ')}${behind.join('')}`;
}

function stateText({ suspect, details, error }: BrokerRow): string {
  if (error !== undefined) return 'no answer';
  if (suspect) return 'suspect';
  if (details !== undefined && details.corruptRanges > 0) return 'damaged';
  if (details === undefined || details.acceptingSends || !details.leading) return 'ok';
  return details.inSync.length <= 1 && details.replicas.length > 0
    ? 'too few in sync'
    : 'disk full';
}

function logBytes({ writtenPosition, logStartPosition }: BrokerDescription): number {
  return writtenPosition - logStartPosition;
}
