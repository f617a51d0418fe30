/**
 * The seed of a test that uses chance: `SEED` of the environment, or a new one. It is printed, so that a
 * failing run can be repeated.
 *
 * @param test named in the line that is printed
 */
export function seedFor(test: string): number {
  const given = process.env.SEED;
  const seed = given === undefined ? Math.floor(Math.random() * 2 ** 32) : Number(given);
  if (!Number.isSafeInteger(seed)) throw new Error(`SEED is ${given}; it must be a whole number`);
  console.log(`${test}: SEED=${seed}`);
  return seed;
}

/** Rounds of a test that breaks things again and again: `CRASH_ROUNDS` of the environment, or the default. */
export function roundsOr(rounds: number): number {
  const given = process.env.CRASH_ROUNDS;
  if (given === undefined) return rounds;
  const number = Number(given);
  if (!Number.isSafeInteger(number) || number < 1) {
    throw new Error(`CRASH_ROUNDS is ${given}; it must be a whole number from 1 on`);
  }
  return number;
}
