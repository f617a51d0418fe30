// What commands print: tables for people, JSON for programs, both on standard output.

import { once } from 'node:events';
import { UsageError } from './exit-code.ts';

/** How data is printed. */
export type OutputFormat = 'table' | 'json';

/** Reads the value of `-o`. Throws UsageError. */
export function outputFormat(given: unknown): OutputFormat {
  if (given === undefined || given === 'table') return 'table';
  if (given === 'json') return 'json';
  throw new UsageError(`-o is ${JSON.stringify(given)} but must be table or json`);
}

/** A value as one line of JSON. */
export function jsonLine(value: unknown): string {
  return `${JSON.stringify(value)}\n`;
}

/** A column of a table. */
export interface Column<Row> {
  readonly title: string;
  readonly value: (row: Row) => string | number;
}

/** Rows under titles; columns are aligned, numbers to the right. */
export function table<Row>(rows: readonly Row[], columns: readonly Column<Row>[]): string {
  const cells = rows.map((row) => columns.map(({ value }) => value(row)));
  const numeric = columns.map(
    (_, at) => cells.length > 0 && cells.every((row) => typeof row[at] === 'number'),
  );
  const lines = [
    columns.map(({ title }) => title.toUpperCase()),
    ...cells.map((row) => row.map(cell)),
  ];
  const widths = columns.map((_, at) => Math.max(...lines.map((line) => width(line[at] ?? ''))));
  return lines.map((line) => `${alignedLine(line, widths, numeric)}\n`).join('');
}

/** Names and values below each other. */
export function fields(
  pairs: readonly (readonly [name: string, value: string | number])[],
): string {
  const widest = Math.max(...pairs.map(([name]) => width(name)));
  return pairs
    .map(([name, value]) => `${`${name}:`.padEnd(widest + 2)}${cell(value)}`.trimEnd())
    .map((line) => `${line}\n`)
    .join('');
}

function alignedLine(
  line: readonly string[],
  widths: readonly number[],
  numeric: readonly boolean[],
): string {
  return line
    .map((text, at) => {
      const space = ' '.repeat(Math.max(0, (widths[at] ?? 0) - width(text)));
      return numeric[at] ? space + text : text + space;
    })
    .join('  ')
    .trimEnd();
}

/** Control characters would break the table, or the terminal. */
function cell(value: string | number): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what is replaced
  return String(value).replaceAll(/[\u0000-\u001f\u007f-\u009f]/g, '·');
}

function width(text: string): number {
  return [...text].length;
}

/** Writes to standard output; waits when its reader is slow. */
export async function print(text: string): Promise<void> {
  if (text !== '' && !process.stdout.write(text)) await once(process.stdout, 'drain');
}
