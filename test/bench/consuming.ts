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

/** What is compared: every one drains the same messages of 1 KiB, two tags and 1,000 ordering keys by turns. */
const WAYS: Readonly<Record<string, Load>> = {
  acknowledged: consume(MESSAGES),
  'one tag of two': consume(MESSAGES / 2, '--tags', 'a'),
  'both tags of two': consume(MESSAGES, '--tags', 'a || b'),
  'ordered by 1,000 keys': consume(MESSAGES, '--ordered'),
};

/** Figures of one way. */
export interface WayResult {
  readonly messagesPerSecond: Spread;
  /** Its rate over that of reading, each pair from the same broker, one right after the other. */
  readonly share: Spread;
}

/** Measures every way, each run on a broker of its own. */
export async function measureConsuming(runs: number): Promise<Record<string, WayResult>> {
  const results = Object.entries(WAYS).map(([name, load]) => ({
    ...{ name, load },
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
    for (const { load, rates, shares } of results) {
      const before = await plain(nameserver);
      const { messagesPerSecond } = await load(nameserver);
      rates.push(messagesPerSecond);
      shares.push(messagesPerSecond / before.messagesPerSecond);
    }
  }
  return Object.fromEntries(
    results.map(({ name, rates, shares }) => [
      name,
      { messagesPerSecond: spreadOf(rates), share: spreadOf(shares) },
    ]),
  );
}
