// Sends the log to one slave: from the tail cache while it keeps up, from the files while it does not. Nothing is queued:
// what the slave has not taken stays where it is, in the log.

import type { Run, RunReader } from '../log/run-reader.ts';
import type { Segment } from '../log/segments.ts';
import { encodeRecords } from './records-message.ts';

/** Bytes of records in one message. */
const RUN_BYTES_MAX = 512 << 10;
/** Bytes that may be sent and not yet durable at the slave. */
const WINDOW_BYTES = 32 << 20;
const NOTHING = Buffer.alloc(0);

/** A stream to a slave. */
export interface ReplicaChannel {
  /** Takes a ReplicateResponse; false when the slave does not keep up: wait until `drained`. */
  write(message: Buffer): boolean;
  /** Ends the stream. */
  fail(error: Error): void;
}

/** The log as a feed reads it. */
export interface FedLog {
  readonly written: number;
  readonly visible: number;
  segmentAt(position: number): Segment | undefined;
}

/** Sends the log to one slave. */
export class ReplicaFeed {
  readonly #log: FedLog;
  readonly #runs: RunReader;
  readonly #channel: ReplicaChannel;
  #position: number;
  #durable: number;
  #clogged = false;
  #loading = false;
  #closed = false;
  #toldConfirmed = -1;

  /** @param position where the slave goes on */
  constructor(log: FedLog, runs: RunReader, channel: ReplicaChannel, position: number) {
    this.#log = log;
    this.#runs = runs;
    this.#channel = channel;
    this.#position = position;
    this.#durable = position;
  }

  /** The slave has made its log durable up to a position. */
  acknowledged(durable: number): void {
    this.#durable = Math.max(this.#durable, durable);
    this.pump();
  }

  /** The slave has taken what waited in the stream. */
  drained(): void {
    this.#clogged = false;
    this.pump();
  }

  /** Sends what the slave lacks, as far as it takes it. */
  pump(): void {
    while (!this.#closed && !this.#clogged && !this.#loading) {
      this.#position = this.#runs.ahead(this.#position);
      const position = this.#position;
      if (position >= this.#log.written || position - this.#durable > WINDOW_BYTES) return;
      const run = this.#runs.cached(position, RUN_BYTES_MAX);
      if (run === undefined) this.#load(position);
      else this.#send(run);
    }
  }

  #load(position: number): void {
    this.#loading = true;
    this.#runs.load(position, RUN_BYTES_MAX).then(
      (run) => {
        this.#loading = false;
        if (this.#closed) return;
        this.#send(run);
        this.pump();
      },
      (error: Error) => this.close(error),
    );
  }

  #send({ position, segment, bytes }: Run): void {
    this.#toldConfirmed = this.#log.visible;
    this.#position = position + bytes.length;
    this.#clogged = !this.#channel.write(
      encodeRecords(position, segment, this.#toldConfirmed, bytes),
    );
  }

  /** Tells what is confirmed, if that is news or a sign of life is wanted. */
  tellConfirmed(always: boolean): void {
    const { visible } = this.#log;
    if (this.#closed || this.#clogged || (visible === this.#toldConfirmed && !always)) return;
    const segment = this.#log.segmentAt(this.#position) ?? { start: 0, end: 0 };
    this.#toldConfirmed = visible;
    this.#clogged = !this.#channel.write(encodeRecords(this.#position, segment, visible, NOTHING));
  }

  /** Ends the stream. */
  close(error: Error): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#channel.fail(error);
  }
}
