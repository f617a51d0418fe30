// What both sides of a call over the simulated network have in common: messages are bytes on the way, so that nothing is shared
// by accident.

import type { Readable } from 'node:stream';
import { Metadata, status } from '@grpc/grpc-js';
import type { End } from './network.ts';

export type Values = ReadonlyMap<string, string | Buffer>;
export type Serialize = (message: unknown) => Buffer;
export type Deserialize = (bytes: Buffer) => unknown;

export interface Status {
  readonly code: number;
  readonly details: string;
  readonly metadata: Metadata;
}

/** Bytes on the way in one direction of a call before the sender has to wait. */
export const WINDOW_BYTES = 256 << 10;

export function valuesOf(metadata: Metadata | null | undefined): Values {
  const values = new Map<string, string | Buffer>();
  for (const [key, value] of Object.entries(metadata?.getMap() ?? {})) values.set(key, value);
  return values;
}

export function metadataOf(values: Values): Metadata {
  const metadata = new Metadata();
  for (const [key, value] of values) metadata.set(key, value);
  return metadata;
}

export function statusFrom(error: unknown, trailer?: Metadata): Status {
  const { code, details, message, metadata } = error as Partial<Status> & Error;
  return {
    code: typeof code === 'number' ? code : status.UNKNOWN,
    details: details ?? message ?? 'Unknown Error',
    metadata: metadata ?? trailer ?? new Metadata(),
  };
}

export function errorFrom({ code, details, metadata }: Status): Error {
  return Object.assign(new Error(`${code} ${status[code]}: ${details}`), {
    code,
    details,
    metadata,
  });
}

/** What one side of a call sends and gets: one message at a time, within a window. */
export class Side {
  readonly #end: End;
  readonly #call: number;
  readonly #deserialize: Deserialize;
  readonly #into: Readable;
  readonly #got: Buffer[] = [];
  #wanted = false;
  #ended = false;
  #unread = 0;
  #onWay = 0;
  #waiting: (() => void) | undefined;

  constructor(end: End, call: number, deserialize: Deserialize, into: Readable) {
    this.#end = end;
    this.#call = call;
    this.#deserialize = deserialize;
    this.#into = into;
  }

  send(bytes: Buffer, sent: () => void): void {
    this.#end.send({ kind: 'message', call: this.#call, bytes: Buffer.from(bytes) });
    this.#onWay += bytes.length;
    if (this.#onWay < WINDOW_BYTES) sent();
    else this.#waiting = sent;
  }

  /** The other side has read so much. */
  window(bytes: number): void {
    this.#onWay -= bytes;
    if (this.#onWay >= WINDOW_BYTES) return;
    const sent = this.#waiting;
    this.#waiting = undefined;
    sent?.();
  }

  get drained(): boolean {
    return this.#got.length === 0;
  }

  got(bytes: Buffer): void {
    this.#got.push(bytes);
    this.#give();
  }

  ended(): void {
    this.#ended = true;
    this.#give();
  }

  read(): void {
    this.#wanted = true;
    this.#give();
  }

  #give(): void {
    while (this.#wanted && this.#got.length > 0) {
      const bytes = this.#got.shift() as Buffer;
      this.#unread += bytes.length;
      if (this.#unread > WINDOW_BYTES / 4) {
        this.#end.send({ kind: 'window', call: this.#call, bytes: this.#unread });
        this.#unread = 0;
      }
      this.#wanted = this.#into.push(this.#deserialize(bytes));
    }
    if (this.#ended && this.#got.length === 0) {
      this.#ended = false;
      this.#into.push(null);
    }
  }
}
