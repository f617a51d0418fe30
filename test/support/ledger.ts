// All that a test knows of its messages. `checker.ts` judges it.
//
// A message's number is `id * producers + producer`, so that a fact about every message is one bit and
// the content of a place one Uint32: some 13 bytes a message, and one bit for each reader. Invariant:
// number + 1 is stored, so that 0 means nothing.

import { Bits, Numbers } from './bits.ts';
import type { LedgerEvent, MessageName, Place } from './ledger-event.ts';

/** What can be wrong with a history. */
export type FaultKind =
  /** Acknowledged or stored, and a reader that read everything did not get it. */
  | 'lost'
  /** Stored at two places. */
  | 'duplicated'
  /** Delivered again to a group after the broker had confirmed that the group is done with it. */
  | 'redelivered'
  /** Behind a later message of its ordering key, or in another queue than its ordering key. */
  | 'reordered'
  /** Nobody meant to send it, or the broker had said that it refused it. */
  | 'unexpected'
  /** The body is not the one that was sent. */
  | 'altered'
  /** Not at the place that the broker said, or a place that held another message before. */
  | 'moved'
  /** An offset between others, or within the range that the broker states, that holds nothing. */
  | 'gap'
  /** A group's progress passed a message that the group never got. */
  | 'progressAhead';

/** One queue: what the broker said and what readers saw, by offset. */
interface QueueRecord {
  /** Number + 1 of the message that was acknowledged at this offset. */
  readonly acked: Numbers;
  /** Number + 1 of the message that readers saw at this offset. */
  readonly seen: Numbers;
  /** By reader: offsets that it got. */
  readonly received: Bits[];
  /** By reader: offsets that its group is done with. */
  readonly settled: Bits[];
  /** Valid offsets as the broker states them. */
  range: { begin: number; end: number } | undefined;
}

/** Keeps a history. Faults that show at once are passed to `onFault`. */
export class Ledger {
  readonly producers: number;
  /** Reader 0 is one that reads every queue from begin to end; the others are groups. */
  readonly readers: number;
  readonly intended = new Bits();
  readonly failed = new Bits();
  readonly queues = new Map<number, QueueRecord>();
  readonly progress: (Place & { reader: number; waiting: number })[] = [];
  /** What was done to the system, and when. */
  readonly timeline: string[] = [];
  /** Number of events by kind. */
  readonly counts: Record<LedgerEvent['kind'], number> = {
    intent: 0,
    ack: 0,
    fail: 0,
    unknown: 0,
    received: 0,
    settled: 0,
    progress: 0,
    range: 0,
  };
  readonly #digests = new Numbers();
  readonly #keys = new Numbers();
  readonly #onFault: (kind: FaultKind, what: string) => void;

  constructor(options: {
    producers: number;
    readers: number;
    onFault: (kind: FaultKind, what: string) => void;
  }) {
    this.producers = options.producers;
    this.readers = options.readers;
    this.#onFault = options.onFault;
  }

  /** Remembers what was done to the system, and when; printed with the faults. */
  note(what: string): void {
    this.timeline.push(`${new Date().toISOString()} ${what}`);
  }

  /** Takes one event. Events of one process come in its order; processes may come one after the other. */
  apply(event: LedgerEvent): void {
    this.counts[event.kind]++;
    switch (event.kind) {
      case 'intent': {
        const number = this.#numberOf(event);
        this.intended.add(number);
        this.#digests.set(number, event.digest);
        if (event.key !== 0) this.#keys.set(number, event.key);
        return;
      }
      case 'ack':
        this.#place(event, this.queue(event.queue).acked, 'acknowledged');
        return;
      case 'fail':
        this.failed.add(this.#numberOf(event));
        return;
      case 'unknown':
        return;
      case 'received':
        this.#received(event);
        return;
      case 'settled':
        bitsOf(this.queue(event.queue).settled, event.reader).add(event.offset);
        return;
      case 'progress':
        this.progress.push(event);
        return;
      case 'range':
        this.queue(event.queue).range = { begin: event.begin, end: event.offset };
        return;
    }
  }

  queue(queue: number): QueueRecord {
    let record = this.queues.get(queue);
    if (record === undefined) {
      const bits = () => Array.from({ length: this.readers }, () => new Bits());
      record = {
        acked: new Numbers(),
        seen: new Numbers(),
        received: bits(),
        settled: bits(),
        range: undefined,
      };
      this.queues.set(queue, record);
    }
    return record;
  }

  /** The ordering key of a message, 0 for none. */
  keyOf(number: number): number {
    return this.#keys.get(number);
  }

  /** A message's name for people. */
  nameOf(number: number): string {
    return describe({
      producer: number % this.producers,
      id: Math.floor(number / this.producers),
    });
  }

  #numberOf(message: MessageName): number {
    return message.id * this.producers + message.producer;
  }

  #received(event: Extract<LedgerEvent, { kind: 'received' }>): void {
    const queue = this.queue(event.queue);
    if (bitsOf(queue.settled, event.reader).has(event.offset)) {
      this.#onFault('redelivered', `${describe(event)} to reader ${event.reader}`);
    }
    bitsOf(queue.received, event.reader).add(event.offset);
    if (!this.#place(event, queue.seen, 'read')) return;
    if (this.#digests.get(this.#numberOf(event)) !== event.digest) {
      this.#onFault('altered', describe(event));
    }
  }

  /** False when the message is none that was meant to be sent. */
  #place(event: MessageName & Place, places: Numbers, how: string): boolean {
    const number = this.#numberOf(event);
    if (event.producer >= this.producers || !this.intended.has(number)) {
      this.#onFault('unexpected', `${describe(event)}, ${how} and never sent`);
      return false;
    }
    const before = places.get(event.offset);
    if (before === 0) places.set(event.offset, number + 1);
    else if (before !== number + 1) {
      this.#onFault('moved', `${describe(event)}, ${how} where ${this.nameOf(before - 1)} was`);
    }
    return true;
  }
}

function bitsOf(byReader: readonly Bits[], reader: number): Bits {
  const bits = byReader[reader];
  if (bits === undefined) throw new Error(`the ledger has no reader ${reader}`);
  return bits;
}

function describe(event: MessageName & Partial<Place>): string {
  const place = event.queue === undefined ? '' : ` at queue ${event.queue} offset ${event.offset}`;
  return `producer ${event.producer} message ${event.id}${place}`;
}
