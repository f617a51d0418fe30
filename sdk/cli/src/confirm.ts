// Asks before something is lost.

import { createInterface } from 'node:readline/promises';
import { UsageError } from './exit-code.ts';

/** Returns when the reader has typed the name, or `--yes` was given. Throws UsageError otherwise. */
export async function confirmLoss(
  what: string,
  name: string,
  { yes = false }: { readonly yes?: boolean },
): Promise<void> {
  if (yes) return;
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    throw new UsageError(`this deletes ${what}; say --yes where nobody can be asked`);
  }
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const typed = await lines.question(`This deletes ${what}. Type ${name} to go on: `);
    if (typed.trim() !== name) throw new UsageError('nothing was deleted');
  } finally {
    lines.close();
  }
}
