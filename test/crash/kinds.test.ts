import { test } from 'vitest';
import { roundsOr, seedFor } from '../support/seed.ts';
import { crashKinds } from './kinds-rounds.ts';

test.each(['sync', 'async'] as const)(
  'delayed messages, transactions and ordered messages outlive kills of the broker with %s flush',
  async (flush) => {
    const rounds = roundsOr(20);
    await crashKinds({
      flush,
      rounds,
      seed: seedFor(`kinds under kill -9, ${flush}`),
      aliveMs: [50, 2000],
      delayMsMax: 10_000,
      // Without all of this there was nothing to lose.
      least: {
        send: {
          'delayed ack': rounds * 20,
          'delayed recalled': rounds,
          'transactions ended by commit': rounds * 5,
          'transactions ended by rollback': rounds,
          'ordered ack': rounds * 20,
        },
        consume: { 'ordered failed': rounds },
      },
    });
  },
);
