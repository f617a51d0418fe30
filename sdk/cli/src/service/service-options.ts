// How the commands that run a service find their options: flags, environment, file, defaults.

import { readFileSync } from 'node:fs';
import {
  createLogger,
  defineOptions,
  type Logger,
  type OptionDefinitions,
  type OptionValues,
  resolveOptions,
} from '@ternmq/runtime';
import type { Command } from 'commander';
import { UsageError } from '../exit-code.ts';
import { addOptionFlags } from './option-flags.ts';

/** Options that every service has. */
export const SERVICE_OPTIONS = defineOptions({
  logLevel: {
    kind: 'choice',
    choices: ['silent', 'fatal', 'error', 'warn', 'info', 'debug', 'trace'],
    default: 'info',
    doc: 'Least important log lines that are written, to standard error',
  },
  logFormat: {
    kind: 'choice',
    choices: ['json', 'text'],
    doc: 'One JSON object a line, or text for people [text on a terminal, else json]',
  },
});

/** Values of those. */
export type ServiceOptions = OptionValues<typeof SERVICE_OPTIONS>;

/** Adds the flags of a service. */
export function addServiceFlags(command: Command, definitions: OptionDefinitions): void {
  addOptionFlags(command, definitions);
  command.option('--config <file>', 'File with options; or TERN_CONFIG');
  command.option('-o, --output <table|json>', 'How what is printed when it is ready looks [table]');
}

/**
 * The options' values. Variables and file keys of other services are let pass: all may share an environment
 * and a file.
 */
export function serviceOptions<const Definitions extends OptionDefinitions>(
  definitions: Definitions,
  given: {
    readonly flags: Readonly<Record<string, unknown>>;
    readonly env: Readonly<Record<string, string | undefined>>;
    readonly others: readonly OptionDefinitions[];
  },
): OptionValues<Definitions> {
  const flags = Object.fromEntries(
    Object.entries(given.flags).filter(([name]) => name in definitions),
  );
  const path = given.flags.config ?? given.env.TERN_CONFIG;
  return resolveOptions(definitions, {
    flags,
    env: given.env,
    file: typeof path === 'string' ? configFile(path) : undefined,
    others: ['config', 'nameserver', ...given.others.flatMap((one) => Object.keys(one))],
  });
}

function configFile(path: string): unknown {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new UsageError(`cannot read the --config file ${path}: ${(cause as Error).message}`);
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new UsageError(`the --config file ${path} is no JSON: ${(cause as Error).message}`);
  }
}

/** The logger that these options ask for. */
export function serviceLogger({ logLevel, logFormat }: ServiceOptions): Logger {
  return createLogger({
    level: logLevel,
    ...(logFormat === undefined ? {} : { format: logFormat }),
  });
}
