// What the processes of a test tell of messages, and its bytes in a ledger file.
//
// A message is named (producer, id): producers count from 0, and each numbers its messages densely from
// 0. Queues are numbered through over all topics of a test.

import { closeSync, openSync, readSync, writeSync } from 'node:fs';

/** A place in a queue; the offset counts messages. */
export type Place = { readonly queue: number; readonly offset: number };

/** Names a message. */
export type MessageName = { readonly producer: number; readonly id: number };

/** One thing that happened, as a process outside the broker saw it. */
export type LedgerEvent =
  /** Before a send. `digest` is the CRC-32 of the body; `key` numbers the ordering key, 0 for none. */
  | ({ readonly kind: 'intent'; readonly digest: number; readonly key: number } & MessageName)
  /** The broker said that the message is stored, and where. */
  | ({ readonly kind: 'ack' } & MessageName & Place)
  /** The broker said that the message is refused and nothing of it stored. */
  | ({ readonly kind: 'fail' } & MessageName)
  /** No answer came: the message may be stored or not. */
  | ({ readonly kind: 'unknown' } & MessageName)
  /** A reader got the message. */
  | ({ readonly kind: 'received'; readonly reader: number; readonly digest: number } & MessageName &
      Place)
  /** The broker confirmed that the reader's group is done with the message at this place. */
  | ({ readonly kind: 'settled'; readonly reader: number } & Place)
  /** The broker said that the reader's group is done with all below `offset`, but for `waiting` of them. */
  | ({ readonly kind: 'progress'; readonly reader: number; readonly waiting: number } & Place)
  /** The broker said that the queue holds the offsets from `begin` up to and without `offset`. */
  | ({ readonly kind: 'range'; readonly begin: number } & Place);

const KINDS = [
  'intent',
  'ack',
  'fail',
  'unknown',
  'received',
  'settled',
  'progress',
  'range',
] as const satisfies readonly LedgerEvent['kind'][];

// One event, little-endian: kind u8, reader u8, producer u16, queue u32, offset u32, id or begin u32,
// digest or waiting u32, key u32.
const EVENT_BYTES = 24;

function encode(event: LedgerEvent, bytes: Buffer, at: number): void {
  const fields: { readonly [name: string]: number | string } = event;
  const field = (name: string) => Number(fields[name] ?? 0);
  bytes.writeUInt8(KINDS.indexOf(event.kind), at);
  bytes.writeUInt8(field('reader'), at + 1);
  bytes.writeUInt16LE(field('producer'), at + 2);
  bytes.writeUInt32LE(field('queue'), at + 4);
  bytes.writeUInt32LE(field('offset'), at + 8);
  bytes.writeUInt32LE(field('id') + field('begin'), at + 12);
  bytes.writeUInt32LE(field('digest') + field('waiting'), at + 16);
  bytes.writeUInt32LE(field('key'), at + 20);
}

function decode(bytes: Buffer, at: number): LedgerEvent {
  const kind = KINDS[bytes.readUInt8(at)];
  if (kind === undefined) throw new Error('the ledger file holds something that is no event');
  const reader = bytes.readUInt8(at + 1);
  const name = { producer: bytes.readUInt16LE(at + 2), id: bytes.readUInt32LE(at + 12) };
  const place = { queue: bytes.readUInt32LE(at + 4), offset: bytes.readUInt32LE(at + 8) };
  const digest = bytes.readUInt32LE(at + 16);
  switch (kind) {
    case 'intent':
      return { kind, ...name, digest, key: bytes.readUInt32LE(at + 20) };
    case 'ack':
      return { kind, ...name, ...place };
    case 'fail':
    case 'unknown':
      return { kind, ...name };
    case 'received':
      return { kind, reader, ...name, ...place, digest };
    case 'settled':
      return { kind, reader, ...place };
    case 'progress':
      return { kind, reader, ...place, waiting: digest };
    case 'range':
      return { kind, ...place, begin: name.id };
  }
}

/** Appends events to a file, through a buffer. The file is complete after `close`. */
export class LedgerWriter {
  readonly #file: number;
  readonly #buffer = Buffer.alloc(EVENT_BYTES * 4096);
  #used = 0;

  constructor(path: string) {
    this.#file = openSync(path, 'a');
  }

  write(event: LedgerEvent): void {
    if (this.#used === this.#buffer.length) this.flush();
    encode(event, this.#buffer, this.#used);
    this.#used += EVENT_BYTES;
  }

  /** Hands everything written so far to the operating system. */
  flush(): void {
    let done = 0;
    while (done < this.#used) done += writeSync(this.#file, this.#buffer, done, this.#used - done);
    this.#used = 0;
  }

  close(): void {
    this.flush();
    closeSync(this.#file);
  }
}

/** The events of a ledger file, in order. */
export function* readLedger(path: string): Generator<LedgerEvent> {
  const file = openSync(path, 'r');
  try {
    const buffer = Buffer.alloc(EVENT_BYTES * 4096);
    for (let kept = 0; ; ) {
      const read = readSync(file, buffer, kept, buffer.length - kept, null);
      const end = kept + read;
      const whole = end - (end % EVENT_BYTES);
      for (let at = 0; at < whole; at += EVENT_BYTES) yield decode(buffer, at);
      if (read === 0) return;
      buffer.copy(buffer, 0, whole, end);
      kept = end - whole;
    }
  } finally {
    closeSync(file);
  }
}
