// What a subscription wants of a topic, as the broker takes it.

import type { SubscriptionFilter } from './message.ts';

/** Tags and an SQL condition; empty for all. */
export interface Wanted {
  readonly tags: string;
  readonly sql: string;
}

/** Every message. */
export const WANTS_ALL: Wanted = { tags: '', sql: '' };

/** What a filter wants. */
export function wantedOf(filter: SubscriptionFilter): Wanted {
  return typeof filter === 'string' ? { tags: filter, sql: '' } : { ...WANTS_ALL, ...filter };
}
