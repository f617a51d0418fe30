// What every process tells about itself, by the names that Prometheus clients use for Node.

import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Registry } from './metrics.ts';

const MICROSECONDS = 1e6;
const NANOSECONDS = 1e9;

/** How finely the delay of the event loop is sampled, in milliseconds. */
const RESOLUTION_MS = 10;

/** Adds CPU time, memory, start time and the delay of the event loop. Call it once in a process. */
export function registerProcessMetrics(registry: Registry): void {
  const startSeconds = Date.now() / 1000 - process.uptime();
  const single = (name: string, help: string, read: () => number): void =>
    registry.gauge(name, help, [], (show) => show(read()));

  registry.observedCounter(
    'process_cpu_seconds_total',
    'CPU time of the process, user and system',
    [],
    (show) => {
      const { user, system } = process.cpuUsage();
      show((user + system) / MICROSECONDS);
    },
  );
  single('process_start_time_seconds', 'Start of the process since 1970', () => startSeconds);
  single('process_resident_memory_bytes', 'Memory of the process that is in RAM', () =>
    process.memoryUsage.rss(),
  );
  single('nodejs_heap_size_used_bytes', 'JavaScript objects', () => process.memoryUsage().heapUsed);
  single('nodejs_external_memory_bytes', 'Buffers and native objects', () => {
    return process.memoryUsage().external;
  });

  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  delay.enable();
  single(
    'nodejs_eventloop_lag_p99_seconds',
    'Delay of the event loop since the last time it was shown, 99th percentile',
    () => {
      // A sample includes the resolution that it waited on purpose.
      const seconds = Math.max(0, delay.percentile(99) / NANOSECONDS - RESOLUTION_MS / 1000);
      delay.reset();
      return seconds;
    },
  );
}
