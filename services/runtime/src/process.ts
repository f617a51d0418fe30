// The life of a process: start, run until a signal, stop.
//
//   starting -- started --> running -- SIGTERM or SIGINT --> stopping -- stopped --> exit 0
//       |                      |                                |
//       +-- failed: exit 1     +-- uncaught error: exit 1       +-- grace over: exit 1
//                                                               +-- second signal: exit 128 + its number
//
// A signal while starting waits for the start to end, and then stops.

import { constants } from 'node:os';
import type { Logger } from './logger.ts';

/** What a process does. */
export interface Life {
  /** Starts everything; resolves when it runs. */
  readonly start: () => Promise<void>;
  /** Stops everything that start has started, also when start has failed half-way. */
  readonly stop: () => Promise<void>;
  /** Told of failures. */
  readonly logger: Logger;
  /** Time that stopping may take, in milliseconds. Default: 10,000. */
  readonly graceMs?: number;
}

const SIGNALS = ['SIGTERM', 'SIGINT'] as const;

/** Nothing happens then; the timer alone counts. */
const HOLD_MS = 2 ** 30;

/** Time for what is left open to end by itself after everything has stopped. */
const LINGER_MS = 500;

/**
 * Runs until a signal and then stops. Sets the exit code and resolves when the process has nothing left to
 * do; ends the process itself when it must not, or does not, come to that.
 */
export async function runUntilSignal(life: Life): Promise<void> {
  const { logger, graceMs = 10_000 } = life;
  process.on('uncaughtException', (error) => {
    // The state is unknown: an orderly stop could do harm.
    logger.fatal({ error }, 'stopped at once by a fault that nothing handled');
    process.exit(1);
  });
  const signal = firstSignal();

  let exitCode = 0;
  try {
    await life.start();
    logger.info(`stopping after ${await signal}`);
  } catch (error) {
    logger.fatal({ error }, messageOf(error));
    exitCode = 1;
  }

  setTimeout(() => {
    logger.error(`did not stop within ${graceMs} ms; leaving at once`);
    process.exit(1);
  }, graceMs).unref();
  try {
    await life.stop();
  } catch (error) {
    logger.error({ error }, 'a part did not stop as it should');
    exitCode = 1;
  }
  process.exitCode = exitCode;
  setTimeout(() => {
    logger.warn({ open: process.getActiveResourcesInfo() }, 'something was left open');
    process.exit();
  }, LINGER_MS).unref();
}

/** Keeps this process alive until it is disposed: the clock's timers do not. For commands that wait. */
export function holdProcess(): Disposable {
  const handle = setInterval(() => {}, HOLD_MS);
  return { [Symbol.dispose]: () => clearInterval(handle) };
}

/** Resolves with the first signal; a second one ends the process. */
function firstSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let signalled = false;
    for (const signal of SIGNALS) {
      process.on(signal, () => {
        if (signalled) process.exit(128 + constants.signals[signal]);
        signalled = true;
        resolve(signal);
      });
    }
  });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
