// Reads a file line by line, as bytes: what a line holds need not be text.

import { createReadStream } from 'node:fs';
import { UsageError } from '../../exit-code.ts';

const CHUNK_BYTES = 1 << 20;
const LINE_BYTES_MAX = 16 << 20;
const NEWLINE = 0x0a;

/** The lines of a file, without their ends, as many at a time as have been read; `-` is standard input. */
export async function* linesOf(path: string): AsyncGenerator<Buffer[]> {
  const input =
    path === '-' ? process.stdin : createReadStream(path, { highWaterMark: CHUNK_BYTES });
  try {
    yield* splitLines(input as AsyncIterable<Buffer>);
  } catch (error) {
    const { syscall, message } = error as NodeJS.ErrnoException;
    if (syscall === undefined) throw error;
    throw new UsageError(`cannot read ${path}: ${message}`);
  }
}

/** Splits bytes at newlines; the last line need not have one. */
export async function* splitLines(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer[]> {
  let rest: Buffer[] = [];
  let restBytes = 0;
  for await (const chunk of chunks) {
    const lines: Buffer[] = [];
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      const line = chunk.subarray(start, end);
      lines.push(rest.length === 0 ? line : Buffer.concat([...rest, line]));
      rest = [];
      restBytes = 0;
      start = end + 1;
    }
    if (start < chunk.length) {
      rest.push(chunk.subarray(start));
      restBytes += chunk.length - start;
      if (restBytes > LINE_BYTES_MAX) {
        throw new UsageError(
          `a line is longer than ${LINE_BYTES_MAX} bytes; a message may have 4 MiB`,
        );
      }
    }
    if (lines.length > 0) yield lines;
  }
  if (rest.length > 0) yield [Buffer.concat(rest)];
}
