// Tells a person at a terminal how far long work is; silent elsewhere.

import { systemClock } from '@ternmq/runtime';

const INTERVAL_MS = 200;

/** Shows a count on standard error until it is stopped. */
export function showProgress(what: string, count: () => number): { stop(): void } {
  if (!process.stderr.isTTY) return { stop() {} };
  const startMs = systemClock.monotonicMs();
  const show = (): void => {
    const seconds = (systemClock.monotonicMs() - startMs) / 1000;
    const rate = Math.round(count() / Math.max(seconds, 0.001));
    process.stderr.write(
      `\r\u001b[K${count().toLocaleString('en')} ${what}, ${rate.toLocaleString('en')}/s`,
    );
  };
  const timer = systemClock.every(INTERVAL_MS, show);
  return {
    stop() {
      timer.cancel();
      process.stderr.write('\r\u001b[K');
    },
  };
}
