// A ledger whose events are lines of JSON: for events of many shapes, some thousands a second.

import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';

const BUFFER_CHARS_MAX = 64 * 1024;

/** Appends events to a file, through a buffer. The file is complete after `close`. */
export class LineLedger<Event> {
  readonly #file: number;
  #buffer = '';

  constructor(path: string) {
    this.#file = openSync(path, 'a');
  }

  write(event: Event): void {
    this.#buffer += `${JSON.stringify(event)}\n`;
    if (this.#buffer.length >= BUFFER_CHARS_MAX) this.#flush();
  }

  #flush(): void {
    const bytes = Buffer.from(this.#buffer);
    this.#buffer = '';
    for (let done = 0; done < bytes.length; ) done += writeSync(this.#file, bytes, done);
  }

  close(): void {
    this.#flush();
    closeSync(this.#file);
  }
}

/** The events of a file, in order. */
export function readLines<Event>(path: string): Event[] {
  const lines = readFileSync(path, 'utf8').split('\n');
  return lines.filter((line) => line !== '').map((line) => JSON.parse(line));
}
