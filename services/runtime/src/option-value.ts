// Reads the value of one option: the text of a flag or variable, or the JSON value of a file.

import { formatAddress, parseAddress } from './address.ts';
import type { OptionDefinition } from './config.ts';
import { TernError } from './errors.ts';
import { formatBytes, formatDuration, parseBytes, parseDuration } from './units.ts';

/**
 * The value in the option's type.
 *
 * @param spelling the option as the reader wrote it, for the error
 * @throws TernError INVALID_ARGUMENT with reason BAD_OPTION
 */
export function readOption(
  definition: OptionDefinition,
  given: unknown,
  spelling: string,
): unknown {
  const value = read(definition, given);
  if (value !== undefined) return value;
  throw new TernError(
    'INVALID_ARGUMENT',
    'BAD_OPTION',
    `${spelling} is ${JSON.stringify(given)} but must be ${expected(definition)}.`,
  );
}

/** The value, or undefined when what was given is not of the option's kind. */
function read(definition: OptionDefinition, given: unknown): unknown {
  switch (definition.kind) {
    case 'text':
      return typeof given === 'string' && given !== '' ? given : undefined;
    case 'int':
      return within(definition, typeof given === 'string' ? parseInteger(given) : given);
    case 'bytes':
      return within(definition, typeof given === 'string' ? parseBytes(given) : given);
    case 'duration':
      return within(definition, parseDuration(String(given)));
    case 'boolean':
      return given === true || given === 'true'
        ? true
        : given === false || given === 'false'
          ? false
          : undefined;
    case 'list':
      return texts(given);
    case 'addresses':
      return addresses(texts(given) ?? []);
    case 'choice':
      return definition.choices.find((choice) => choice === given);
    default:
      return definition satisfies never;
  }
}

function expected(definition: OptionDefinition): string {
  switch (definition.kind) {
    case 'text':
      return 'a text that is not empty';
    case 'int':
      return `a whole number${range(definition, String)}`;
    case 'bytes':
      return `a size such as 64KiB, 256MiB or 10GiB${range(definition, formatBytes)}`;
    case 'duration':
      return `a time such as 200ms, 15s, 72h or 7d${range(definition, formatDuration)}`;
    case 'boolean':
      return 'true or false';
    case 'list':
      return 'texts separated by commas';
    case 'addresses':
      return 'addresses host:port separated by commas';
    case 'choice':
      return `one of ${definition.choices.join(', ')}`;
    default:
      return definition satisfies never;
  }
}

interface Bounds {
  readonly min?: number;
  readonly max?: number;
}

function within({ min = 0, max = Number.MAX_SAFE_INTEGER }: Bounds, value: unknown): unknown {
  return Number.isSafeInteger(value) && Number(value) >= min && Number(value) <= max
    ? value
    : undefined;
}

function range({ min = 0, max }: Bounds, format: (value: number) => string): string {
  return max === undefined
    ? `, at least ${format(min)}`
    : `, from ${format(min)} to ${format(max)}`;
}

function parseInteger(text: string): number | undefined {
  return /^-?\d{1,15}$/.test(text) ? Number(text) : undefined;
}

function texts(given: unknown): string[] | undefined {
  const parts = typeof given === 'string' ? given.split(',') : given;
  if (!Array.isArray(parts) || !parts.every((part) => typeof part === 'string')) return undefined;
  const trimmed = parts.map((part) => part.trim());
  return trimmed.includes('') ? undefined : trimmed;
}

function addresses(given: readonly string[]): string[] | undefined {
  const read: string[] = [];
  for (const text of given) {
    const address = parseAddress(text);
    if (address === undefined || address.port === 0) return undefined;
    read.push(formatAddress(address.host, address.port));
  }
  return read.length === 0 ? undefined : read;
}
