import { expect, test } from 'vitest';
import { roundsOr, seedFor } from '../support/seed.ts';
import { crashRounds } from './rounds.ts';

const RESTART_MS_MAX = 2000;

test.each(['sync', 'async'] as const)(
  'a broker killed under full load with %s flush loses nothing that it acknowledged',
  async (flush) => {
    const { restartMs } = await crashRounds({
      flush,
      rounds: roundsOr(20),
      seed: seedFor(`kill -9, ${flush}`),
      aliveMs: [50, 2000],
      crash: (broker) => broker.kill(),
    });
    expect(Math.max(...restartMs)).toBeLessThan(RESTART_MS_MAX);
  },
);
