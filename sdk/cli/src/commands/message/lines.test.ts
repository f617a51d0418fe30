import fc from 'fast-check';
import { expect, test } from 'vitest';
import { UsageError } from '../../exit-code.ts';
import { linesOf, splitLines } from './lines.ts';

async function* inPieces(bytes: Buffer, pieceBytes: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += pieceBytes) yield bytes.subarray(at, at + pieceBytes);
}

async function all(lines: AsyncIterable<Buffer[]>): Promise<string[]> {
  const read: string[] = [];
  for await (const some of lines) read.push(...some.map((line) => line.toString('latin1')));
  return read;
}

test('lines are the same in whatever pieces the bytes come', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.stringMatching(/^[a-c\r\xff]{0,5}$/), { minLength: 1, maxLength: 20 }),
      fc.integer({ min: 1, max: 7 }),
      async (lines, pieceBytes) => {
        const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(''), 'latin1');
        expect(await all(splitLines(inPieces(bytes, pieceBytes)))).toEqual(lines);
      },
    ),
  );
});

test('the last line need not end', async () => {
  expect(await all(splitLines(inPieces(Buffer.from('a\nb'), 100)))).toEqual(['a', 'b']);
  expect(await all(splitLines(inPieces(Buffer.from(''), 100)))).toEqual([]);
});

test('a line without end is refused before it fills the memory', async () => {
  const endless = (async function* () {
    for (;;) yield Buffer.alloc(1 << 20, 'x');
  })();
  await expect(all(splitLines(endless))).rejects.toThrow(UsageError);
});

test('a file that is missing is said with its name', async () => {
  await expect(all(linesOf('/no/such/file'))).rejects.toThrow(/cannot read \/no\/such\/file/);
});
