// Election through etcd. Everything that is decided about a group is in keys below /ternmq/CLUSTER/GROUP/:
//
//   members/ID   {address, folder}  every member that ever joined, and which data folder it had
//   alive/ID     empty              bound to the member's lease
//   leader       {id, address, epoch}  bound to the leader's lease
//   state        {epoch, inSync}    what the next leadership starts from
//   next         {id}               bound to a short lease: the only member that may lead now, after a planned move
//
// Every change is one transaction that compares what it is based on. What has changed is read again, all of it, whenever the
// watch says that something has: it is small.

import type { MessageInitShape } from '@bufbuild/protobuf';
import type { ClientDuplexStream } from '@grpc/grpc-js';
import {
  Compare_CompareResult,
  Compare_CompareTarget,
  type CompareSchema,
  type KeyValue,
  type RequestOpSchema,
  type WatchRequest,
  type WatchResponse,
} from '@ternmq/proto/gen/etcd/rpc_pb';
import { type Clock, type Logger, TernError, type Timer } from '@ternmq/runtime';
import type { Coordinator, GroupView, MemberView } from './coordinator.ts';
import { EtcdClient } from './etcd-client.ts';
import { EtcdLease } from './etcd-lease.ts';

/** How a group is elected. */
export interface EtcdOptions {
  /** `host:port` of each member of etcd. */
  readonly endpoints: readonly string[];
  readonly cluster: string;
  /** Name of the broker group. */
  readonly group: string;
  /** How long a leadership outlives its master, in milliseconds; etcd may round it up. */
  readonly leaseMs: number;
  /** Which data folder this member has. One that joins with another than before has lost what it had: it is not in sync. */
  readonly folder: string;
}

interface LeaderKey {
  readonly id: number;
  readonly address: string;
  readonly epoch: number;
}

interface MemberKey {
  readonly address: string;
  /** Absent when an earlier release wrote it. */
  readonly folder?: string;
}

interface StateKey {
  readonly epoch: number;
  readonly inSync: readonly number[];
}

/** Everything below the group's prefix, as it was read. */
interface Keys {
  readonly leader: (LeaderKey & { readonly kv: KeyValue }) | undefined;
  readonly state: (StateKey & { readonly kv: KeyValue }) | undefined;
  readonly members: ReadonlyMap<number, MemberKey>;
  readonly alive: ReadonlySet<number>;
  readonly next: number | undefined;
}

type Condition = MessageInitShape<typeof CompareSchema>;
type Step = MessageInitShape<typeof RequestOpSchema>;

const WATCH_AGAIN_MS = 200;
const ATTEMPTS_MAX = 10;
/** How long only the named member may lead after a planned move, in seconds. */
const NEXT_SECONDS = 5;

/** A group whose master is elected through etcd. */
export class EtcdCoordinator implements Coordinator {
  readonly #options: EtcdOptions;
  readonly #client: EtcdClient;
  readonly #lease: EtcdLease;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #prefix: string;
  #member = { id: 0, address: '' };
  #changed: (view: GroupView) => void = () => {};
  #told = '';
  #watch: ClientDuplexStream<WatchRequest, WatchResponse> | undefined;
  #again: Timer | undefined;
  #sweep: Timer | undefined;
  #reading: Promise<void> | undefined;
  #readAgain = false;
  /** Create revision of the leader key that is this member's; undefined when it does not lead. */
  #leads: bigint | undefined;
  #closed = false;

  constructor(options: EtcdOptions, modules: { clock: Clock; logger: Logger }) {
    this.#options = options;
    this.#clock = modules.clock;
    this.#logger = modules.logger;
    this.#prefix = `/ternmq/${options.cluster}/${options.group}/`;
    this.#client = new EtcdClient(options.endpoints, modules.clock);
    this.#lease = new EtcdLease(this.#client, modules.clock, options.leaseMs, (id) =>
      this.#join(id),
    );
  }

  /** As Coordinator. Throws UNAVAILABLE (COORDINATOR_UNREACHABLE). */
  async start(
    member: { readonly id: number; readonly address: string },
    changed: (view: GroupView) => void,
  ): Promise<void> {
    this.#member = member;
    this.#changed = changed;
    await this.#lease.start();
    await this.#read();
    this.#openWatch();
    this.#sweep = this.#clock.every(this.#options.leaseMs, () => this.#readSoon());
  }

  /**
   * This member is there, under a lease that is new. With another data folder than before it leaves the in-sync set in the same
   * step: it must not lead with what it has now, and nobody may think that it still has what was acknowledged. Throws
   * UNAVAILABLE (COORDINATOR_UNREACHABLE, COORDINATOR_BUSY).
   */
  async #join(lease: bigint): Promise<void> {
    const { id, address } = this.#member;
    const { folder } = this.#options;
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const kvs = await this.#client.read(this.#prefix, this.#lease.callMs);
      const { state, members } = parse(kvs, this.#prefix);
      const before = members.get(id)?.folder;
      const compare: Condition[] = [];
      const steps = [
        this.#put(`members/${id}`, { address, folder } satisfies MemberKey),
        this.#put(`alive/${id}`, {}, lease),
      ];
      const other = before !== undefined && before !== folder;
      const lost = other && state?.inSync.includes(id) ? state : undefined;
      if (lost !== undefined) {
        const leave = this.#without(id, lost);
        compare.push(leave.condition);
        steps.push(leave.step);
      }
      if (!(await this.#transact(compare, steps))) continue;
      if (lost !== undefined) {
        this.#logger.warn(
          { id },
          'the data folder is another one than before: this member is not in sync any more, and takes the log from a master',
        );
      }
      return;
    }
    throw busy();
  }

  #openWatch(): void {
    if (this.#closed) return;
    const watch = this.#client.watch(this.#prefix);
    const ended = (): void => {
      if (this.#watch !== watch) return;
      this.#watch = undefined;
      if (this.#closed) return;
      this.#again = this.#clock.setTimer(WATCH_AGAIN_MS, () => {
        this.#openWatch();
        this.#readSoon();
      });
    };
    watch.on('data', ({ canceled }: WatchResponse) => {
      if (canceled) watch.cancel();
      this.#readSoon();
    });
    watch.on('error', ended);
    watch.on('end', ended);
    this.#watch = watch;
  }

  #readSoon(): void {
    this.#readAgain = true;
    this.#reading ??= this.#readAll().finally(() => {
      this.#reading = undefined;
    });
  }

  async #readAll(): Promise<void> {
    while (this.#readAgain && !this.#closed) {
      this.#readAgain = false;
      // The watch and the sweep come back to it.
      await this.#read().catch(() => {});
    }
  }

  /** Reads everything, and tells what has changed. */
  async #read(): Promise<Keys> {
    const kvs = await this.#client.read(this.#prefix, this.#lease.callMs);
    const keys = parse(kvs, this.#prefix);
    const { leader } = keys;
    const own = leader?.id === this.#member.id && leader.kv.lease === this.#lease.id;
    if (!own) this.#leads = undefined;
    const view = viewOf(keys);
    const text = JSON.stringify(view);
    if (text !== this.#told && !this.#closed) {
      this.#told = text;
      this.#sayWhenStuck(keys);
      this.#changed(view);
    }
    return keys;
  }

  #sayWhenStuck({ leader, state, alive }: Keys): void {
    if (leader !== undefined || state === undefined) return;
    if (state.inSync.some((id) => alive.has(id))) return;
    this.#logger.error(
      { inSync: state.inSync },
      "nobody may lead: all members that were in sync are gone; start one of them, or let another one lead with 'tern cluster elect --unclean', which may lose messages",
    );
  }

  /** As Coordinator. Throws UNAVAILABLE (COORDINATOR_UNREACHABLE). */
  async campaign(epochMin: number): Promise<number | undefined> {
    const { id, address } = this.#member;
    const { leader, state, alive, next } = await this.#read();
    // A leader key under this very lease is this process's own, from a leadership that it has given up.
    const mine = leader?.id === id && leader.kv.lease === this.#lease.id;
    if (leader !== undefined && !mine) return undefined;
    if (next !== undefined && next !== id) return undefined;
    if (state !== undefined && !state.inSync.includes(id)) return undefined;
    const epoch = Math.max(state?.epoch ?? 0, epochMin) + 1;
    const inSync = [...(state?.inSync ?? []).filter((one) => one !== id && alive.has(one)), id];
    inSync.sort((a, b) => a - b);
    const lease = this.#lease.id;
    const succeeded = await this.#transact(
      [
        this.#modIs('leader', leader?.kv.modRevision ?? 0n),
        this.#modIs('state', state?.kv.modRevision ?? 0n),
        this.#leaseIs(`alive/${id}`, lease),
      ],
      [
        this.#put('leader', { id, address, epoch } satisfies LeaderKey, lease),
        this.#put('state', { epoch, inSync } satisfies StateKey),
      ],
    );
    if (!succeeded) {
      await this.#read();
      return undefined;
    }
    const now = await this.#read();
    if (now.leader?.epoch !== epoch || now.leader.kv.lease !== lease) return undefined;
    this.#leads = now.leader.kv.createRevision;
    return epoch;
  }

  /** As Coordinator. */
  async setInSync(epoch: number, from: readonly number[], to: readonly number[]): Promise<void> {
    const { state, leader } = await this.#read();
    if (this.#leads === undefined || state?.epoch !== epoch || leader === undefined) {
      throw new TernError('ABORTED', 'STALE_EPOCH', `epoch ${epoch} is over`);
    }
    if (state.inSync.join() !== from.join()) throw setChanged(state.inSync);
    const succeeded = await this.#transact(
      [
        this.#modIs('leader', leader.kv.modRevision),
        this.#leaseIs('leader', this.#lease.id),
        this.#modIs('state', state.kv.modRevision),
      ],
      [this.#put('state', { epoch, inSync: to } satisfies StateKey)],
    );
    const now = await this.#read();
    if (succeeded) return;
    if (this.#leads === undefined || now.state?.epoch !== epoch) {
      throw new TernError('ABORTED', 'STALE_EPOCH', `epoch ${epoch} is over`);
    }
    throw setChanged(now.state.inSync);
  }

  /** As Coordinator. */
  get leadsUntilMs(): number {
    return this.#leads === undefined ? 0 : this.#lease.holdsUntilMs;
  }

  /** As Coordinator. */
  async resign(to?: number): Promise<void> {
    if (this.#leads === undefined) return;
    const { leader } = await this.#read();
    if (leader === undefined || this.#leads === undefined) return;
    // Nothing is acknowledged any more, whatever becomes of this call.
    this.#leads = undefined;
    const steps: Step[] = [this.#remove('leader')];
    if (to !== undefined) {
      const { id } = await this.#client.grant(NEXT_SECONDS, this.#lease.callMs);
      steps.push(this.#put('next', { id: to }, id));
    }
    await this.#transact([this.#modIs('leader', leader.kv.modRevision)], steps);
    await this.#read();
  }

  /** Takes a member out of the in-sync set that was read. */
  #without(
    id: number,
    { epoch, inSync: before, kv }: NonNullable<Keys['state']>,
  ): { condition: Condition; step: Step } {
    const inSync = before.filter((one) => one !== id);
    return {
      condition: this.#modIs('state', kv.modRevision),
      step: this.#put('state', { epoch, inSync } satisfies StateKey),
    };
  }

  /** As Coordinator. Throws UNAVAILABLE (COORDINATOR_UNREACHABLE, COORDINATOR_BUSY). */
  async leaveInSync(): Promise<void> {
    const { id } = this.#member;
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const { state } = await this.#read();
      if (state === undefined || !state.inSync.includes(id)) return;
      const { condition, step } = this.#without(id, state);
      if (await this.#transact([condition], [step])) {
        await this.#read();
        return;
      }
    }
    throw busy();
  }

  /** As Coordinator. Throws FAILED_PRECONDITION (GROUP_HAS_MASTER). */
  async allowUnclean(id: number): Promise<void> {
    const { leader, state } = await this.#read();
    if (leader !== undefined) {
      throw new TernError(
        'FAILED_PRECONDITION',
        'GROUP_HAS_MASTER',
        `member ${leader.id} leads the group: stop it first, or move the leadership without loss`,
      );
    }
    const inSync = [...new Set([...(state?.inSync ?? []), id])].sort((a, b) => a - b);
    const epoch = state?.epoch ?? 0;
    await this.#transact(
      [this.#modIs('leader', 0n), this.#modIs('state', state?.kv.modRevision ?? 0n)],
      [this.#put('state', { epoch, inSync } satisfies StateKey)],
    );
    await this.#read();
  }

  /** As Coordinator. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#leads = undefined;
    this.#again?.cancel();
    this.#sweep?.cancel();
    this.#watch?.cancel();
    await this.#lease.close();
    this.#client.close();
  }

  async #transact(compare: Condition[], success: Step[]): Promise<boolean> {
    const { succeeded } = await this.#client.transact({ compare, success }, this.#lease.callMs);
    return succeeded;
  }

  #put(key: string, value: unknown, lease = 0n): Step {
    return {
      request: {
        case: 'requestPut',
        value: { key: this.#key(key), value: Buffer.from(JSON.stringify(value)), lease },
      },
    };
  }

  #remove(key: string): Step {
    return { request: { case: 'requestDeleteRange', value: { key: this.#key(key) } } };
  }

  #modIs(key: string, revision: bigint): Condition {
    return {
      result: Compare_CompareResult.EQUAL,
      target: Compare_CompareTarget.MOD,
      key: this.#key(key),
      targetUnion: { case: 'modRevision', value: revision },
    };
  }

  #leaseIs(key: string, lease: bigint): Condition {
    return {
      result: Compare_CompareResult.EQUAL,
      target: Compare_CompareTarget.LEASE,
      key: this.#key(key),
      targetUnion: { case: 'lease', value: lease },
    };
  }

  #key(key: string): Buffer {
    return Buffer.from(`${this.#prefix}${key}`);
  }
}

function parse(kvs: readonly KeyValue[], prefix: string): Keys {
  const members = new Map<number, MemberKey>();
  const alive = new Set<number>();
  let leader: Keys['leader'];
  let state: Keys['state'];
  let next: number | undefined;
  for (const kv of kvs) {
    const key = Buffer.from(kv.key).toString('utf8').slice(prefix.length);
    const value = JSON.parse(Buffer.from(kv.value).toString('utf8'));
    const [kind, id] = key.split('/');
    if (kind === 'members') members.set(Number(id), value as MemberKey);
    else if (kind === 'alive') alive.add(Number(id));
    else if (kind === 'leader') leader = { ...(value as LeaderKey), kv };
    else if (kind === 'state') state = { ...(value as StateKey), kv };
    else if (kind === 'next') next = (value as { id: number }).id;
  }
  return { leader, state, members, alive, next };
}

function viewOf({ leader, state, members, alive }: Keys): GroupView {
  const list: MemberView[] = [...members]
    .map(([id, { address }]) => ({ id, address, alive: alive.has(id) }))
    .sort((a, b) => a.id - b.id);
  const master =
    leader === undefined ? undefined : { id: leader.id, address: leader.address, alive: true };
  return { epoch: state?.epoch ?? 0, master, inSync: state?.inSync ?? [], members: list };
}

function busy(): TernError {
  return new TernError(
    'UNAVAILABLE',
    'COORDINATOR_BUSY',
    'the group changed all the time while this member told it of itself; it tries again',
  );
}

function setChanged(inSync: readonly number[]): TernError {
  return new TernError(
    'ABORTED',
    'IN_SYNC_SET_CHANGED',
    `the in-sync set is ${inSync.join(', ')}; ask again with that`,
  );
}
