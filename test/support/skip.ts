import type { TestContext } from 'vitest';

declare module 'vitest' {
  interface TaskMeta {
    /** Why the test was skipped; `.ci/run` prints it. */
    skipped?: string;
  }
}

/**
 * Ends the test as skipped, with the reason printed, when there is one.
 *
 * @param reason why the test cannot run here; undefined when it can
 */
export function skipWhen(context: TestContext, reason: string | undefined): void {
  if (reason === undefined) return;
  context.task.meta.skipped = reason;
  console.log(`skipped: ${context.task.name}: ${reason}`);
  context.skip(reason);
}
