// Judges messages with ordering keys and the ordered group that reads them: whatever the broker acknowledged is stored in
// the order in which it was sent, and no message is handled before all earlier ones of its key are handled.
//
//   a message, as its handlers know it:  new -> working -> handled
//                                                  \-> failed       and from each back to working when it comes again

import { Findings, type Report } from './report.ts';
import {
  describe,
  TOPIC_FAULTS,
  type TopicEvent,
  type TopicFault,
  TopicHistory,
} from './topic-history.ts';

/** What processes outside the broker tell of ordered messages. */
export type OrderedEvent =
  | TopicEvent
  /** Before a send. Messages of one key are sent in the order of their numbers. */
  | {
      readonly kind: 'intent';
      readonly id: number;
      readonly digest: number;
      readonly key: number;
    }
  /** The handler is done with what it received, and acknowledges it. */
  | { readonly kind: 'handled'; readonly id: number }
  /** The handler failed on what it received. */
  | { readonly kind: 'failed'; readonly id: number };

/** What can be wrong with ordered messages. */
export type OrderedFault =
  | TopicFault
  /** Stored behind a later one of its key, or in another queue. */
  | 'reordered'
  /** Delivered while an earlier one of its key was not handled. */
  | 'overtaking';

/** What handlers know of the messages of one key, by their place in its order. */
interface KeyRecord {
  /** Places below were handled at least once. */
  next: number;
  /** Places that are being handled, or failed, since they came last. */
  readonly unhandled: Set<number>;
}

/** Collects events and judges them. */
export class OrderedChecker {
  readonly #findings = new Findings<OrderedFault>([...TOPIC_FAULTS, 'reordered', 'overtaking']);
  readonly #history = new TopicHistory(this.#findings);
  readonly #keys = new Map<number, number>();
  /** What handlers told, in its order: judged when the order of each key is known. */
  readonly #handling: Extract<OrderedEvent, { kind: 'received' | 'handled' | 'failed' }>[] = [];

  /** Takes events: first those of who sends; those of the whole group in the order in which they happened. */
  apply(events: Iterable<OrderedEvent>): void {
    for (const event of events) {
      this.#history.count(event.kind);
      switch (event.kind) {
        case 'intent':
          this.#history.intended(event.id, event.digest);
          this.#keys.set(event.id, event.key);
          break;
        case 'handled':
        case 'failed':
          this.#handling.push(event);
          break;
        case 'received':
          this.#handling.push(event);
          this.#history.apply(event);
          break;
        default:
          this.#history.apply(event);
      }
    }
  }

  /** Judges the whole history. To be called once, when all was read. */
  check(): Report<OrderedFault> {
    const history = this.#history;
    history.check();
    for (const id of history.acked) {
      if (!history.stored.has(id)) this.#findings.add('lost', `message ${id}, acknowledged`);
    }
    this.#checkHandling(this.#checkStored());
    return { faults: this.#findings.byKind, counts: history.counts, timeline: [] };
  }

  /** The order in which each key is stored; returns the place of each message in it. */
  #checkStored(): Map<number, number> {
    const places = new Map<number, number>();
    const last = new Map<number, { id: number; queue: number; places: number }>();
    const stored = [...this.#history.stored.values()];
    stored.sort((one, other) => one.queue - other.queue || one.offset - other.offset);
    for (const sighting of stored) {
      const key = this.#keys.get(sighting.id);
      if (key === undefined) continue;
      const before = last.get(key);
      if (before !== undefined && (before.queue !== sighting.queue || before.id > sighting.id)) {
        this.#findings.add('reordered', `${describe(sighting)}, behind message ${before.id}`);
      }
      const place = before?.places ?? 0;
      places.set(sighting.id, place);
      last.set(key, { id: sighting.id, queue: sighting.queue, places: place + 1 });
    }
    return places;
  }

  #checkHandling(places: ReadonlyMap<number, number>): void {
    const records = new Map<number, KeyRecord>();
    for (const event of this.#handling) {
      const key = this.#keys.get(event.id);
      const place = places.get(event.id);
      // What is not stored was found before.
      if (key === undefined || place === undefined) continue;
      let record = records.get(key);
      if (record === undefined) {
        record = { next: 0, unhandled: new Set() };
        records.set(key, record);
      }
      if (event.kind === 'received') {
        const earlier = [...record.unhandled].filter((one) => one < place);
        if (place > record.next || earlier.length > 0) {
          const what = `${describe(event)}, number ${place} of key ${key}`;
          const why = earlier.length > 0 ? `${earlier} was not handled` : `${record.next} was next`;
          this.#findings.add('overtaking', `${what} came when ${why}`);
        }
        record.unhandled.add(place);
      } else if (event.kind === 'handled') {
        record.unhandled.delete(place);
        record.next = Math.max(record.next, place + 1);
      }
    }
  }
}
