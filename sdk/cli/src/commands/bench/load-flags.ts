// The flags of the load generators.

import type { Command } from 'commander';
import { positiveNumber, wholeNumber } from '../../arguments.ts';
import { UsageError } from '../../exit-code.ts';

/** How much is sent, and how fast. */
export interface LoadFlags {
  readonly topic: string;
  readonly size: number;
  readonly batch: number;
  readonly inFlight: number;
  readonly seconds?: number;
  readonly messages?: number;
  readonly rate?: number;
}

/** The load that flags ask for. */
export interface Load {
  readonly topic: string;
  /** Bytes of a body. */
  readonly size: number;
  /** Messages in a frame. */
  readonly batch: number;
  /** Frames without an outcome. */
  readonly inFlight: number;
  /** Milliseconds after which no more is sent. */
  readonly durationMs: number;
  /** Messages after which no more is sent. */
  readonly messagesMax: number;
  /** Messages a second; undefined for as fast as outcomes come. */
  readonly rate: number | undefined;
}

const SECONDS = 10;
const IN_FLIGHT_BYTES_MAX = 1 << 30;

/** Adds the flags. */
export function addLoadFlags(
  command: Command,
  defaults: { batch: number; inFlight: number },
): Command {
  return command
    .requiredOption('--topic <topic>', 'The topic')
    .option('--size <bytes>', 'Bytes of a body', wholeNumber(1, 4 << 20), 1024)
    .option('--batch <number>', 'Messages in a frame', wholeNumber(1, 65_536), defaults.batch)
    .option(
      '--in-flight <frames>',
      'Frames that are under way at the same time',
      wholeNumber(1, 65_536),
      defaults.inFlight,
    )
    .option(
      '--seconds <number>',
      'Stop after so many seconds [10, unless --messages]',
      positiveNumber,
    )
    .option('--messages <number>', 'Stop after so many messages', wholeNumber(1))
    .option('--rate <per-second>', 'Messages a second [as fast as it goes]', positiveNumber);
}

/** Reads the flags. Throws UsageError. */
export function loadOf({ seconds, messages, rate, ...rest }: LoadFlags): Load {
  const bytes = rest.size * rest.batch * rest.inFlight;
  if (bytes > IN_FLIGHT_BYTES_MAX) {
    throw new UsageError(
      `--size times --batch times --in-flight is ${bytes} bytes and may be ${IN_FLIGHT_BYTES_MAX}`,
    );
  }
  const untilMessages = messages !== undefined && seconds === undefined;
  return {
    ...rest,
    rate,
    messagesMax: messages ?? Number.POSITIVE_INFINITY,
    durationMs: untilMessages ? Number.POSITIVE_INFINITY : (seconds ?? SECONDS) * 1000,
  };
}
