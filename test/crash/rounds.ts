// The frame of the crash tests: a broker under full load is broken again and again; then everything is
// read, and the whole history judged.

import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { BrokerService } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { seededRandom } from '@ternmq/runtime';
import { expect } from 'vitest';
import { BrokerClient } from '../support/broker-client.ts';
import { Checker } from '../support/checker.ts';
import { ChildBroker } from '../support/child-broker.ts';
import { eventually } from '../support/eventually.ts';
import { fullScan } from '../support/full-scan.ts';
import type { FaultKind } from '../support/ledger.ts';
import { type LedgerEvent, LedgerWriter, readLedger } from '../support/ledger-event.ts';
import { LoadProcess } from '../support/load-process.ts';
import { digestOf, nameIn } from '../support/message-body.ts';
import { faultsFound, formatReport, type Report } from '../support/report.ts';
import { hasSettled } from '../support/settled.ts';
import { SettlingReader } from '../support/settling-reader.ts';
import { TempDir } from '../support/temp-dir.ts';

const TOPIC = 'crash';
const QUEUES = 4;
const PRODUCERS = 4;
/** Groups and their numbers as readers: one on a stream, one that waits for each settlement. */
const GROUPS = [
  { group: 'crash-stream', reader: 1 },
  { group: 'crash-unary', reader: 2 },
] as const;
const [STREAM, UNARY] = GROUPS;
const DRAIN_MS_MAX = 120_000;

const { createGroup, getOffset } = BrokerService.method;

/** How a broker is broken, and how often. */
export interface CrashRounds {
  readonly flush: 'sync' | 'async';
  readonly rounds: number;
  readonly seed: number;
  /** Where the broker keeps its data; a folder for temporary files when absent. */
  readonly data?: string;
  /** Time under load before each break, at random between these, in milliseconds. */
  readonly aliveMs: readonly [min: number, max: number];
  /** Breaks the broker; its process must have ended afterwards, and its data be there again. */
  readonly crash: (broker: ChildBroker, round: number) => Promise<void>;
  /** The history is not expected to be healthy; the caller judges the report. */
  readonly lossExpected?: boolean;
}

/** What the rounds showed. */
export interface CrashResult {
  readonly report: Report<FaultKind>;
  /** Milliseconds from each start of the process until clients could send. */
  readonly restartMs: readonly number[];
}

/** Runs the rounds and expects that the history is healthy, unless it is told otherwise. */
export async function crashRounds(options: CrashRounds): Promise<CrashResult> {
  await using folder = await TempDir.create('crash');
  await using broker = await ChildBroker.start({
    command: 'start',
    data: options.data ?? join(folder.path, 'data'),
    flush: options.flush,
    args: ['--auto-create-topics', 'false'],
  });
  using client = new BrokerClient(broker.address);
  await client.ensureTopic({ name: TOPIC, settings: { queues: QUEUES } });
  // Short, so that what a dead stream held is delivered again soon.
  const settings = { leaseMs: 2000, retryDelaysMs: [100], attemptsMax: 1000 };
  for (const { group: name } of GROUPS) {
    await client.call(createGroup, { name, settings });
  }

  const where = { nameserver: broker.nameserver, topic: TOPIC };
  // Producers first: a message is known before anyone reads it.
  const ledgers = ['producers', 'stream', 'unary'].map((name) => join(folder.path, name));
  const [producersLedger = '', streamLedger = '', unaryLedger = ''] = ledgers;
  await using producers = await LoadProcess.start({
    ...where,
    role: 'produce',
    ledger: producersLedger,
    producers: PRODUCERS,
  });
  await using group = await LoadProcess.start({
    ...where,
    role: 'consume',
    ledger: streamLedger,
    ...STREAM,
  });

  const { group: unaryGroup, reader } = UNARY;
  const settling = new LedgerWriter(unaryLedger);
  await using unary = new SettlingReader(client, {
    group: unaryGroup,
    topic: TOPIC,
    received: ({ message, queueId: queue, offset }) => {
      const body = message?.body ?? new Uint8Array();
      const place = { queue, offset: Number(offset) };
      const digest = digestOf(body);
      settling.write({ kind: 'received', reader, ...nameIn(body), ...place, digest });
      return true;
    },
    settled: (queue, offset) => settling.write({ kind: 'settled', reader, queue, offset }),
  });

  const checker = new Checker({ producers: PRODUCERS, readers: 1 + GROUPS.length });
  const random = seededRandom(options.seed);
  const restartMs: number[] = [];
  const seen: LedgerEvent[] = [];
  for (let round = 0; round < options.rounds; round++) {
    const [min, max] = options.aliveMs;
    await sleep(min + random.integer(max - min + 1));
    producers.expectRunning();
    group.expectRunning();
    checker.ledger.note(`crash ${round + 1} of ${options.rounds}`);
    await options.crash(broker, round);
    restartMs.push(Math.round(await broker.restart()));
    checker.ledger.note(`back after ${restartMs.at(-1)} ms`);
    seen.push(...(await progressOf(client)));
  }

  await producers.finish();
  for (const { group: name } of GROUPS) {
    await eventually(
      `${name} has settled everything`,
      async () => {
        group.expectRunning();
        return (await hasSettled(client, name, TOPIC, QUEUES)) || undefined;
      },
      { withinMs: DRAIN_MS_MAX, everyMs: 200 },
    );
  }
  await group.finish();
  await unary.finish();
  settling.close();
  seen.push(...(await progressOf(client)));

  for (const ledger of ledgers) checker.apply(readLedger(ledger));
  checker.apply(seen);
  for await (const event of fullScan(client, TOPIC)) checker.apply([event]);
  const report = checker.check();
  console.log(`${formatReport(report)}\nrestarts in ${restartMs.join(', ')} ms`);
  if (options.lossExpected !== true) expect(faultsFound(report), formatReport(report)).toEqual([]);
  // Without load there was nothing to lose.
  expect(report.counts.ack).toBeGreaterThan(options.rounds * 100);
  return { report, restartMs };
}

async function progressOf(client: BrokerClient): Promise<LedgerEvent[]> {
  const events: LedgerEvent[] = [];
  for (const { group, reader } of GROUPS) {
    const { queues } = await client.call(getOffset, { group, topic: TOPIC });
    for (const { queueId: queue, floorOffset, waitingForRetry } of queues) {
      const offset = Number(floorOffset);
      events.push({ kind: 'progress', reader, queue, offset, waiting: Number(waitingForRetry) });
    }
  }
  return events;
}
