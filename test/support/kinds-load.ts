// A process that sends or consumes delayed messages, transactions and ordered messages, and writes a ledger of each:
// `node kinds-load.ts OPTIONS`, with KindsOptions as JSON. Writes `running` once the first message of each kind has
// passed. The end of its standard input tells it to finish: it waits for what is under way, completes the ledgers and ends.

import { join } from 'node:path';
import { seededRandom } from '@ternmq/runtime';
import { Client } from '@ternmq/sdk';
import { BrokerClient } from './broker-client.ts';
import type { DelayedEvent } from './delayed-checker.ts';
import { sendDelayed } from './delayed-load.ts';
import { countedAs, KIND_TOPICS, type Kind, ledgerOf } from './kinds.ts';
import { LineLedger } from './line-ledger.ts';
import { ENOUGH, type KindsOptions, RUNNING } from './load-process.ts';
import type { OrderedEvent } from './ordered-checker.ts';
import { consumeOrdered, sendOrdered } from './ordered-load.ts';
import { SettlingReader } from './settling-reader.ts';
import { sightingOf } from './sighting.ts';
import type { TopicEvent } from './topic-history.ts';
import type { TransactionEvent } from './transaction-checker.ts';
import { answerForTransactions, runTransactions } from './transaction-load.ts';

/** One delivery of so many fails. */
const FAILURE_ONE_IN = 50;

const options: KindsOptions = JSON.parse(process.argv[2] ?? '{}');
const finishing = new AbortController();
process.stdin.resume().once('end', () => finishing.abort());
// Lives until everything has its outcome.
setInterval(() => {}, 60_000);

const silent = new Set<Kind>(['delayed', 'transactions', 'ordered']);
const ledgers: { close(): void }[] = [];
/** How often each event that must come is still to come. */
const lacking = new Map(Object.entries(options.least));

/** Opens the ledger of a kind; a message has passed when it is acknowledged, ended or received. */
function teller<Event extends { readonly kind: string; readonly outcome?: string }>(
  kind: Kind,
): (event: Event) => void {
  const ledger = new LineLedger<Event>(join(options.folder, ledgerOf(kind, options.role)));
  ledgers.push(ledger);
  return (event) => {
    ledger.write(event);
    countDown(countedAs(kind, event));
    if (silent.size === 0 || !['ack', 'ended', 'received'].includes(event.kind)) return;
    silent.delete(kind);
    if (silent.size === 0) console.log(RUNNING);
  };
}

function countDown(name: string): void {
  const left = lacking.get(name);
  if (left === undefined) return;
  if (left > 1) lacking.set(name, left - 1);
  else lacking.delete(name);
  if (lacking.size === 0) console.log(ENOUGH);
}

const client = new Client({ nameservers: options.nameserver });
using broker = new BrokerClient(options.broker);
const { signal } = finishing;
let drawn = 0;
/** What each part of the load uses. */
const load = <Event extends { readonly kind: string; readonly outcome?: string }>(kind: Kind) => ({
  client,
  topic: KIND_TOPICS[kind],
  random: seededRandom(options.seed + 0x9e3779b1 * drawn++),
  tell: teller<Event>(kind),
  signal,
});

async function send(): Promise<void> {
  const { delayMsMax } = options;
  await Promise.all([
    sendDelayed({ ...load<DelayedEvent>('delayed'), delayMsMax }),
    runTransactions(load<TransactionEvent>('transactions')),
    sendOrdered(load<OrderedEvent>('ordered')),
  ]);
}

/** Reads a topic for the group; some deliveries fail. */
function read(kind: Kind, tell: (event: TopicEvent) => void): SettlingReader {
  const random = seededRandom(options.seed + 0x9e3779b1 * drawn++);
  return new SettlingReader(broker, {
    group: KIND_TOPICS[kind],
    topic: KIND_TOPICS[kind],
    received: (message, attempt) => {
      tell({ kind: 'received', atMs: Date.now(), attempt, ...sightingOf(message) });
      return random.integer(FAILURE_ONE_IN) > 0;
    },
    settled: (queue, offset) => tell({ kind: 'settled', queue, offset }),
  });
}

async function consume(): Promise<void> {
  const delayed = load<DelayedEvent>('delayed');
  const transactions = load<TransactionEvent>('transactions');
  answerForTransactions(client, transactions.random, transactions.tell);
  const readers = [
    ...[0, 1].map(() => read('delayed', delayed.tell)),
    ...[0, 1].map(() => read('transactions', transactions.tell)),
  ];
  await consumeOrdered(load<OrderedEvent>('ordered'), broker, KIND_TOPICS.ordered);
  await Promise.all(readers.map((reader) => reader.finish()));
}

await (options.role === 'send' ? send() : consume());
await client.close();
for (const ledger of ledgers) ledger.close();
// Sockets that are still closing, and the work of abandoned transactions, do not hold the process.
process.exit();
