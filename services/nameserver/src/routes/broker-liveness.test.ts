import { BrokerState } from '@ternmq/proto/gen/ternmq/nameserver/v1/nameserver_pb';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BrokerLiveness } from './broker-liveness.ts';

const { LIVE, SUSPECT, UNSPECIFIED } = BrokerState;
const TIMEOUT_MS = 1000;
const TICK_MS = 20;

/** Ticks as the name server does, up to a time. */
function run(liveness: BrokerLiveness, fromMs: number, toMs: number) {
  const gone: string[] = [];
  const suspect: string[] = [];
  for (let nowMs = fromMs; nowMs <= toMs; nowMs += TICK_MS) {
    const expired = liveness.tick(nowMs);
    gone.push(...expired.gone.map((key) => `${key}@${nowMs}`));
    suspect.push(...expired.suspect.map((key) => `${key}@${nowMs}`));
  }
  return { gone, suspect };
}

describe('a broker', () => {
  test('is suspect after half of the timeout and gone after all of it', () => {
    const liveness = new BrokerLiveness({ timeoutMs: TIMEOUT_MS, tickMs: TICK_MS });
    expect(liveness.heard('a', 0)).toBe(true);
    expect(liveness.state('a')).toBe(LIVE);
    expect(run(liveness, 0, 2000)).toEqual({ suspect: ['a@500'], gone: ['a@1000'] });
    expect(liveness.state('a')).toBe(UNSPECIFIED);
  });

  test('is suspect at once when its stream ends, and live again when heard', () => {
    const liveness = new BrokerLiveness({ timeoutMs: TIMEOUT_MS, tickMs: TICK_MS });
    liveness.heard('a', 0);
    expect(liveness.disconnected('a')).toBe(true);
    expect(liveness.disconnected('a')).toBe(false);
    expect(liveness.state('a')).toBe(SUSPECT);
    expect(liveness.silenceMs('a', 300)).toBe(300);
    expect(liveness.heard('a', 300)).toBe(true);
    expect(liveness.heard('a', 301)).toBe(false);
    expect(liveness.state('a')).toBe(LIVE);
  });

  test('is not blamed for a time in which the name server itself did not run', () => {
    const liveness = new BrokerLiveness({ timeoutMs: TIMEOUT_MS, tickMs: TICK_MS });
    liveness.heard('a', 0);
    run(liveness, 0, 200);
    // Stopped for a minute; what brokers sent meanwhile still waits in the sockets.
    expect(liveness.tick(60_200)).toEqual({ suspect: [], gone: [] });
    expect(run(liveness, 60_220, 62_000)).toEqual({ suspect: ['a@60480'], gone: ['a@60980'] });
  });

  test('is gone only after a silence of the timeout, and then within one tick', () => {
    const signs = fc.array(fc.integer({ min: 0, max: 3000 }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(signs, (times) => {
        const liveness = new BrokerLiveness({ timeoutMs: TIMEOUT_MS, tickMs: TICK_MS });
        const sorted = times.sort((a, b) => a - b);
        let lastMs: number | undefined;
        for (let nowMs = 0; nowMs <= 5000; nowMs += TICK_MS) {
          while (sorted[0] !== undefined && sorted[0] <= nowMs) {
            lastMs = sorted.shift() ?? 0;
            liveness.heard('a', lastMs);
          }
          const { gone } = liveness.tick(nowMs);
          const silenceMs = lastMs === undefined ? 0 : nowMs - lastMs;
          expect(gone.length === 1).toBe(lastMs !== undefined && silenceMs >= TIMEOUT_MS);
          if (gone.length === 1) lastMs = undefined;
        }
      }),
    );
  });
});
