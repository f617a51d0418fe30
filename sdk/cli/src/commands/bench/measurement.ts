// What a benchmark prints. The names are fixed: programs compare them.

import { systemClock } from '@ternmq/runtime';
import { fields, jsonLine, type OutputFormat } from '../../output.ts';
import type { Latencies } from './latencies.ts';

/** The result of a benchmark. */
export interface Measurement {
  readonly messages: number;
  readonly seconds: number;
  readonly messagesPerSecond: number;
  /** Of bodies, in 1,000,000 bytes. */
  readonly megabytesPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  /** Messages that failed, or did not come. */
  readonly errors: number;
  /** CPU time of this process, user and system. */
  readonly cpuSeconds: number;
}

const MICROSECONDS = 1e6;

/** Measures time and CPU time from its making on. */
export class StopWatch {
  readonly #startMs = systemClock.monotonicMs();
  readonly #startCpu = process.cpuUsage();
  #endMs: number | undefined;

  /** Milliseconds since the start. */
  get elapsedMs(): number {
    return (this.#endMs ?? systemClock.monotonicMs()) - this.#startMs;
  }

  /** The last message is done; what comes later does not count. */
  lap(): void {
    this.#endMs = systemClock.monotonicMs();
  }

  /** The result. */
  measurement(
    messages: number,
    bodyBytes: number,
    latencies: Latencies,
    errors: number,
  ): Measurement {
    const seconds = this.elapsedMs / 1000;
    const { user, system } = process.cpuUsage(this.#startCpu);
    const perSecond = seconds === 0 ? 0 : 1 / seconds;
    return {
      messages,
      seconds: round(seconds, 4),
      messagesPerSecond: Math.round(messages * perSecond),
      megabytesPerSecond: round((messages * bodyBytes * perSecond) / 1e6, 3),
      p50Ms: round(latencies.percentile(50), 3),
      p99Ms: round(latencies.percentile(99), 3),
      maxMs: round(latencies.maxMs, 3),
      errors,
      cpuSeconds: round((user + system) / MICROSECONDS, 3),
    };
  }
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}

/** A result as printed. */
export function measurementText(result: Measurement, format: OutputFormat): string {
  if (format === 'json') return jsonLine(result);
  const { messages, seconds, messagesPerSecond, megabytesPerSecond, errors, cpuSeconds } = result;
  return fields([
    ['messages', `${messages} in ${seconds} s`],
    ['rate', `${messagesPerSecond.toLocaleString('en')}/s, ${megabytesPerSecond} MB/s`],
    ['latency', `p50 ${result.p50Ms} ms, p99 ${result.p99Ms} ms, max ${result.maxMs} ms`],
    ['errors', errors],
    ['CPU', `${cpuSeconds} s in this process`],
  ]);
}
