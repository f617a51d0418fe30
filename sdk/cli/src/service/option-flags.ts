// Declared options as flags of a command: its `--help` is written from the declarations.

import {
  fileKeyOf,
  flagOf,
  formatBytes,
  formatDuration,
  type OptionDefinition,
  type OptionDefinitions,
  variableOf,
} from '@ternmq/runtime';
import { type Command, Option } from 'commander';

function placeholder(definition: OptionDefinition): string {
  switch (definition.kind) {
    case 'text':
      return '<text>';
    case 'int':
      return '<number>';
    case 'bytes':
      return '<size>';
    case 'duration':
      return '<time>';
    case 'boolean':
      return '[true|false]';
    case 'list':
      return '<text,…>';
    case 'addresses':
      return '<host:port,…>';
    case 'choice':
      return `<${definition.choices.join('|')}>`;
    default:
      return definition satisfies never;
  }
}

/** The default as a person would write it; empty when there is none. */
function defaultText(definition: OptionDefinition): string {
  if (definition.default === undefined) return '';
  switch (definition.kind) {
    case 'bytes':
      return ` [${formatBytes(definition.default)}]`;
    case 'duration':
      return ` [${formatDuration(definition.default)}]`;
    case 'list':
    case 'addresses':
      return ` [${definition.default.join(',')}]`;
    case 'text':
    case 'int':
    case 'boolean':
    case 'choice':
      return ` [${definition.default}]`;
    default:
      return definition satisfies never;
  }
}

/** Adds a flag for every option. Values stay texts: `resolveOptions` reads them. */
export function addOptionFlags(command: Command, definitions: OptionDefinitions): void {
  for (const [name, definition] of Object.entries(definitions)) {
    const flags = `${flagOf(name)} ${placeholder(definition)}`;
    command.addOption(new Option(flags, `${definition.doc}${defaultText(definition)}`));
  }
  const [name = ''] = Object.keys(definitions);
  command.addHelpText(
    'after',
    `
Every option can also be set in the environment and in the --config file, a JSON object: ${flagOf(name)} is
${variableOf(name)} and "${fileKeyOf(name)}". A flag wins over the environment, and that over the file.`,
  );
}
