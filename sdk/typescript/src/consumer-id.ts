// The name of a consumer that did not give itself one.

import { randomUUID } from 'node:crypto';

/** A name that no other consumer has: the client's and a random part. */
export function newConsumerId(clientId: string): string {
  return `${clientId}-${randomUUID().slice(0, 8)}`;
}
