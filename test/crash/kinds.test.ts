import { expect, test } from 'vitest';
import { roundsOr, seedFor } from '../support/seed.ts';
import { crashKinds } from './kinds-rounds.ts';

test.each(['sync', 'async'] as const)(
  'delayed messages, transactions and ordered messages outlive kills of the broker with %s flush',
  async (flush) => {
    const rounds = roundsOr(20);
    const { delayed, transactions, ordered } = await crashKinds({
      flush,
      rounds,
      seed: seedFor(`kinds under kill -9, ${flush}`),
      aliveMs: [50, 2000],
      delayMsMax: 10_000,
    });
    // Without all of this there was nothing to lose.
    expect(delayed.counts.ack).toBeGreaterThan(rounds * 20);
    expect(delayed.counts.recalled).toBeGreaterThan(rounds);
    expect(transactions.counts['ended by commit']).toBeGreaterThan(rounds * 5);
    expect(transactions.counts['ended by rollback']).toBeGreaterThan(rounds);
    expect(ordered.counts.ack).toBeGreaterThan(rounds * 20);
    expect(ordered.counts.failed).toBeGreaterThan(rounds);
  },
);
