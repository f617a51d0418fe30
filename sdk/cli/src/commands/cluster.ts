// `tern cluster`: what is there.

import { systemClock } from '@ternmq/runtime';
import { type BrokerDescription, type Client, MqError } from '@ternmq/sdk';
import type { Command } from 'commander';
import { wholeNumber } from '../arguments.ts';
import { addClientCommand, type ClientCall } from '../client-command.ts';
import { confirmLoss } from '../confirm.ts';
import { PartialFailure } from '../exit-code.ts';
import { sizeText, spanText } from '../format.ts';
import { fields, jsonLine, print, table } from '../output.ts';
import { type BrokerRow, brokerRows } from './cluster/broker-rows.ts';
import { healthCommand } from './cluster/health.ts';
import { repairCommand } from './cluster/repair.ts';

/** Completes the command. */
export function clusterCommand(command: Command): void {
  electCommand(command);
  healthCommand(command);
  repairCommand(command);
  forgetCommand(command);
  addClientCommand(
    command,
    {
      usage: 'info',
      summary: 'show the brokers, as the name server and they themselves see them',
      examples: ['tern cluster info', 'tern cluster info --nameserver 10.0.0.1:9876 -o json'],
    },
    () => {},
    async ({ client, format, options }) => {
      const rows = await brokerRows(client, options);
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

interface ElectFlags {
  readonly to?: number;
  readonly unclean?: number;
  readonly yes?: boolean;
}

/** `tern cluster elect`: another member of a broker group leads. */
function electCommand(command: Command): void {
  addClientCommand(
    command,
    {
      usage: 'elect <broker>',
      summary: 'let another member of an elected broker group lead',
      examples: [
        'tern cluster elect broker-a',
        'tern cluster elect broker-a --to 2',
        'tern cluster elect broker-a --unclean 2   # loses what only the lost members had',
      ],
    },
    (elect) =>
      elect
        .option('--to <id>', 'The member that is to lead [the one that has most]', wholeNumber(0))
        .option(
          '--unclean <id>',
          'Where all members that were in sync are lost: let this one lead, without what only they had',
          wholeNumber(0),
        )
        .option('--yes', 'Do not ask before something is lost'),
    async ({ client, args: [name = ''], flags, format, options }: ClientCall<ElectFlags>) => {
      const { to, unclean } = flags;
      if (unclean !== undefined) {
        await confirmLoss(`what only the lost members of ${name} had`, name, flags);
        await client.admin.allowUncleanLeader(name, unclean, options);
      }
      const chosen =
        unclean ??
        (await client.admin.moveLeadership(name, {
          ...options,
          ...(to === undefined ? {} : { to }),
        }));
      const leader = await leaderOf(client, name, chosen, options);
      await print(
        format === 'json'
          ? jsonLine({ broker: name, leader: leader.id, epoch: leader.epoch })
          : fields([
              ['broker', name],
              ['leader', String(leader.id)],
              ['epoch', String(leader.epoch)],
            ]),
      );
    },
  );
}

/** `tern cluster forget`: sends wait for a slave no more. */
function forgetCommand(command: Command): void {
  addClientCommand(
    command,
    {
      usage: 'forget <broker>',
      summary: 'let sends wait no more for a slave that is stopped; it comes back by itself',
      examples: ['tern cluster forget broker-a --member 1'],
    },
    (forget) => forget.requiredOption('--member <id>', 'The slave that is stopped', wholeNumber(0)),
    async ({
      client,
      args: [name = ''],
      flags,
      format,
      options,
    }: ClientCall<{ member: number }>) => {
      const inSync = await client.admin.removeReplica(name, flags.member, options);
      await print(
        format === 'json'
          ? jsonLine({ broker: name, inSync })
          : fields([
              ['broker', name],
              ['in sync', inSync.join(' ')],
            ]),
      );
    },
  );
}

/** Waits until a member leads. */
export async function leaderOf(
  client: Client,
  name: string,
  id: number,
  options: { readonly deadlineMs: number },
): Promise<BrokerDescription> {
  const LOOK_MS = 50;
  for (const untilMs = systemClock.monotonicMs() + options.deadlineMs; ; ) {
    // A member that is about to lead refuses everything for a moment.
    const details = await client.admin
      .describeBroker(name, { ...options, id })
      .catch((error: Error) => error);
    if (!(details instanceof Error) && details.leading) return details;
    if (systemClock.monotonicMs() >= untilMs) {
      throw new MqError(
        'DEADLINE_EXCEEDED',
        `member ${id} of ${name} does not lead yet; look again with 'tern cluster info'`,
        details instanceof Error ? { cause: details } : {},
      );
    }
    await systemClock.sleep(LOOK_MS);
  }
}

function brokerTable(rows: readonly BrokerRow[]): string {
  return table(rows, [
    { title: 'broker', value: ({ name }) => name },
    { title: 'id', value: ({ id }) => id },
    { title: 'role', value: roleText },
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

function roleText({ master, standIn }: BrokerRow): string {
  return master ? 'master' : standIn ? 'stand-in' : 'slave';
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
