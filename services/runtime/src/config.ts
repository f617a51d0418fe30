// Configuration: a declared list of options, and one pure function that finds their values.
//
//   command line flag  >  environment TERN_…  >  file (JSON)  >  default
//
// An option declared as `brokerPort` is `--broker-port`, `TERN_BROKER_PORT` and, in the file, "broker-port".
// A key that nobody declared is an error that names the nearest known one.

import { TernError } from './errors.ts';
import { nearest } from './nearest.ts';
import { readOption } from './option-value.ts';

interface Documented<Kind extends string, Value> {
  readonly kind: Kind;
  /** One sentence for `--help`: what it is, its unit, what is dangerous about it. */
  readonly doc: string;
  /** The value when nobody sets it; without one the option may be absent. */
  readonly default?: Value;
}

/** Any text. */
export type TextOption = Documented<'text', string>;
/** A whole number within bounds. */
export interface IntOption extends Documented<'int', number> {
  readonly min?: number;
  readonly max?: number;
}
/** A size in bytes: `4096`, `64KiB`, `256MiB`, `10GiB`, `1TiB`, or decimal `kB`, `MB`, `GB`, `TB`. */
export interface BytesOption extends Documented<'bytes', number> {
  readonly min?: number;
  readonly max?: number;
}
/** A span of time in milliseconds: `200ms`, `15s`, `10m`, `72h`, `7d`; `0`. */
export interface DurationOption extends Documented<'duration', number> {
  readonly min?: number;
  readonly max?: number;
}
/** `true` or `false`; a flag without a value is true. */
export type BooleanOption = Documented<'boolean', boolean>;
/** Texts, separated by commas. */
export type ListOption = Documented<'list', readonly string[]>;
/** Addresses `host:port`, separated by commas. */
export type AddressesOption = Documented<'addresses', readonly string[]>;
/** One of some words. */
export interface ChoiceOption<Choice extends string = string> extends Documented<'choice', Choice> {
  readonly choices: readonly Choice[];
}

/** How an option is declared. */
export type OptionDefinition =
  | TextOption
  | IntOption
  | BytesOption
  | DurationOption
  | BooleanOption
  | ListOption
  | AddressesOption
  | ChoiceOption;

/** Options by their names in lower camel case. */
export type OptionDefinitions = Readonly<Record<string, OptionDefinition>>;

type ValueOf<Definition> = Definition extends { kind: 'text' }
  ? string
  : Definition extends { kind: 'int' | 'bytes' | 'duration' }
    ? number
    : Definition extends { kind: 'boolean' }
      ? boolean
      : Definition extends { kind: 'list' | 'addresses' }
        ? readonly string[]
        : Definition extends { kind: 'choice'; choices: readonly (infer Choice)[] }
          ? Choice
          : never;

/** The values of declared options; one without a default may be undefined. */
export type OptionValues<Definitions extends OptionDefinitions> = {
  readonly [Name in keyof Definitions]: Definitions[Name] extends { default: unknown }
    ? ValueOf<Definitions[Name]>
    : ValueOf<Definitions[Name]> | undefined;
};

/** Where values come from. */
export interface OptionSources {
  /** Flags as a command line parser gives them: `brokerPort` or `broker-port`; undefined is not set. */
  readonly flags?: Readonly<Record<string, unknown>>;
  /** The environment; only names that start with TERN_ are looked at. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** The content of the file: one JSON object. */
  readonly file?: unknown;
  /**
   * Names of options that only other commands have. They may stand in the environment and in the file,
   * which several commands share, but not among the flags.
   */
  readonly others?: readonly string[];
}

/** Declares options; keeps their exact types, so that their values have them too. */
export function defineOptions<const Definitions extends OptionDefinitions>(
  definitions: Definitions,
): Definitions {
  return definitions;
}

const PREFIX = 'TERN_';

/** The key of an option in the file: `brokerPort` is "broker-port". */
export function fileKeyOf(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** The flag of an option: `brokerPort` is `--broker-port`. */
export function flagOf(name: string): string {
  return `--${fileKeyOf(name)}`;
}

/** The variable of an option: `brokerPort` is `TERN_BROKER_PORT`. */
export function variableOf(name: string): string {
  return PREFIX + fileKeyOf(name).replaceAll('-', '_').toUpperCase();
}

/**
 * The value of each option from the first source that has it.
 *
 * @throws TernError INVALID_ARGUMENT with reason UNKNOWN_OPTION or BAD_OPTION
 */
export function resolveOptions<const Definitions extends OptionDefinitions>(
  definitions: Definitions,
  sources: OptionSources,
): OptionValues<Definitions> {
  const own = Object.keys(definitions);
  const shared = [...own, ...(sources.others ?? [])];
  const layers = [
    layer(flags(sources.flags ?? {}), own, flagOf, 'flag'),
    layer(variables(sources.env ?? {}), shared, variableOf, 'environment variable'),
    layer(fileEntries(sources.file), shared, fileKeyOf, 'configuration file key'),
  ];
  const values: Record<string, unknown> = {};
  for (const [name, definition] of Object.entries(definitions)) {
    const given = layers.map((entries) => entries.get(name)).find((entry) => entry !== undefined);
    values[name] =
      given === undefined
        ? definition.default
        : readOption(definition, given.value, given.spelling);
  }
  return values as OptionValues<Definitions>;
}

interface Given {
  readonly value: unknown;
  /** As the reader wrote it: `--broker-port`, `TERN_BROKER_PORT`. */
  readonly spelling: string;
}

/** What one source gives, by the options' names. */
function layer(
  entries: readonly (readonly [string, unknown])[],
  known: readonly string[],
  spell: (name: string) => string,
  what: string,
): Map<string, Given> {
  const nameOf = new Map(known.map((name) => [spell(name), name]));
  const given = new Map<string, Given>();
  for (const [spelling, value] of entries) {
    if (value === undefined) continue;
    const name = nameOf.get(spelling);
    if (name === undefined) throw unknownOption(what, spelling, [...nameOf.keys()]);
    given.set(name, { value, spelling });
  }
  return given;
}

function unknownOption(what: string, spelling: string, known: readonly string[]): TernError {
  const near = nearest(spelling, known);
  const hint = near === undefined ? '' : ` The nearest one is ${near}.`;
  return new TernError('INVALID_ARGUMENT', 'UNKNOWN_OPTION', `Unknown ${what} ${spelling}.${hint}`);
}

function flags(given: Readonly<Record<string, unknown>>): [string, unknown][] {
  return Object.entries(given).map(([key, value]) => [flagOf(key), value]);
}

function variables(env: Readonly<Record<string, string | undefined>>): [string, unknown][] {
  return Object.entries(env).filter(([key]) => key.startsWith(PREFIX));
}

function fileEntries(file: unknown): [string, unknown][] {
  if (file === undefined) return [];
  if (typeof file === 'object' && file !== null && !Array.isArray(file))
    return Object.entries(file);
  throw new TernError(
    'INVALID_ARGUMENT',
    'BAD_OPTION',
    'The configuration file must hold one JSON object, for example { "broker-port": 10911 }.',
  );
}
