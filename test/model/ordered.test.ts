import fc from 'fast-check';
import { describe, test } from 'vitest';
import { seedFor } from '../support/seed.ts';
import { OrderedLife, type OrderedStep, orderedStep } from './ordered.model.ts';

/** Lives that are tried; thousands with MODEL_RUNS, as `npm run test:model` does. */
const RUNS = Number(process.env.MODEL_RUNS ?? 150);
const lives = fc.array(orderedStep, { minLength: 5, maxLength: 45, size: 'max' });

test(
  'an ordered group gets every message that its rule allows and none that it forbids, whatever happens to it',
  async () => {
    const seed = seedFor('ordered model') % 2 ** 31;
    await fc.assert(
      fc.asyncProperty(lives, fc.boolean(), (steps: OrderedStep[], stops) =>
        OrderedLife.run(steps, stops),
      ),
      { numRuns: RUNS, seed },
    );
  },
  RUNS * 2000,
);

describe('went wrong once:', () => {
  const retry = (delayMs: number) => ({ kind: 'retry', delayMs }) as const;
  const [UNARY, STREAM, OTHER] = [0, 1, 2];
  const LIVES: Readonly<Record<string, readonly OrderedStep[]>> = {
    'a stream that closed kept what it had been delivered again, beside newer messages of the key':
      [
        { do: 'send', queue: 0, keys: [1] },
        { do: 'receive', consumer: STREAM, max: 1 },
        { do: 'settle', which: 0, span: 1, action: { kind: 'giveBack' } },
        { do: 'send', queue: 0, keys: [1] },
        { do: 'receive', consumer: STREAM, max: 2 },
        { do: 'leave', consumer: STREAM, clean: true },
      ],
    'keys were mistaken once the index of a quiet queue had left the memory and come back': [
      { do: 'send', queue: 0, keys: [0, 1, 1] },
      { do: 'receive', consumer: STREAM, max: 8 },
      { do: 'settle', which: 1, span: 2, action: { kind: 'acknowledge' } },
      { do: 'idle' },
      { do: 'send', queue: 0, keys: [1] },
      { do: 'receive', consumer: STREAM, max: 100 },
      { do: 'settle', which: 3, span: 1, action: { kind: 'acknowledge' } },
      { do: 'send', queue: 0, keys: [1] },
      { do: 'receive', consumer: OTHER, max: 100 },
    ],
    'a message that was due and held back stood in the way of those behind it': [
      { do: 'send', queue: 0, keys: [1, 1, 0] },
      { do: 'receive', consumer: UNARY, max: 8 },
      { do: 'settle', which: 1, span: 1, action: retry(200) },
      { do: 'settle', which: 2, span: 1, action: retry(200) },
      { do: 'settle', which: 0, span: 1, action: retry(9000) },
      { do: 'pass', ticks: 5 },
      { do: 'receive', consumer: UNARY, max: 1 },
    ],
  };

  test.each(Object.entries(LIVES))('%s', async (_name, steps) => {
    await OrderedLife.run(steps, false);
  });
});
