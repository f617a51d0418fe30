// Reads the command line, runs the command, and turns what it throws into a line and an exit code.

import { CommanderError } from 'commander';
import { causeChain, errorLine } from './error-text.ts';
import { exitCodeOf } from './exit-code.ts';
import { collectYoungGarbageOften } from './garbage.ts';
import { buildProgram } from './program.ts';

// Whoever reads the output may stop reading, as `head` does; that is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(0);
});

collectYoungGarbageOften();

const args = process.argv.slice(2);
try {
  const program = await buildProgram(args);
  await program.parseAsync(args, { from: 'user' });
} catch (error) {
  // Commander has already said what is wrong with the command line.
  if (!(error instanceof CommanderError)) {
    process.stderr.write(args.includes('--verbose') ? causeChain(error) : errorLine(error));
  }
  process.exitCode = exitCodeOf(error);
}
