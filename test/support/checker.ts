// Judges a history: whatever the broker acknowledged must be stored once, where it said, as it was sent,
// and reach every reader; nothing else may be there.

import { Bits } from './bits.ts';
import { type FaultKind, Ledger } from './ledger.ts';
import type { LedgerEvent } from './ledger-event.ts';

const EXAMPLES_MAX = 20;

/** All faults of one kind. */
export interface Finding {
  count: number;
  /** The first 20. */
  readonly first: string[];
}

/** What a check found. */
export interface Report {
  readonly faults: Readonly<Record<FaultKind, Finding>>;
  readonly counts: Ledger['counts'];
  readonly timeline: readonly string[];
}

/** Collects events and judges them. */
export class Checker {
  readonly ledger: Ledger;
  readonly #faults: Record<FaultKind, Finding> = {
    lost: { count: 0, first: [] },
    duplicated: { count: 0, first: [] },
    redelivered: { count: 0, first: [] },
    reordered: { count: 0, first: [] },
    unexpected: { count: 0, first: [] },
    altered: { count: 0, first: [] },
    moved: { count: 0, first: [] },
    gap: { count: 0, first: [] },
    progressAhead: { count: 0, first: [] },
  };

  /**
   * @param options.producers how many producers there are
   * @param options.readers how many readers: reader 0 reads every queue from begin to end, the others are
   *   groups, and each must get every message
   */
  constructor(options: { producers: number; readers: number }) {
    this.ledger = new Ledger({ ...options, onFault: (kind, what) => this.#fault(kind, what) });
  }

  apply(events: Iterable<LedgerEvent>): void {
    for (const event of events) this.ledger.apply(event);
  }

  /** Judges the whole history. To be called once, when readers have read everything. */
  check(): Report {
    const seenSomewhere = this.#checkSeen();
    this.#checkAcked(seenSomewhere);
    this.#checkReaders();
    this.#checkProgress();
    return { faults: this.#faults, counts: this.ledger.counts, timeline: this.ledger.timeline };
  }

  #fault(kind: FaultKind, what: string): void {
    const finding = this.#faults[kind];
    finding.count++;
    if (finding.first.length < EXAMPLES_MAX) finding.first.push(what);
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
          this.#fault('duplicated', what);
          continue;
        }
        seen.add(number);
        if (ledger.failed.has(number)) this.#fault('unexpected', `${what}, refused and yet stored`);
        const key = ledger.keyOf(number);
        if (key === 0) continue;
        // Numbers of one producer rise with its ids.
        const keyName = `${number % ledger.producers}/${key}`;
        const last = lastOfKey.get(keyName);
        if (last !== undefined && (last.queue !== queue || last.number > number)) {
          const behind = `${ledger.nameOf(last.number)} at queue ${last.queue}`;
          this.#fault('reordered', `${what}, behind ${behind}, ordering key ${key}`);
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
        if (acked.has(number)) this.#fault('duplicated', `${what} and elsewhere before`);
        acked.add(number);
        const found = record.seen.get(offset) - 1;
        if (found === number || offset < (record.range?.begin ?? 0)) continue;
        if (seen.has(number)) this.#fault('moved', what);
        else this.#fault('lost', found < 0 ? what : `${what}, where ${ledger.nameOf(found)} is`);
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
          this.#fault('gap', place);
          continue;
        }
        for (const [reader, received] of record.received.entries()) {
          if (!received.has(offset)) this.#fault('lost', `${place}, for reader ${reader}`);
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
        this.#fault(
          'progressAhead',
          `queue ${queue} offset ${offset}, reader ${reader} at ${floor}`,
        );
      }
    }
  }
}

/** Which kinds of faults were found. */
export function faultsFound(report: Report): FaultKind[] {
  return Object.entries(report.faults)
    .filter(([, finding]) => finding.count > 0)
    .map(([kind]) => kind as FaultKind);
}

/** The report for people; says "no faults" when there are none. */
export function formatReport(report: Report): string {
  const faults = Object.entries(report.faults)
    .filter(([, finding]) => finding.count > 0)
    .map(([kind, finding]) => {
      const more = finding.count > finding.first.length ? ['…'] : [];
      return [`${kind}: ${finding.count}`, ...finding.first, ...more].join('\n  ');
    });
  const counts = Object.entries(report.counts).map(([kind, count]) => `${count} ${kind}`);
  return [
    faults.length === 0 ? 'no faults' : faults.join('\n'),
    counts.join(', '),
    ...report.timeline,
  ].join('\n');
}
