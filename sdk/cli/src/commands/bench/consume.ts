// `tern bench consume`: drains a topic as a consumer group, with acknowledgements.

import { randomUUID } from 'node:crypto';
import { systemClock } from '@ternmq/runtime';
import type { Client } from '@ternmq/sdk';
import type { Command } from 'commander';
import { positiveNumber, wholeNumber } from '../../arguments.ts';
import { addClientCommand, type ClientCall } from '../../client-command.ts';
import { print } from '../../output.ts';
import { showProgress } from '../../progress.ts';
import { Latencies } from './latencies.ts';
import { measurementText, StopWatch } from './measurement.ts';
import { stopSignal } from './stop-signal.ts';

interface ConsumeFlags {
  readonly topic: string;
  readonly group?: string;
  readonly size?: number;
  readonly batch: number;
  readonly inFlight: number;
  readonly seconds?: number;
  readonly messages?: number;
  readonly tags: string;
  readonly ordered?: boolean;
}

const SILENCE_MS_MAX = 10_000;
const CHECK_MS = 20;
/** Reading the times of a frame costs as much as the rest: one frame of so many is enough. */
const SAMPLED = 16;

/** Adds the command. */
export function addConsume(parent: Command): void {
  addClientCommand(
    parent,
    {
      usage: 'consume',
      summary: 'receive and acknowledge messages; latency is from when they were stored',
      examples: [
        'tern bench consume --topic load',
        'tern bench consume --topic load --group workers --seconds 30 -o json',
        'tern bench consume --topic load --tags a --messages 500000',
      ],
    },
    (command) =>
      command
        .requiredOption('--topic <topic>', 'The topic')
        .option('--group <group>', 'The group [one of its own, which is removed afterwards]')
        .option(
          '--size <bytes>',
          'Bytes of a body, for MB/s [as delivered]',
          wholeNumber(1, 4 << 20),
        )
        .option('--batch <number>', 'With --in-flight: messages ahead', wholeNumber(1, 65_536), 64)
        .option(
          '--in-flight <frames>',
          'Times --batch: messages that may be delivered ahead',
          wholeNumber(1, 65_536),
          64,
        )
        .option('--seconds <number>', 'Stop after so many seconds', positiveNumber)
        .option(
          '--messages <number>',
          'Stop after so many messages [what is there]',
          wholeNumber(1),
        )
        .option('--tags <expression>', 'Only messages with these tags', '*')
        .option('--ordered', 'As an ordered group: a new one becomes it'),
    consume,
  );
}

async function consume({
  client,
  flags,
  format,
  options,
}: ClientCall<ConsumeFlags>): Promise<void> {
  const { topic, seconds, batch, inFlight, size } = flags;
  const group = flags.group ?? `bench-${randomUUID()}`;
  const stopped = flags.messages !== undefined || seconds !== undefined;
  const wanted =
    flags.messages ?? (stopped ? Number.POSITIVE_INFINITY : await backlog(client, topic));
  const latencies = new Latencies();
  let messages = 0;
  let bytes = 0;
  let frames = 0;
  const stop = stopSignal();
  const progress = showProgress('messages', () => messages);
  const consumer = client.consumer(group, {
    from: 'first',
    prefetch: { messages: batch * inFlight, bytes: 64 << 20 },
    ...(flags.ordered === undefined ? {} : { ordered: flags.ordered }),
  });
  consumer.subscribe(topic, flags.tags);
  const { promise: done, resolve } = Promise.withResolvers<void>();
  const watch = new StopWatch();
  const run = consumer.runFrames((frame) => {
    if (messages >= wanted) return;
    if (frames++ % SAMPLED === 0) {
      const nowMs = systemClock.nowMs();
      for (const storedMs of frame.storeTimes()) latencies.add(Math.max(0, nowMs - storedMs), 1);
    }
    messages += frame.messages;
    bytes += frame.bytes;
    watch.lap();
    if (messages >= wanted) resolve();
  });
  if (wanted <= 0) resolve();
  const fromMs = systemClock.monotonicMs();
  let seen = 0;
  let seenMs = fromMs;
  const check = systemClock.every(CHECK_MS, () => {
    const nowMs = systemClock.monotonicMs();
    if (messages > seen) [seen, seenMs] = [messages, nowMs];
    const silent = seconds === undefined && nowMs - seenMs > SILENCE_MS_MAX;
    const over = nowMs - fromMs >= (seconds ?? Number.POSITIVE_INFINITY) * 1000;
    if (silent || over || stop.signal.aborted) resolve();
  });
  // A refused subscription rejects `ended`.
  await Promise.race([done, run.ended]).finally(() => {
    check.cancel();
    stop.release();
    progress.stop();
  });
  const errors =
    Number.isFinite(wanted) && seconds === undefined ? Math.max(0, wanted - messages) : 0;
  const average = messages === 0 ? 0 : bytes / messages;
  await print(
    measurementText(watch.measurement(messages, size ?? average, latencies, errors), format),
  );
  await consumer.close();
  if (flags.group === undefined) await client.admin.deleteGroup(group, options).catch(() => {});
  if (errors > 0) throw new Error(`${errors} messages did not come within ${SILENCE_MS_MAX} ms`);
}

/** Messages that a topic has now. */
async function backlog(client: Client, topic: string): Promise<number> {
  const { queues } = await client.admin.describeTopic(topic);
  return queues.reduce((sum, { beginOffset, endOffset }) => sum + endOffset - beginOffset, 0);
}
