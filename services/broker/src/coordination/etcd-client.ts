// Calls on etcd: several endpoints are tried in turn, and every call has a deadline.

import {
  create,
  type DescMessage,
  type DescMethodUnary,
  type MessageInitShape,
  type MessageShape,
} from '@bufbuild/protobuf';
import { Client, type ClientDuplexStream, credentials, status } from '@grpc/grpc-js';
import {
  type KeyValue,
  KV,
  Lease,
  type LeaseKeepAliveRequest,
  LeaseKeepAliveRequestSchema,
  type LeaseKeepAliveResponse,
  type TxnRequestSchema,
  type TxnResponse,
  Watch,
  type WatchRequest,
  WatchRequestSchema,
  type WatchResponse,
} from '@ternmq/proto/gen/etcd/rpc_pb';
import { type Clock, callUnary, openBidiStream, TernError } from '@ternmq/runtime';

/** Statuses of an endpoint that cannot answer now; another one may. */
const ELSEWHERE: ReadonlySet<status> = new Set([
  status.UNAVAILABLE,
  status.DEADLINE_EXCEEDED,
  status.CANCELLED,
  status.UNKNOWN,
  status.INTERNAL,
]);

/** A cluster of etcd. */
export class EtcdClient {
  readonly #endpoints: readonly string[];
  readonly #clock: Clock;
  readonly #clients = new Map<string, Client>();
  #endpoint = 0;

  /** @param endpoints `host:port` each */
  constructor(endpoints: readonly string[], clock: Clock) {
    this.#endpoints = endpoints;
    this.#clock = clock;
  }

  #client(): Client {
    const address = this.#endpoints[this.#endpoint] as string;
    let client = this.#clients.get(address);
    if (client === undefined) {
      client = new Client(address, credentials.createInsecure(), {
        'grpc.use_local_subchannel_pool': 1,
        'grpc.enable_http_proxy': 0,
        'grpc.initial_reconnect_backoff_ms': 100,
        'grpc.max_reconnect_backoff_ms': 500,
      });
      this.#clients.set(address, client);
    }
    return client;
  }

  /** The endpoint in use did not answer: the next one is tried. */
  next(): void {
    this.#endpoint = (this.#endpoint + 1) % this.#endpoints.length;
  }

  /** Calls, at each endpoint once at most. Throws UNAVAILABLE (COORDINATOR_UNREACHABLE). */
  async #call<Request extends DescMessage, Response extends DescMessage>(
    method: DescMethodUnary<Request, Response>,
    request: MessageInitShape<Request>,
    timeoutMs: number,
  ): Promise<MessageShape<Response>> {
    let cause: unknown;
    for (let tries = 0; tries < this.#endpoints.length; tries++) {
      try {
        const deadline = this.#clock.nowMs() + timeoutMs / this.#endpoints.length;
        return await callUnary(this.#client(), method, request, { deadline });
      } catch (error) {
        cause = error;
        if (!ELSEWHERE.has((error as { code: status }).code)) break;
        this.next();
      }
    }
    throw new TernError(
      'UNAVAILABLE',
      'COORDINATOR_UNREACHABLE',
      `etcd does not answer at ${this.#endpoints.join(', ')}: check that it runs, and --etcd or TERN_ETCD`,
      { cause },
    );
  }

  /** All keys with a prefix. */
  async read(prefix: string, timeoutMs: number): Promise<KeyValue[]> {
    const { kvs } = await this.#call(
      KV.method.range,
      { key: Buffer.from(prefix), rangeEnd: endOf(prefix) },
      timeoutMs,
    );
    return kvs;
  }

  /** A transaction. When it throws, it is not known what became of it. */
  transact(
    request: MessageInitShape<typeof TxnRequestSchema>,
    timeoutMs: number,
  ): Promise<TxnResponse> {
    return this.#call(KV.method.txn, request, timeoutMs);
  }

  /** Makes a lease; returns its number, and how long it lasts, in milliseconds. */
  async grant(seconds: number, timeoutMs: number): Promise<{ id: bigint; lastsMs: number }> {
    const { ID, TTL } = await this.#call(
      Lease.method.leaseGrant,
      { TTL: BigInt(seconds) },
      timeoutMs,
    );
    return { id: ID, lastsMs: Number(TTL) * 1000 };
  }

  /** Ends a lease. */
  async revoke(id: bigint, timeoutMs: number): Promise<void> {
    await this.#call(Lease.method.leaseRevoke, { ID: id }, timeoutMs);
  }

  /** Opens a stream on which leases are kept alive. */
  keepAlive(): ClientDuplexStream<LeaseKeepAliveRequest, LeaseKeepAliveResponse> {
    return openBidiStream(this.#client(), Lease.method.leaseKeepAlive);
  }

  /** Watches all keys with a prefix. */
  watch(prefix: string): ClientDuplexStream<WatchRequest, WatchResponse> {
    const stream = openBidiStream(this.#client(), Watch.method.watch);
    const key = Buffer.from(prefix);
    stream.write(
      create(WatchRequestSchema, {
        requestUnion: {
          case: 'createRequest',
          value: {
            $typeName: 'etcdserverpb.WatchCreateRequest',
            key,
            rangeEnd: endOf(prefix),
          },
        },
      }),
    );
    return stream;
  }

  /** Closes all connections. */
  close(): void {
    for (const client of this.#clients.values()) client.close();
    this.#clients.clear();
  }
}

/** One sign of life of a lease. */
export function keepAliveOf(id: bigint): LeaseKeepAliveRequest {
  return create(LeaseKeepAliveRequestSchema, { ID: id });
}

/** The key behind all keys with a prefix. */
function endOf(prefix: string): Buffer {
  const end = Buffer.from(prefix);
  end[end.length - 1] = (end[end.length - 1] as number) + 1;
  return end;
}
