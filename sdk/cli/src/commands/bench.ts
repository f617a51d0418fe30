// `tern bench`: generates load from a process of its own, and measures. Not a test of speed by itself: what counts
// is a comparison on the same machine in the same minute.

import type { Command } from 'commander';
import { addConsume } from './bench/consume.ts';
import { addEndToEnd } from './bench/end-to-end.ts';
import { addProduce } from './bench/produce.ts';

/** Completes the command. */
export function benchCommand(command: Command): void {
  addProduce(command);
  addConsume(command);
  addEndToEnd(command);
}
