// A cluster of etcd as its clients see it, one that never loses what it has said: the part of its API that the product uses.

import { create, type DescMethod } from '@bufbuild/protobuf';
import { serviceDefinition } from '@ternmq/proto';
import {
  KV,
  Lease,
  LeaseKeepAliveResponseSchema,
  type TxnRequest,
  Watch,
  WatchResponseSchema,
} from '@ternmq/proto/gen/etcd/rpc_pb';
import type { Timer } from '@ternmq/runtime';
import { Server } from './grpc-server.ts';
import { type Process, theWorld } from './world.ts';

interface KeyValue {
  readonly createRevision: bigint;
  readonly modRevision: bigint;
  readonly value: Uint8Array;
  readonly lease: bigint;
}

interface LeaseState {
  readonly seconds: number;
  ends: Timer;
}

type Handler = (...values: never[]) => void;

/** The key-value store and its leases. */
export class SimEtcd {
  readonly #process: Process;
  readonly #keys = new Map<string, KeyValue>();
  readonly #leases = new Map<bigint, LeaseState>();
  readonly #watches = new Set<{ write(message: unknown): void }>();
  #revision = 1n;
  #leaseNumber = 0n;

  constructor(process: Process, address: string) {
    this.#process = process;
    theWorld().as(process, () => {
      const server = new Server();
      server.addService(serviceDefinition(KV) as never, this.#kv());
      server.addService(serviceDefinition(Lease) as never, this.#lease());
      server.addService(serviceDefinition(Watch) as never, this.#watch());
      server.bindAsync(address, undefined, (error) => {
        if (error !== null) throw error;
      });
    });
  }

  get #header() {
    return { $typeName: 'etcdserverpb.ResponseHeader' as const, revision: this.#revision };
  }

  #kv(): Record<string, Handler> {
    return unaryHandlers(KV.method, {
      range: ({ key, rangeEnd }: { key: Uint8Array; rangeEnd: Uint8Array }) =>
        this.#range(key, rangeEnd),
      txn: (request: TxnRequest) => this.#transact(request),
    });
  }

  #range(key: Uint8Array, rangeEnd: Uint8Array) {
    const [low, high] = [
      Buffer.from(key).toString('latin1'),
      Buffer.from(rangeEnd).toString('latin1'),
    ];
    const kvs = [...this.#keys]
      .filter(([one]) => (rangeEnd.length === 0 ? one === low : one >= low && one < high))
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([one, value]) => ({
        $typeName: 'etcdserverpb.KeyValue' as const,
        key: Buffer.from(one, 'latin1'),
        ...value,
      }));
    return { $typeName: 'etcdserverpb.RangeResponse' as const, header: this.#header, kvs };
  }

  #transact({ compare, success, failure }: TxnRequest) {
    const succeeded = compare.every(({ key, result, targetUnion }) => {
      if (result !== 0) throw new Error('only EQUAL is needed');
      const found = this.#keys.get(Buffer.from(key).toString('latin1'));
      switch (targetUnion.case) {
        case 'createRevision':
          return (found?.createRevision ?? 0n) === targetUnion.value;
        case 'modRevision':
          return (found?.modRevision ?? 0n) === targetUnion.value;
        case 'lease':
          return (found?.lease ?? 0n) === targetUnion.value;
        default:
          throw new Error('a comparison that is not needed');
      }
    });
    const steps = succeeded ? success : failure;
    // A key under a lease that is over refuses the whole transaction.
    for (const { request } of steps) {
      if (request.case === 'requestPut' && request.value.lease !== 0n) {
        if (!this.#leases.has(request.value.lease)) {
          throw Object.assign(new Error('requested lease not found'), { code: 5 });
        }
      }
    }
    if (steps.length > 0) this.#revision++;
    const responses = steps.map(({ request }) => {
      switch (request.case) {
        case 'requestPut': {
          const { key, value, lease } = request.value;
          const name = Buffer.from(key).toString('latin1');
          const createRevision = this.#keys.get(name)?.createRevision ?? this.#revision;
          const kept = {
            createRevision,
            modRevision: this.#revision,
            value: Buffer.from(value),
            lease,
          };
          this.#keys.set(name, kept);
          return { response: { case: 'responsePut' as const, value: { header: this.#header } } };
        }
        case 'requestDeleteRange': {
          const { key, rangeEnd } = request.value;
          const found = this.#range(key, rangeEnd).kvs;
          for (const one of found) this.#keys.delete(one.key.toString('latin1'));
          const value = { header: this.#header, deleted: BigInt(found.length) };
          return { response: { case: 'responseDeleteRange' as const, value } };
        }
        case 'requestRange': {
          const { key, rangeEnd } = request.value;
          return {
            response: { case: 'responseRange' as const, value: this.#range(key, rangeEnd) },
          };
        }
        default:
          throw new Error('a step that is not needed');
      }
    });
    if (steps.length > 0) this.#tell();
    return { header: this.#header, succeeded, responses };
  }

  #tell(): void {
    for (const watch of this.#watches) {
      watch.write(create(WatchResponseSchema, { header: this.#header }));
    }
  }

  #lease(): Record<string, Handler> {
    return {
      ...unaryHandlers(Lease.method, {
        leaseGrant: ({ TTL }: { TTL: bigint }) => {
          const id = ++this.#leaseNumber;
          const seconds = Number(TTL);
          this.#leases.set(id, { seconds, ends: this.#endAfter(id, seconds) });
          return { header: this.#header, ID: id, TTL };
        },
        leaseRevoke: ({ ID }: { ID: bigint }) => {
          this.#end(ID);
          return { header: this.#header };
        },
      }),
      leaseKeepAlive: ((
        call: NodeJS.EventEmitter & { write(message: unknown): void; end(): void },
      ) => {
        call.on('data', ({ ID }: { ID: bigint }) => {
          const lease = this.#leases.get(ID);
          if (lease !== undefined) {
            lease.ends.cancel();
            lease.ends = this.#endAfter(ID, lease.seconds);
          }
          const TTL = BigInt(lease?.seconds ?? 0);
          call.write(create(LeaseKeepAliveResponseSchema, { header: this.#header, ID, TTL }));
        });
        call.on('end', () => call.end());
      }) as never,
    };
  }

  #endAfter(id: bigint, seconds: number): Timer {
    return theWorld().after(seconds * 1000, this.#process, () => this.#end(id));
  }

  #end(id: bigint): void {
    const lease = this.#leases.get(id);
    if (lease === undefined) return;
    lease.ends.cancel();
    this.#leases.delete(id);
    let gone = false;
    for (const [key, { lease: bound }] of [...this.#keys]) {
      if (bound !== id) continue;
      this.#keys.delete(key);
      gone = true;
    }
    if (!gone) return;
    this.#revision++;
    this.#tell();
  }

  #watch(): Record<string, Handler> {
    return {
      watch: ((call: NodeJS.EventEmitter & { write(message: unknown): void; end(): void }) => {
        call.on('data', () => {
          this.#watches.add(call);
          call.write(create(WatchResponseSchema, { header: this.#header, created: true }));
        });
        call.on('end', () => call.end());
        call.on('close', () => this.#watches.delete(call));
      }) as never,
    };
  }
}

function unaryHandlers(
  described: Readonly<Record<string, DescMethod>>,
  methods: Readonly<Record<string, (request: never) => unknown>>,
): Record<string, Handler> {
  return Object.fromEntries(
    Object.entries(methods).map(([name, method]) => [
      name,
      ((call: { request: never }, respond: (error: unknown, value?: unknown) => void) => {
        let answer: unknown;
        try {
          const { output } = described[name] as DescMethod;
          answer = create(output, method(call.request) as never);
        } catch (error) {
          respond(error);
          return;
        }
        respond(null, answer);
      }) as never,
    ]),
  );
}
