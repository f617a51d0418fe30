// The tree of commands. Only the asked one is loaded: starting up is a good part of what a command takes.

import { Command } from 'commander';
import { VERSION } from './version.ts';

interface Noun {
  readonly summary: string;
  /** Adds options, verbs and actions. */
  readonly load: () => Promise<(command: Command) => void | Promise<void>>;
}

const NOUNS: Readonly<Record<string, Noun>> = {
  start: {
    summary: 'run a name server and a broker in one process',
    load: async () => (await import('./commands/start.ts')).startCommand,
  },
  nameserver: {
    summary: 'run a name server',
    load: async () => (await import('./commands/nameserver.ts')).nameserverCommand,
  },
  broker: {
    summary: 'run a broker',
    load: async () => (await import('./commands/broker.ts')).brokerCommand,
  },
  cluster: {
    summary: 'look at the cluster, and move the leadership of its brokers',
    load: async () => (await import('./commands/cluster.ts')).clusterCommand,
  },
  topic: {
    summary: 'list, show, create, change and remove topics',
    load: async () => (await import('./commands/topic.ts')).topicCommand,
  },
  group: {
    summary: 'consumer groups: list, show, lag, reset, remove',
    load: async () => (await import('./commands/group.ts')).groupCommand,
  },
  message: {
    summary: 'send, get, query and follow messages',
    load: async () => (await import('./commands/message.ts')).messageCommand,
  },
  transaction: {
    summary: 'list transactions, and decide them by hand',
    load: async () => (await import('./commands/transaction.ts')).transactionCommand,
  },
  bench: {
    summary: 'generate load and measure',
    load: async () => (await import('./commands/bench.ts')).benchCommand,
  },
  log: {
    summary: 'check or print the log of a data folder, without changing it',
    load: async () => (await import('./commands/log.ts')).logCommand,
  },
};

/** Builds the program, with the commands that these arguments ask for complete. */
export async function buildProgram(args: readonly string[]): Promise<Command> {
  const program = new Command('tern')
    .description('TernMQ: messages over gRPC, durable by default')
    .version(VERSION)
    .exitOverride()
    .showHelpAfterError('(run it with --help for its options and examples)')
    .addHelpText(
      'after',
      `
Examples:
  $ tern start
  $ tern message send --topic hello --body 'Hello, world'
  $ tern message tail --topic hello --from begin
  $ tern topic ls -o json

Exit codes: 0 ok, 1 error, 2 usage, 3 done in part, 4 not found, 5 denied, 6 unavailable or timeout`,
    );
  const operands = args.filter((arg) => !arg.startsWith('-'));
  const asked = operands[0] === 'help' ? operands[1] : operands[0];
  for (const [name, { summary, load }] of Object.entries(NOUNS)) {
    // Settings such as exitOverride are inherited from the program by `command()`.
    const command = program.command(name).description(summary);
    if (name === asked) await (await load())(command);
  }
  return program;
}
