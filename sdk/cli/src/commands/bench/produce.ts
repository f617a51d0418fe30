// `tern bench produce`.

import type { Command } from 'commander';
import { duration } from '../../arguments.ts';
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
      ],
    },
    (command) =>
      addLoadFlags(command, { batch: 64, inFlight: 64 }).option(
        '--delay <time>',
        'Delivered so much later at the earliest',
        duration,
      ),
    produce,
  );
}

async function produce({
  client,
  flags,
  format,
}: ClientCall<LoadFlags & { readonly delay?: number }>): Promise<void> {
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
    { rest: flags.delay === undefined ? {} : { delay: flags.delay } },
  );
  stop.release();
  progress.stop();
  await print(measurementText(watch.measurement(messages, load.size, latencies, errors), format));
  if (firstError !== undefined) throw firstError;
}
