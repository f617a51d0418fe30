// `tern bench produce`.

import type { FrameRest } from '@ternmq/sdk';
import type { Command } from 'commander';
import { duration, wholeNumber } from '../../arguments.ts';
import { addClientCommand, type ClientCall } from '../../client-command.ts';
import { print } from '../../output.ts';
import { showProgress } from '../../progress.ts';
import { generateLoad } from './generator.ts';
import { Latencies } from './latencies.ts';
import { addLoadFlags, type LoadFlags, loadOf } from './load-flags.ts';
import { measurementText, StopWatch } from './measurement.ts';
import { stopSignal } from './stop-signal.ts';

/** Adds the command. */
export function addProduce(parent: Command): void {
  addClientCommand(
    parent,
    {
      usage: 'produce',
      summary: 'send messages of random bytes',
      examples: [
        'tern bench produce --topic load --seconds 10',
        'tern bench produce --topic load --size 128 --batch 256 --in-flight 64 --messages 1000000 -o json',
        'tern bench produce --topic load --batch 1 --rate 1000 --seconds 30',
        'tern bench produce --topic load --tags a,b --ordering-keys 1000 --messages 1000000',
      ],
    },
    (command) =>
      addLoadFlags(command, { batch: 64, inFlight: 64 })
        .option('--delay <time>', 'Delivered so much later at the earliest', duration)
        .option('--tags <tag,…>', 'The messages have these tags by turns', list)
        .option(
          '--ordering-keys <number>',
          'The messages have so many ordering keys by turns, in every queue',
          wholeNumber(1, 1_000_000),
        ),
    produce,
  );
}

interface ProduceFlags extends LoadFlags {
  readonly delay?: number;
  readonly tags?: readonly string[];
  readonly orderingKeys?: number;
}

function list(text: string): string[] {
  return text.split(',');
}

/** What the message of a number has beside its body. */
function restOf(flags: ProduceFlags): (message: number) => FrameRest {
  const { delay, tags, orderingKeys } = flags;
  return (message) => ({
    ...(delay === undefined ? {} : { delay }),
    ...(tags === undefined ? {} : { tag: tags[message % tags.length] as string }),
    ...(orderingKeys === undefined ? {} : { orderingKey: `key-${message % orderingKeys}` }),
  });
}

async function produce({ client, flags, format }: ClientCall<ProduceFlags>): Promise<void> {
  const load = loadOf(flags);
  const sender = await client.producer().frames(load.topic);
  const latencies = new Latencies();
  let messages = 0;
  let errors = 0;
  let firstError: Error | undefined;
  const stop = stopSignal();
  const progress = showProgress('messages', () => messages);
  const watch = new StopWatch();
  await generateLoad(
    sender,
    load,
    {
      stored(count, ms) {
        messages += count;
        latencies.add(ms, count);
        watch.lap();
      },
      failed(count, error) {
        errors += count;
        firstError ??= error;
      },
    },
    stop.signal,
    { rest: restOf(flags) },
  );
  stop.release();
  progress.stop();
  await print(measurementText(watch.measurement(messages, load.size, latencies, errors), format));
  if (firstError !== undefined) throw firstError;
}
