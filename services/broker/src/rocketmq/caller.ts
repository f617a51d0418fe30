// Who calls: what clients of RocketMQ 5 say of themselves in the metadata of every call.

import type { Metadata } from '@grpc/grpc-js';
import { Code } from '@ternmq/proto/gen/apache/rocketmq/v2/definition_pb';
import type { InProcessCaller } from '@ternmq/runtime';
import { Refused } from './status.ts';

const CLIENT_ID_LENGTH_MAX = 255;

/** A call's client, and how long it waits. */
export interface Caller extends InProcessCaller {
  /** The client's own id; every instance has one. */
  readonly clientId: string;
  /** The namespace that resources without one are in; usually empty. */
  readonly namespace: string;
  readonly signal: AbortSignal;
}

/** What a call knows of who made it. */
export interface CallFacts {
  readonly metadata: Metadata;
  readonly peer: string;
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
}

class KnownCaller implements Caller {
  readonly clientId: string;
  readonly namespace: string;
  readonly #facts: CallFacts;

  constructor(clientId: string, namespace: string, facts: CallFacts) {
    this.clientId = clientId;
    this.namespace = namespace;
    this.#facts = facts;
  }

  // Most calls are over before anybody looks at these; a signal costs more than all the rest.
  get signal(): AbortSignal {
    return this.#facts.signal;
  }

  get peer(): string {
    return this.#facts.peer;
  }

  get deadlineMs(): number {
    return this.#facts.deadlineMs;
  }
}

/** Reads who calls. Throws Refused (CLIENT_ID_REQUIRED). */
export function callerOf(facts: CallFacts): Caller {
  const { metadata } = facts;
  const clientId = textOf(metadata, 'x-mq-client-id');
  if (clientId === '' || clientId.length > CLIENT_ID_LENGTH_MAX) {
    throw new Refused(
      Code.CLIENT_ID_REQUIRED,
      `send the client's own id, of at most ${CLIENT_ID_LENGTH_MAX} characters, as metadata x-mq-client-id`,
    );
  }
  return new KnownCaller(clientId, textOf(metadata, 'x-mq-namespace'), facts);
}

function textOf(metadata: Metadata, key: string): string {
  const value = metadata.get(key)[0];
  return typeof value === 'string' ? value : '';
}
