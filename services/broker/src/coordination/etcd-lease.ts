// A lease at etcd, kept alive as long as it can be. When it is lost, a new one is made.
//
// It certainly holds until the time at which the last sign of life that was answered was SENT, plus how long it lasts: etcd
// counts from when that arrived. Times are monotonic, so no jump of the wall clock changes anything.

import type { ClientDuplexStream } from '@grpc/grpc-js';
import type { LeaseKeepAliveRequest, LeaseKeepAliveResponse } from '@ternmq/proto/gen/etcd/rpc_pb';
import type { Clock, Timer } from '@ternmq/runtime';
import { type EtcdClient, keepAliveOf } from './etcd-client.ts';

/** Signs of life within the time that the lease lasts. */
const SIGNS = 4;
/** Part of the time that is given away, for clocks that do not run alike. */
const MARGIN = 0.2;

/** A lease. */
export class EtcdLease {
  readonly #client: EtcdClient;
  readonly #clock: Clock;
  readonly #seconds: number;
  readonly #granted: (id: bigint) => Promise<void>;
  #id = 0n;
  #lastsMs = 0;
  #holdsUntilMs = 0;
  #stream: ClientDuplexStream<LeaseKeepAliveRequest, LeaseKeepAliveResponse> | undefined;
  /** When the sign of life was sent that is not answered; undefined when there is none. */
  #sentMs: number | undefined;
  #timer: Timer | undefined;
  #closed = false;

  /** @param granted called with every lease that is made: what hangs on it is written again */
  constructor(
    client: EtcdClient,
    clock: Clock,
    lastsMs: number,
    granted: (id: bigint) => Promise<void>,
  ) {
    this.#client = client;
    this.#clock = clock;
    this.#seconds = Math.max(1, Math.ceil(lastsMs / 1000));
    this.#lastsMs = this.#seconds * 1000;
    this.#granted = granted;
  }

  /** Its number; 0 before there is one. */
  get id(): bigint {
    return this.#id;
  }

  /** Monotonic time until which it certainly holds, less a margin. */
  get holdsUntilMs(): number {
    return this.#holdsUntilMs - MARGIN * this.#lastsMs;
  }

  /** How long a call may take that must not cost the lease, in milliseconds. */
  get callMs(): number {
    return this.#lastsMs / 2;
  }

  /** Makes the first lease. Throws UNAVAILABLE (COORDINATOR_UNREACHABLE). */
  async start(): Promise<void> {
    await this.#grant();
    this.#beat();
  }

  async #grant(): Promise<void> {
    const sentMs = this.#clock.monotonicMs();
    const { id, lastsMs } = await this.#client.grant(this.#seconds, this.callMs);
    if (this.#closed) return;
    // Only a lease on which everything hangs is one: else the next sign of life, of the old one, makes another.
    await this.#granted(id);
    this.#id = id;
    this.#lastsMs = lastsMs;
    this.#holdsUntilMs = sentMs + lastsMs;
  }

  #beat(): void {
    if (this.#closed) return;
    this.#timer = this.#clock.setTimer(this.#lastsMs / SIGNS, () => this.#beat());
    if (this.#sentMs !== undefined) {
      // The last one was not answered: perhaps another connection, or another endpoint, is better.
      this.#drop();
      this.#client.next();
    }
    this.#sentMs = this.#clock.monotonicMs();
    this.#open().write(keepAliveOf(this.#id));
  }

  #open(): ClientDuplexStream<LeaseKeepAliveRequest, LeaseKeepAliveResponse> {
    if (this.#stream !== undefined) return this.#stream;
    const stream = this.#client.keepAlive();
    stream.on('data', ({ TTL, ID }: LeaseKeepAliveResponse) => {
      const sentMs = this.#sentMs;
      if (this.#stream !== stream || sentMs === undefined || ID !== this.#id) return;
      this.#sentMs = undefined;
      if (TTL > 0n) {
        this.#lastsMs = Number(TTL) * 1000;
        this.#holdsUntilMs = sentMs + this.#lastsMs;
        return;
      }
      // It has ended: a new one, and everything that hung on the old one again.
      this.#holdsUntilMs = 0;
      this.#grant().catch(() => {});
    });
    const ended = (): void => {
      if (this.#stream === stream) this.#stream = undefined;
    };
    stream.on('error', ended);
    stream.on('end', ended);
    this.#stream = stream;
    return stream;
  }

  #drop(): void {
    const stream = this.#stream;
    this.#stream = undefined;
    stream?.cancel();
  }

  /** Ends the lease: what hangs on it goes at once. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#holdsUntilMs = 0;
    this.#timer?.cancel();
    this.#drop();
    if (this.#id !== 0n) await this.#client.revoke(this.#id, this.callMs).catch(() => {});
  }
}
