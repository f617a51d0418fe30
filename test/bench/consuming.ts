// Ways to consume, as shares of reading the same messages without a group.

import { ChildBroker } from '../support/child-broker.ts';
import { TempDir } from '../support/temp-dir.ts';
import { type LoadResult, runLoad, runRead } from './run.ts';
import { type Spread, spreadOf } from './statistics.ts';

const MESSAGES = 400_000;
const TOPIC = 'bench';
const AHEAD = ['--batch', '64', '--in-flight', '64'];

type Load = (nameserver: string) => Promise<LoadResult>;

const plain: Load = (nameserver) => runRead(nameserver, TOPIC, MESSAGES);

const consume =
  (messages: number, ...args: string[]): Load =>
  (nameserver) =>
    runLoad(nameserver, [
      ...['consume', '--topic', TOPIC, ...AHEAD, '--messages', `${messages}`, ...args],
    ]);

interface Way {
  readonly load: Load;
  /** Messages that it delivers of those that it goes through. */
  readonly delivered: number;
}

const way = (delivered: number, ...args: string[]): Way => ({
  load: consume(delivered, ...args),
  delivered,
});

/** What is compared: every one goes through the same messages of 1 KiB, with two tags and 1,000 ordering keys by turns. */
const WAYS: Readonly<Record<string, Way>> = {
  acknowledged: way(MESSAGES),
  'one tag of two': way(MESSAGES / 2, '--tags', 'a'),
  'both tags of two': way(MESSAGES, '--tags', 'a || b'),
  'ordered by 1,000 keys': way(MESSAGES, '--ordered'),
};

/** Figures of one way. */
export interface WayResult {
  /** Messages gone through: those that a filter passes over cost their part of reading the log. */
  readonly messagesPerSecond: Spread;
  /** Its rate over that of reading, each pair from the same broker, one right after the other. */
  readonly share: Spread;
}

/** Measures every way, each run on a broker of its own. */
export async function measureConsuming(runs: number): Promise<Record<string, WayResult>> {
  const results = Object.entries(WAYS).map(([name, { load, delivered }]) => ({
    ...{ name, load, delivered },
    rates: [] as number[],
    shares: [] as number[],
  }));
  for (let run = 0; run < runs; run++) {
    await using folder = await TempDir.create('consuming');
    await using broker = await ChildBroker.start({ command: 'start', data: folder.path });
    const { nameserver } = broker;
    const kinds = ['--tags', 'a,b', '--ordering-keys', '1000'];
    const amount = ['--messages', `${MESSAGES}`];
    await runLoad(nameserver, ['produce', '--topic', TOPIC, ...AHEAD, ...amount, ...kinds]);
    // The first reader pays for what is warm afterwards.
    await plain(nameserver);
    for (const { load, delivered, rates, shares } of results) {
      const before = await plain(nameserver);
      const result = await load(nameserver);
      const rate = (result.messagesPerSecond * MESSAGES) / delivered;
      rates.push(rate);
      shares.push(rate / before.messagesPerSecond);
    }
  }
  return Object.fromEntries(
    results.map(({ name, rates, shares }) => [
      name,
      { messagesPerSecond: spreadOf(rates), share: spreadOf(shares) },
    ]),
  );
}
