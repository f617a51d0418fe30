// Judges delayed messages: whatever the broker acknowledged comes once and not before its time, unless it was recalled.

import { Findings, type Report } from './report.ts';
import {
  describe,
  TOPIC_FAULTS,
  type TopicEvent,
  type TopicFault,
  TopicHistory,
} from './topic-history.ts';

/** Two times that are rounded down differ by less than this when they are the same. */
const ROUNDING_MS = 5;

/** What processes outside the broker tell of delayed messages. */
export type DelayedEvent =
  | TopicEvent
  /** Before a send: the earliest time at which the message may come, in milliseconds since the Unix epoch. */
  | {
      readonly kind: 'intent';
      readonly id: number;
      readonly digest: number;
      readonly dueMs: number;
    }
  /** Before the broker is asked to take it back. */
  | { readonly kind: 'recalling'; readonly id: number }
  /** The broker said that it was taken back. */
  | { readonly kind: 'recalled'; readonly id: number }
  /** The broker said that it does not wait any more. */
  | { readonly kind: 'recallRefused'; readonly id: number };

/** What can be wrong with delayed messages. */
export type DelayedFault =
  | TopicFault
  /** Stored in its queue, or delivered, before its time. */
  | 'early'
  /** The broker said that it was taken back, and it came. */
  | 'recalled';

/** Collects events and judges them. */
export class DelayedChecker {
  readonly #findings = new Findings<DelayedFault>([...TOPIC_FAULTS, 'early', 'recalled']);
  readonly #history = new TopicHistory(this.#findings);
  readonly #dueMs = new Map<number, number>();
  readonly #recalled = new Set<number>();
  /** Recalls without an answer, by message: it may have been taken back. */
  readonly #unanswered = new Map<number, number>();

  /** Takes events: first those of who sends. */
  apply(events: Iterable<DelayedEvent>): void {
    for (const event of events) this.#apply(event);
  }

  #apply(event: DelayedEvent): void {
    this.#history.count(event.kind);
    switch (event.kind) {
      case 'intent':
        this.#history.intended(event.id, event.digest);
        this.#dueMs.set(event.id, event.dueMs);
        return;
      case 'recalling':
        this.#unanswered.set(event.id, (this.#unanswered.get(event.id) ?? 0) + 1);
        return;
      case 'recalled':
        this.#recalled.add(event.id);
        return;
      case 'recallRefused':
        this.#unanswered.set(event.id, (this.#unanswered.get(event.id) ?? 0) - 1);
        return;
      case 'received':
        this.#notBefore(event.id, event.atMs, `${describe(event)} came`);
        this.#notBefore(event.id, event.storeMs, `${describe(event)} was released`);
        break;
      case 'stored':
        this.#notBefore(event.id, event.storeMs, `${describe(event)} was released`);
        break;
      case 'ack':
      case 'settled':
        break;
    }
    this.#history.apply(event);
  }

  #notBefore(id: number, atMs: number, what: string): void {
    const earlyMs = (this.#dueMs.get(id) ?? 0) - atMs;
    if (earlyMs > ROUNDING_MS) this.#findings.add('early', `${what} ${earlyMs} ms too early`);
  }

  /** Judges the whole history. To be called once, when nothing waits any more and all was read. */
  check(): Report<DelayedFault> {
    const history = this.#history;
    history.check();
    for (const id of history.acked) {
      if (history.stored.has(id) || this.#recalled.has(id)) continue;
      if ((this.#unanswered.get(id) ?? 0) > 0) continue;
      this.#findings.add('lost', `message ${id}, acknowledged and never released`);
    }
    for (const id of this.#recalled) {
      if (history.isSeen(id)) this.#findings.add('recalled', `message ${id} came nevertheless`);
    }
    return { faults: this.#findings.byKind, counts: history.counts, timeline: [] };
  }
}
