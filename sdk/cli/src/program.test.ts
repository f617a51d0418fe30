import type { Command } from 'commander';
import { describe, expect, test } from 'vitest';
import { buildProgram } from './program.ts';

const NOUNS = (await buildProgram([])).commands.map((command) => command.name());

/** The help as it is shown, examples included. */
function helpOf(command: Command): string {
  let text = '';
  command.configureOutput({
    writeOut: (part) => {
      text += part;
    },
  });
  command.outputHelp();
  return text;
}

describe.each(NOUNS)('tern %s', (noun) => {
  test('has help with examples on every command', async () => {
    const program = await buildProgram([noun, '--help']);
    const command = program.commands.find((one) => one.name() === noun) as Command;
    const verbs = command.commands.length === 0 ? [command] : command.commands;
    for (const verb of verbs) {
      expect(helpOf(verb)).toMatch(/Examples:\n {2}\$ tern /);
      expect(verb.description()).not.toBe('');
    }
  });
});

test('only the command that is asked for is loaded', async () => {
  const program = await buildProgram(['topic', 'ls']);
  const complete = program.commands.filter(({ commands }) => commands.length > 0);
  expect(complete.map((command) => command.name())).toEqual(['topic']);
});

test('help for a command loads it', async () => {
  const program = await buildProgram(['help', 'topic']);
  expect(program.commands.find((one) => one.name() === 'topic')?.commands).not.toHaveLength(0);
});
