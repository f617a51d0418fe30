import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Asks again and again until the answer is there. For tests of processes, whose progress nothing tells;
 * tests within one process inject the time instead.
 *
 * @param what named in the error when the time is up
 * @param ask gives undefined as long as the answer is not there; what it throws counts as not there
 * @param options.withinMs how long to go on; the last error is the cause of the one thrown then
 * @param options.everyMs pause between two questions
 */
export async function eventually<Answer>(
  what: string,
  ask: () => Promise<Answer | undefined> | Answer | undefined,
  options: { withinMs: number; everyMs?: number },
): Promise<Answer> {
  const deadline = performance.now() + options.withinMs;
  let cause: unknown;
  do {
    try {
      const answer = await ask();
      if (answer !== undefined) return answer;
    } catch (error) {
      cause = error;
    }
    await sleep(options.everyMs ?? 50);
  } while (performance.now() < deadline);
  throw new Error(`${what}: not within ${options.withinMs} ms`, { cause });
}
