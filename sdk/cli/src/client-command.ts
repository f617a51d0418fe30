// What the commands that talk to a cluster have in common.

import { holdProcess } from '@ternmq/runtime';
import { Client } from '@ternmq/sdk';
import type { Command } from 'commander';
import { duration } from './arguments.ts';
import { type OutputFormat, outputFormat } from './output.ts';

const DEADLINE_MS = 10_000;

/** Flags of every such command. */
export interface ClientFlags {
  readonly nameserver?: string;
  readonly output?: string;
  readonly timeout?: number;
}

/** One run of a command. */
export interface ClientCall<Flags> {
  readonly client: Client;
  /** Arguments that are no flags, in order. */
  readonly args: readonly string[];
  readonly flags: Flags & ClientFlags;
  readonly format: OutputFormat;
  /** For every call to a server. */
  readonly options: { readonly deadlineMs: number };
}

/** How a command looks. */
export interface VerbText {
  /** Name and arguments, for example `show <topic>`. */
  readonly usage: string;
  /** One line. */
  readonly summary: string;
  /** Command lines without the prompt. */
  readonly examples: readonly string[];
}

/** Adds a command that talks to a cluster. The client is closed when it has run. */
export function addClientCommand<Flags extends object>(
  parent: Command,
  text: VerbText,
  addFlags: (command: Command) => void,
  run: (call: ClientCall<Flags>) => Promise<void>,
): void {
  const command = parent.command(text.usage).description(text.summary);
  addFlags(command);
  command
    .option('--nameserver <host:port,…>', 'Name servers; or TERN_NAMESERVER [127.0.0.1:9876]')
    .option('-o, --output <table|json>', 'How data is printed, on standard output [table]')
    .option('--timeout <time>', 'How long each call may take [10s]', duration)
    .option('--verbose', 'When it fails, print the stack and what led to it')
    .addHelpText(
      'after',
      `\nExamples:\n${text.examples.map((line) => `  $ ${line}\n`).join('')}`.trimEnd(),
    )
    .action(async () => {
      const flags = command.opts<Flags & ClientFlags>();
      // Between two looks at a cluster that does not answer, nothing else does.
      using _held = holdProcess();
      const format = outputFormat(flags.output);
      const client = new Client(
        flags.nameserver === undefined ? {} : { nameservers: flags.nameserver },
      );
      try {
        const options = { deadlineMs: flags.timeout ?? DEADLINE_MS };
        await run({ client, args: command.args, flags, format, options });
      } finally {
        await client.close();
      }
    });
}
