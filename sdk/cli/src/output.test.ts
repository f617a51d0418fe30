import { expect, test } from 'vitest';
import { UsageError } from './exit-code.ts';
import { fields, jsonLine, outputFormat, table } from './output.ts';

const COLUMNS = [
  { title: 'name', value: (row: { name: string; size: number }) => row.name },
  { title: 'size', value: (row: { name: string; size: number }) => row.size },
];

test('a table is aligned, numbers to the right, without spaces at the ends of lines', () => {
  const rows = [
    { name: 'a', size: 1 },
    { name: 'größer', size: 1200 },
  ];
  expect(table(rows, COLUMNS)).toBe('NAME    SIZE\na          1\ngrößer  1200\n');
});

test('a table without rows has its titles', () => {
  expect(table([], COLUMNS)).toBe('NAME  SIZE\n');
});

test('control characters reach neither a table nor the terminal', () => {
  expect(table([{ name: 'a\n\u001b[2J', size: 0 }], COLUMNS)).toContain('\na··[2J ');
  expect(fields([['x', '\u001b']])).toBe('x: ·\n');
});

test('fields are aligned', () => {
  expect(
    fields([
      ['a', 1],
      ['long name', 'x'],
    ]),
  ).toBe('a:         1\nlong name: x\n');
});

test('JSON is one line', () => {
  expect(jsonLine({ body: 'two\nlines' })).toBe('{"body":"two\\nlines"}\n');
});

test('the output is a table or JSON', () => {
  expect(outputFormat(undefined)).toBe('table');
  expect(outputFormat('json')).toBe('json');
  expect(() => outputFormat('yaml')).toThrow(UsageError);
});
