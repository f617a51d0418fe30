// Judges a history: whatever the broker acknowledged must be stored once, where it said, as it was sent,
// and reach every reader; nothing else may be there.

import { Bits } from './bits.ts';
import { type FaultKind, Ledger } from './ledger.ts';
import type { LedgerEvent } from './ledger-event.ts';
import { Findings, type Report } from './report.ts';

/** Collects events and judges them. */
export class Checker {
  readonly ledger: Ledger;
  readonly #faults = new Findings<FaultKind>([
    'lost',
    'duplicated',
    'redelivered',
    'reordered',
    'unexpected',
    'altered',
    'moved',
    'gap',
    'progressAhead',
  ]);

  /**
   * @param options.producers how many producers there are
   * @param options.readers how many readers: reader 0 reads every queue from begin to end, the others are
   *   groups, and each must get every message
   */
  constructor(options: { producers: number; readers: number }) {
    this.ledger = new Ledger({ ...options, onFault: (kind, what) => this.#faults.add(kind, what) });
  }

  apply(events: Iterable<LedgerEvent>): void {
    for (const event of events) this.ledger.apply(event);
  }

  /** Judges the whole history. To be called once, when readers have read everything. */
  check(): Report<FaultKind> {
    const seenSomewhere = this.#checkSeen();
    this.#checkAcked(seenSomewhere);
    this.#checkReaders();
    this.#checkProgress();
    return {
      faults: this.#faults.byKind,
      counts: this.ledger.counts,
      timeline: this.ledger.timeline,
    };
  }

  /** What readers saw: each message once, in its key's order, and none that was refused. */
  #checkSeen(): Bits {
    const ledger = this.ledger;
    const seen = new Bits();
    const lastOfKey = new Map<string, { number: number; queue: number }>();
    for (const [queue, record] of ledger.queues) {
      for (let offset = 0; offset < record.seen.length; offset++) {
        const number = record.seen.get(offset) - 1;
        if (number < 0) continue;
        const what = `${ledger.nameOf(number)} at queue ${queue} offset ${offset}`;
        if (seen.has(number)) {
          this.#faults.add('duplicated', what);
          continue;
        }
        seen.add(number);
        if (ledger.failed.has(number))
          this.#faults.add('unexpected', `${what}, refused and yet stored`);
        const key = ledger.keyOf(number);
        if (key === 0) continue;
        // Numbers of one producer rise with its ids.
        const keyName = `${number % ledger.producers}/${key}`;
        const last = lastOfKey.get(keyName);
        if (last !== undefined && (last.queue !== queue || last.number > number)) {
          const behind = `${ledger.nameOf(last.number)} at queue ${last.queue}`;
          this.#faults.add('reordered', `${what}, behind ${behind}, ordering key ${key}`);
        } else lastOfKey.set(keyName, { number, queue });
      }
    }
    return seen;
  }

  /** What was acknowledged: at its place, and at no second one. */
  #checkAcked(seen: Bits): void {
    const ledger = this.ledger;
    const acked = new Bits();
    for (const [queue, record] of ledger.queues) {
      for (let offset = 0; offset < record.acked.length; offset++) {
        const number = record.acked.get(offset) - 1;
        if (number < 0) continue;
        const what = `${ledger.nameOf(number)}, acknowledged at queue ${queue} offset ${offset}`;
        if (acked.has(number)) this.#faults.add('duplicated', `${what} and elsewhere before`);
        acked.add(number);
        const found = record.seen.get(offset) - 1;
        if (found === number || offset < (record.range?.begin ?? 0)) continue;
        if (seen.has(number)) this.#faults.add('moved', what);
        else
          this.#faults.add('lost', found < 0 ? what : `${what}, where ${ledger.nameOf(found)} is`);
      }
    }
  }

  /** Every reader got what is stored; the stored offsets are dense. */
  #checkReaders(): void {
    for (const [queue, record] of this.ledger.queues) {
      const first = record.range?.begin ?? 0;
      const end = Math.max(record.range?.end ?? 0, record.seen.length);
      for (let offset = first; offset < end; offset++) {
        const place = `queue ${queue} offset ${offset}`;
        if (record.received.every((received) => !received.has(offset))) {
          this.#faults.add('gap', place);
          continue;
        }
        for (const [reader, received] of record.received.entries()) {
          if (!received.has(offset)) this.#faults.add('lost', `${place}, for reader ${reader}`);
        }
      }
    }
  }

  /** Whatever a group's progress covers was delivered to it, but for what waits for another delivery. */
  #checkProgress(): void {
    for (const { reader, queue, offset: floor, waiting } of this.ledger.progress) {
      const record = this.ledger.queue(queue);
      const missing: number[] = [];
      for (let offset = record.range?.begin ?? 0; offset < floor; offset++) {
        if (!record.received[reader]?.has(offset)) missing.push(offset);
      }
      for (const offset of missing.slice(waiting)) {
        this.#faults.add(
          'progressAhead',
          `queue ${queue} offset ${offset}, reader ${reader} at ${floor}`,
        );
      }
    }
  }
}
