// The history of the messages of one topic and one group that reads it, and what holds for messages of every kind: nothing is
// there that nobody sent, as it was not sent, or twice; what is there comes to the group; what the broker has confirmed
// as done with does not come again. What holds for one kind only is judged by `delayed-checker.ts`,
// `transaction-checker.ts` and `ordered-checker.ts`.
//
// A message is named by its number.

import type { Findings } from './report.ts';

/** A message somewhere in the topic. */
export interface Sighting {
  readonly id: number;
  /** CRC-32 of the body. */
  readonly digest: number;
  readonly queue: number;
  readonly offset: number;
  /** When the broker stored it here, in milliseconds since the Unix epoch. */
  readonly storeMs: number;
}

/** What processes outside the broker tell of messages of every kind. */
export type TopicEvent =
  /** The broker said that the message is stored. */
  | { readonly kind: 'ack'; readonly id: number }
  /** The group got the message, by the clock of whom it came to. */
  | ({ readonly kind: 'received'; readonly atMs: number; readonly attempt: number } & Sighting)
  /** The broker confirmed that the group is done with the message at this place. */
  | { readonly kind: 'settled'; readonly queue: number; readonly offset: number }
  /** Found by reading the topic from begin to end, when all is over. */
  | ({ readonly kind: 'stored' } & Sighting);

/** What can be wrong with messages of every kind. */
export type TopicFault =
  /** Acknowledged or committed and not there, or there and never delivered. */
  | 'lost'
  /** At two places. */
  | 'duplicated'
  /** Delivered again after the broker had confirmed that the group is done with it. */
  | 'redelivered'
  /** Nobody meant to send it. */
  | 'unexpected'
  /** The body is not the one that was sent. */
  | 'altered';

export const TOPIC_FAULTS = [
  'lost',
  'duplicated',
  'redelivered',
  'unexpected',
  'altered',
] as const satisfies readonly TopicFault[];

/** Keeps a topic's history. */
export class TopicHistory {
  readonly acked = new Set<number>();
  /** First places by number, in the order of the scan. */
  readonly stored = new Map<number, Sighting>();
  readonly #findings: Findings<TopicFault>;
  readonly #digests = new Map<number, number>();
  /** Places that each number was seen at. */
  readonly #places = new Map<number, Set<string>>();
  readonly #settled = new Set<string>();
  readonly #received = new Set<string>();
  readonly counts: Record<string, number> = {};

  constructor(findings: Findings<TopicFault>) {
    this.#findings = findings;
  }

  /** Before a send. */
  intended(id: number, digest: number): void {
    this.#digests.set(id, digest);
  }

  count(kind: string): void {
    this.counts[kind] = (this.counts[kind] ?? 0) + 1;
  }

  /** Takes an event. Those of the group come in their order; intents come before what is seen of a message. */
  apply(event: TopicEvent): void {
    switch (event.kind) {
      case 'ack':
        this.acked.add(event.id);
        return;
      case 'received': {
        const place = placeOf(event);
        if (this.#settled.has(place)) this.#findings.add('redelivered', describe(event));
        this.#received.add(place);
        this.#seen(event, place);
        return;
      }
      case 'settled':
        this.#settled.add(placeOf(event));
        return;
      case 'stored':
        if (!this.stored.has(event.id)) this.stored.set(event.id, event);
        this.#seen(event, placeOf(event));
        return;
    }
  }

  #seen(event: Sighting, place: string): void {
    const digest = this.#digests.get(event.id);
    if (digest === undefined) {
      this.#findings.add('unexpected', describe(event));
      return;
    }
    if (digest !== event.digest) this.#findings.add('altered', describe(event));
    const places = this.#places.get(event.id);
    if (places === undefined) this.#places.set(event.id, new Set([place]));
    else places.add(place);
  }

  /** Was it delivered, or found in the topic? */
  isSeen(id: number): boolean {
    return this.#places.has(id);
  }

  /** Judges what holds for every kind, when all is over. */
  check(): void {
    for (const [id, places] of this.#places) {
      if (places.size > 1) this.#findings.add('duplicated', `message ${id} at ${[...places]}`);
    }
    for (const sighting of this.stored.values()) {
      if (!this.#received.has(placeOf(sighting))) {
        this.#findings.add('lost', `${describe(sighting)}, never delivered`);
      }
    }
    for (const id of this.#places.keys()) {
      if (!this.stored.has(id)) {
        this.#findings.add('lost', `message ${id}, delivered and not in the topic`);
      }
    }
  }
}

function placeOf({ queue, offset }: { readonly queue: number; readonly offset: number }): string {
  return `queue ${queue} offset ${offset}`;
}

/** A sighting for people. */
export function describe(event: Sighting): string {
  return `message ${event.id} at ${placeOf(event)}`;
}
