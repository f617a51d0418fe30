// Holds a process still while something is done to what it runs on.

import { readdirSync, readFileSync } from 'node:fs';
import { eventually } from './eventually.ts';

const STOP_MS_MAX = 10_000;

/** A thread's state as Linux shows it, behind the name in parentheses: T is stopped. */
function isStopped(stat: string): boolean {
  return stat.slice(stat.lastIndexOf(')') + 2).startsWith('T');
}

/**
 * Does something while no thread of a process runs and none is in a system call: one that was under way has ended,
 * and its result will be seen when the process goes on, afterwards.
 */
export async function whileStopped(pid: number, act: () => void): Promise<void> {
  const threads = `/proc/${pid}/task`;
  process.kill(pid, 'SIGSTOP');
  try {
    await eventually(
      'every thread has stopped',
      () =>
        readdirSync(threads).every((thread) =>
          isStopped(readFileSync(`${threads}/${thread}/stat`, 'utf8')),
        ) || undefined,
      { withinMs: STOP_MS_MAX, everyMs: 1 },
    );
    act();
  } finally {
    process.kill(pid, 'SIGCONT');
  }
}
