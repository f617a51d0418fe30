// The frame of the crash tests for delayed messages, transactions and ordered messages: a broker that works on all of
// them is killed again and again; then what waits is waited for, everything is read, and each kind's history judged.

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  BrokerService,
  TopicKind,
  TransactionState,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { seededRandom } from '@ternmq/runtime';
import { expect } from 'vitest';
import { BrokerClient } from '../support/broker-client.ts';
import { ChildBroker } from '../support/child-broker.ts';
import { DelayedChecker, type DelayedEvent } from '../support/delayed-checker.ts';
import { eventually } from '../support/eventually.ts';
import { KIND_TOPICS, type Kind, ledgerOf } from '../support/kinds.ts';
import { readLines } from '../support/line-ledger.ts';
import { LoadProcess } from '../support/load-process.ts';
import { OrderedChecker, type OrderedEvent } from '../support/ordered-checker.ts';
import { ORDERED_LEASE_MS } from '../support/ordered-load.ts';
import { faultsFound, formatReport, type Report } from '../support/report.ts';
import { hasSettled } from '../support/settled.ts';
import { sightingOf } from '../support/sighting.ts';
import { TempDir } from '../support/temp-dir.ts';
import type { TopicEvent } from '../support/topic-history.ts';
import { TransactionChecker, type TransactionEvent } from '../support/transaction-checker.ts';

const QUEUES = 4;
const LEASE_MS = 2000;
const DRAIN_MS_MAX = 60_000;
/** After one kill of so many the derived state is gone, too, and built again from the log. */
const STATE_LOST_ONE_IN = 3;
const PAGE_SIZE = 1000;

const TOPIC_KINDS: Readonly<Record<Kind, TopicKind>> = {
  delayed: TopicKind.DELAYED,
  transactions: TopicKind.TRANSACTIONAL,
  ordered: TopicKind.ORDERED,
};
const KINDS = Object.keys(TOPIC_KINDS) as Kind[];

const { createGroup, listTransactions } = BrokerService.method;

/** How often a broker is killed, and what it does meanwhile. */
export interface KindsRounds {
  readonly flush: 'sync' | 'async';
  readonly rounds: number;
  readonly seed: number;
  /** Time under load before each kill, at random between these, in milliseconds. */
  readonly aliveMs: readonly [min: number, max: number];
  /** Longest delay of a message, in milliseconds. */
  readonly delayMsMax: number;
  /** What must have happened at least, by `countedAs`: the load goes on after the last kill until it has. */
  readonly least: {
    readonly send: Readonly<Record<string, number>>;
    readonly consume: Readonly<Record<string, number>>;
  };
}

/** Runs the rounds and expects that the history of each kind is healthy. */
export async function crashKinds(options: KindsRounds): Promise<void> {
  await using folder = await TempDir.create('crash-kinds');
  const data = join(folder.path, 'data');
  await using broker = await ChildBroker.start({
    command: 'start',
    data,
    flush: options.flush,
    args: [
      ...['--auto-create-topics', 'false'],
      ...['--transaction-first-check', '1s', '--transaction-check-pause-max', '1s'],
    ],
  });
  using client = new BrokerClient(broker.address);
  for (const kind of KINDS) {
    const name = KIND_TOPICS[kind];
    await client.ensureTopic({ name, settings: { queues: QUEUES, kind: TOPIC_KINDS[kind] } });
    const ordered = kind === 'ordered';
    // Short, so that what a dead stream held is delivered again soon.
    const leaseMs = ordered ? ORDERED_LEASE_MS : LEASE_MS;
    const settings = { leaseMs, retryDelaysMs: [100], attemptsMax: 1000, ordered };
    await client.call(createGroup, { name, settings });
  }

  const load = {
    nameserver: broker.nameserver,
    broker: broker.address,
    folder: folder.path,
    delayMsMax: options.delayMsMax,
  };
  await using senders = await LoadProcess.startKinds({
    ...load,
    role: 'send',
    seed: options.seed,
    least: options.least.send,
  });
  await using consumers = await LoadProcess.startKinds({
    ...load,
    role: 'consume',
    seed: options.seed + 1,
    least: options.least.consume,
  });

  const random = seededRandom(options.seed);
  const restartMs: number[] = [];
  const timeline: string[] = [];
  const note = (what: string) => timeline.push(`${new Date().toISOString()} ${what}`);
  for (let round = 0; round < options.rounds; round++) {
    const [min, max] = options.aliveMs;
    await sleep(min + random.integer(max - min + 1));
    senders.expectRunning();
    consumers.expectRunning();
    note(`kill ${round + 1} of ${options.rounds}`);
    await broker.kill();
    if (round % STATE_LOST_ONE_IN === STATE_LOST_ONE_IN - 1) {
      rmSync(join(data, 'state'), { recursive: true });
      note('the derived state is deleted');
    }
    restartMs.push(Math.round(await broker.restart()));
    note(`back after ${restartMs.at(-1)} ms`);
  }
  await senders.enough();
  await consumers.enough();
  await senders.finish();
  note('nothing more is sent');
  await eventually(
    'nothing waits, no transaction is open, and all groups have settled everything',
    async () => {
      consumers.expectRunning();
      return ((await waiting(broker)) === 0 && (await idle(client))) || undefined;
    },
    { withinMs: DRAIN_MS_MAX + options.delayMsMax, everyMs: 100 },
  );
  note('nothing waits');
  await consumers.finish();

  const read = <Event>(kind: Kind): Event[] =>
    (['send', 'consume'] as const).flatMap((role) =>
      readLines<Event>(join(folder.path, ledgerOf(kind, role))),
    );
  const delayed = new DelayedChecker();
  delayed.apply(read<DelayedEvent>('delayed'));
  delayed.apply(await scan(client, KIND_TOPICS.delayed));
  const transactions = new TransactionChecker();
  transactions.apply(read<TransactionEvent>('transactions'));
  transactions.apply(await scan(client, KIND_TOPICS.transactions));
  transactions.apply(await listed(client));
  const ordered = new OrderedChecker();
  ordered.apply(read<OrderedEvent>('ordered'));
  ordered.apply(await scan(client, KIND_TOPICS.ordered));

  const reports: Record<Kind, Report<string>> = {
    delayed: { ...delayed.check(), timeline },
    transactions: { ...transactions.check(), timeline },
    ordered: { ...ordered.check(), timeline },
  };
  const formatted = KINDS.map(
    (kind) => `${kind}: ${formatReport({ ...reports[kind], timeline: [] })}`,
  );
  console.log([...formatted, `restarts in ${restartMs.join(', ')} ms`].join('\n'));
  for (const kind of KINDS) {
    expect(faultsFound(reports[kind]), `${kind}: ${formatReport(reports[kind])}`).toEqual([]);
  }
}

/** Messages that wait for their time or for the end of their transaction. */
async function waiting(broker: ChildBroker): Promise<number> {
  const answer = await fetch(broker.page('/metrics'), { signal: AbortSignal.timeout(1000) });
  const found = /^rocketmq_timing_messages\{.*\} (\d+)$/m.exec(await answer.text());
  return Number(found?.[1]);
}

async function idle(client: BrokerClient): Promise<boolean> {
  const state = TransactionState.OPEN;
  const { transactions } = await client.call(listTransactions, { state });
  if (transactions.length > 0) return false;
  for (const kind of KINDS) {
    const name = KIND_TOPICS[kind];
    if (!(await hasSettled(client, name, name, QUEUES))) return false;
  }
  return true;
}

/** What a topic holds, from begin to end. */
async function scan(client: BrokerClient, topic: string): Promise<TopicEvent[]> {
  const events: TopicEvent[] = [];
  for await (const message of client.readAll(topic)) {
    events.push({ kind: 'stored', ...sightingOf(message) });
  }
  return events;
}

/** What became of all transactions, as the broker says. */
async function listed(client: BrokerClient): Promise<TransactionEvent[]> {
  const events: TransactionEvent[] = [];
  for (let pageToken = ''; ; ) {
    const page = await client.call(listTransactions, { pageSize: PAGE_SIZE, pageToken });
    for (const { transactionId, state } of page.transactions) {
      const ended = state === TransactionState.COMMITTED ? 'commit' : 'rollback';
      const outcome = state === TransactionState.OPEN ? 'open' : ended;
      events.push({ kind: 'listed', transactionId, outcome });
    }
    pageToken = page.nextPageToken;
    if (pageToken === '') return events;
  }
}
