// `tern cluster health`: is everything as it should be, and what is not?

import { systemClock } from '@ternmq/runtime';
import type { Client, TopicDescription } from '@ternmq/sdk';
import type { Command } from 'commander';
import { duration } from '../../arguments.ts';
import { addClientCommand, type ClientCall } from '../../client-command.ts';
import { jsonLine, print } from '../../output.ts';
import { type BrokerRow, brokerRows } from './broker-rows.ts';

const LOOK_MS = 1000;

interface HealthFlags {
  readonly watch?: boolean;
  readonly exitWhenHealthy?: boolean;
  readonly within?: number;
}

/** The cluster is not healthy. */
class Unhealthy extends Error {
  readonly code = 'UNHEALTHY';
}

/** What is not as it should be, one sentence each; empty when all is well. */
export function problemsOf(
  brokers: readonly BrokerRow[],
  topics: readonly TopicDescription[],
): string[] {
  const problems: string[] = [];
  if (brokers.length === 0) problems.push('the name server knows no broker');
  const groups = Map.groupBy(brokers, ({ name }) => name);
  for (const [name, members] of groups) {
    for (const member of members) problems.push(...problemsOfMember(member));
    const masters = members.filter(({ details }) => details?.leading === true);
    if (masters.length !== 1) {
      const standIn = members.find(({ details }) => details?.standingIn === true);
      const nobody =
        standIn === undefined ? 'nobody leads' : `nobody leads, member ${standIn.id} stands in`;
      problems.push(`${name}: ${masters.length === 0 ? nobody : 'two members lead'}`);
    }
    for (const { details } of masters) {
      const out = members.filter(({ id }) => details?.inSync.includes(id) === false);
      for (const { id } of out) problems.push(`${name}: member ${id} is not in sync`);
      const gone = (details?.inSync ?? []).filter((id) => !members.some((one) => one.id === id));
      for (const id of gone) {
        problems.push(`${name}: member ${id} is waited for, and no name server knows it`);
      }
    }
  }
  const names = [...groups.keys()];
  for (const [topic, found] of Map.groupBy(topics, (one) => one.name)) {
    if (topic.startsWith('%')) continue;
    const lack = names.filter((name) => !found.some(({ broker }) => broker === name));
    if (lack.length > 0) {
      problems.push(`topic ${topic}: ${lack.join(', ')} lacks it; see 'tern cluster repair'`);
    }
    const settings = new Set(found.map((one) => JSON.stringify(one.settings)));
    if (settings.size > 1) {
      problems.push(
        `topic ${topic}: its settings differ between brokers; see 'tern cluster repair'`,
      );
    }
  }
  return problems;
}

function problemsOfMember({ name, id, suspect, details, error }: BrokerRow): string[] {
  const who = `${name}: member ${id}`;
  if (error !== undefined) return [`${who} does not answer: ${error}`];
  const problems: string[] = [];
  if (suspect) problems.push(`${who} is suspect: its name server does not hear it`);
  if (details === undefined) return problems;
  const { corruptRanges, leading, standingIn, acceptingSends, masterAddress } = details;
  if (corruptRanges > 0) problems.push(`${who} has ${corruptRanges} damaged ranges in its log`);
  if (leading && !acceptingSends) problems.push(`${who} refuses messages`);
  if (!leading && !standingIn && masterAddress === '') problems.push(`${who} follows nobody`);
  return problems;
}

async function look(
  client: Client,
  options: { readonly deadlineMs: number },
): Promise<{ brokers: BrokerRow[]; problems: string[] }> {
  const brokers = await brokerRows(client, options);
  const topics = await client.admin.listTopics(options).catch(() => []);
  return { brokers, problems: problemsOf(brokers, topics) };
}

/** Adds the command. */
export function healthCommand(command: Command): void {
  addClientCommand(
    command,
    {
      usage: 'health',
      summary:
        'say whether everything is as it should be, and what is not; exit code 1 when it is not',
      examples: [
        'tern cluster health',
        'tern cluster health --watch',
        'tern cluster health --exit-when-healthy --within 2m   # wait, for example after an upgrade',
      ],
    },
    (health) =>
      health
        .option('--watch', 'Look every second, and print what has changed')
        .option('--exit-when-healthy', 'Look every second, and end as soon as all is well')
        .option('--within <time>', 'Give up after so long [never]', duration),
    async ({ client, flags, format, options }: ClientCall<HealthFlags>) => {
      const { watch = false, exitWhenHealthy = false, within } = flags;
      const untilMs = systemClock.monotonicMs() + (within ?? Number.POSITIVE_INFINITY);
      for (let before: string | undefined; ; ) {
        const { brokers, problems } = await look(client, options).catch((error: unknown) => {
          // Who waits for a cluster may do so before it is there.
          if (!watch && !exitWhenHealthy) throw error;
          return { brokers: [], problems: [(error as Error).message] };
        });
        const healthy = problems.length === 0;
        const text =
          format === 'json'
            ? jsonLine({ healthy, problems })
            : healthy
              ? `healthy: ${brokers.length} ${brokers.length === 1 ? 'broker' : 'brokers'}\n`
              : problems.map((problem) => `${problem}\n`).join('');
        if (text !== before) await print(text);
        before = text;
        if (healthy && (exitWhenHealthy || !watch)) return;
        const over = systemClock.monotonicMs() >= untilMs || (!watch && !exitWhenHealthy);
        if (over) throw new Unhealthy(`the cluster is not healthy: ${problems[0] ?? 'time is up'}`);
        await systemClock.sleep(LOOK_MS);
      }
    },
  );
}
