// Who calls: what clients of RocketMQ 5 say of themselves in the metadata of every call.

import { isIP } from 'node:net';
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
  readonly metadata: Metadata;
  readonly signal: AbortSignal;
}

/** What a call knows of who made it. */
export interface CallFacts {
  readonly metadata: Metadata;
  readonly peer: string;
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
}

/** Reads who calls. Throws Refused (CLIENT_ID_REQUIRED). */
export function callerOf({ metadata, peer, deadlineMs, signal }: CallFacts): Caller {
  const clientId = textOf(metadata, 'x-mq-client-id');
  if (clientId === '' || clientId.length > CLIENT_ID_LENGTH_MAX) {
    throw new Refused(
      Code.CLIENT_ID_REQUIRED,
      `send the client's own id, of at most ${CLIENT_ID_LENGTH_MAX} characters, as metadata x-mq-client-id`,
    );
  }
  const namespace = textOf(metadata, 'x-mq-namespace');
  return { clientId, namespace, metadata, peer, deadlineMs, signal };
}

function textOf(metadata: Metadata, key: string): string {
  const value = metadata.get(key)[0];
  return typeof value === 'string' ? value : '';
}

/** The host of a peer as grpc-js writes it, `host:port` or `[IPv6]:port`. */
export function hostOf(peer: string): string {
  const host = peer.slice(0, peer.lastIndexOf(':')).replace(/^\[|\]$/g, '');
  return isIP(host) === 0 ? peer : host;
}
