// What the commands that run a service have in common: parts are started in order and stopped in reverse, the
// monitoring page is there from the beginning, and what is printed comes when clients can send.

import {
  type Logger,
  Monitoring,
  Registry,
  registerProcessMetrics,
  runUntilSignal,
  systemClock,
} from '@ternmq/runtime';
import { IdleCollector, processUsage } from './idle-collector.ts';
import { type ServiceOptions, serviceLogger } from './service-options.ts';
import { tellReady } from './supervisor.ts';

const POLL_MS_MIN = 5;
const POLL_MS_MAX = 250;

/** A service being started. */
export interface Starting {
  readonly logger: Logger;
  readonly registry: Registry;
  /** Port of the monitoring page. */
  readonly metricsPort: number;
  /** Adds a part that has been started: it is stopped before those added earlier. */
  readonly started: (stop: () => Promise<void> | void) => void;
}

/** A service that runs. */
export interface Running {
  /** Why clients cannot use it now; empty when they can. */
  readonly notReady: () => readonly string[];
  /** What is printed when it is ready. */
  readonly announcement: string;
}

/** Runs a service until a signal. */
export async function runService(
  options: ServiceOptions & { readonly host: string; readonly metricsPort: number },
  start: (starting: Starting) => Promise<Running>,
): Promise<void> {
  const logger = serviceLogger(options);
  const registry = new Registry();
  registerProcessMetrics(registry);
  const stops: (() => Promise<void> | void)[] = [];
  const stopping = new AbortController();
  let running: Running | undefined;

  await runUntilSignal({
    logger,
    async start() {
      const monitoring = await Monitoring.listen(
        { host: options.host, port: options.metricsPort },
        { registry, notReady: () => running?.notReady() ?? ['starting'] },
      );
      stops.push(() => monitoring.close());
      const idleCollector = new IdleCollector(processUsage(), systemClock);
      stops.push(() => idleCollector.close());
      const { port: metricsPort } = monitoring;
      running = await start({ logger, registry, metricsPort, started: (stop) => stops.push(stop) });
      void announce(running, logger, stopping.signal);
    },
    async stop() {
      stopping.abort();
      for (const stop of stops.reverse()) await stop();
    },
  });
}

/** Prints the announcement when the service is ready; gives up when it is stopped before that. */
async function announce(running: Running, logger: Logger, stopped: AbortSignal): Promise<void> {
  let pauseMs = POLL_MS_MIN;
  while (running.notReady().length > 0) {
    if (stopped.aborted) return;
    await systemClock.sleep(pauseMs, stopped).catch(() => {});
    pauseMs = Math.min(POLL_MS_MAX, pauseMs * 1.2);
  }
  process.stdout.write(running.announcement);
  logger.info('ready');
  await tellReady(process.env).catch((error: unknown) => {
    logger.error(
      { error },
      'systemd could not be told that the service is ready; it goes on waiting for that',
    );
  });
}
