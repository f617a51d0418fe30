// Fixed roles, as in RocketMQ 4: member 0 leads, for ever. Its in-sync set is kept in a file of its data folder: it grows
// when a slave has caught up, and shrinks only by an operator's hand. Slaves find their master at the name servers.

import { join } from 'node:path';
import { type Clock, type Disk, TernError, type Timer } from '@ternmq/runtime';
import type { Coordinator, GroupView, MemberView } from './coordinator.ts';

const MASTER_ID = 0;
const SEARCH_MS = 1000;
const FILE = 'group.json';

/** What the file of a master says. */
interface GroupFile {
  readonly inSync: readonly number[];
}

/** What fixed roles need. */
export interface FixedModules {
  readonly disk: Disk;
  readonly clock: Clock;
  /** Asks the name servers for the address of the group's master; undefined when nobody knows one. */
  readonly findMaster: () => Promise<string | undefined>;
}

/** A group whose member 0 leads. */
export class FixedCoordinator implements Coordinator {
  readonly #path: string;
  readonly #modules: FixedModules;
  #member = { id: MASTER_ID, address: '' };
  #changed: (view: GroupView) => void = () => {};
  #inSync: readonly number[] = [MASTER_ID];
  #epoch = 0;
  #master: MemberView | undefined;
  #search: Timer | undefined;
  #closed = false;

  /** @param folder the broker's data folder */
  constructor(folder: string, modules: FixedModules) {
    this.#path = join(folder, FILE);
    this.#modules = modules;
  }

  /** As Coordinator. */
  async start(
    member: { readonly id: number; readonly address: string },
    changed: (view: GroupView) => void,
  ): Promise<void> {
    this.#member = member;
    this.#changed = changed;
    if (member.id === MASTER_ID) {
      this.#inSync = this.#read();
      this.#tell();
      return;
    }
    this.#tell();
    await this.#searchMaster();
  }

  #read(): readonly number[] {
    const bytes = this.#modules.disk.readSmall(this.#path);
    if (bytes === undefined) return [MASTER_ID];
    const { inSync } = JSON.parse(bytes.toString('utf8')) as GroupFile;
    return inSync;
  }

  #tell(): void {
    if (this.#closed) return;
    const { id, address } = this.#member;
    const self = { id, address, alive: true };
    const known = this.#inSync.filter((other) => other !== id && other !== this.#master?.id);
    const members = [
      self,
      ...known.map((other) => ({ id: other, address: '', alive: true })),
      ...(this.#master === undefined || this.#master.id === id ? [] : [this.#master]),
    ].sort((a, b) => a.id - b.id);
    this.#changed({ epoch: this.#epoch, master: this.#master, inSync: this.#inSync, members });
  }

  async #searchMaster(): Promise<void> {
    const address = await this.#modules.findMaster().catch(() => undefined);
    if (this.#closed) return;
    if (address !== this.#master?.address) {
      this.#master = address === undefined ? undefined : { id: MASTER_ID, address, alive: true };
      this.#tell();
    }
    this.#search = this.#modules.clock.setTimer(SEARCH_MS, () => void this.#searchMaster());
  }

  /** As Coordinator. */
  campaign(epochMin: number): Promise<number | undefined> {
    const { id, address } = this.#member;
    if (id !== MASTER_ID) return Promise.resolve(undefined);
    this.#epoch = epochMin + 1;
    this.#master = { id, address, alive: true };
    this.#tell();
    return Promise.resolve(this.#epoch);
  }

  /** As Coordinator. */
  async setInSync(epoch: number, from: readonly number[], to: readonly number[]): Promise<void> {
    if (epoch !== this.#epoch) {
      throw new TernError('ABORTED', 'STALE_EPOCH', `epoch ${epoch} is over: ${this.#epoch} leads`);
    }
    if (from.join() !== this.#inSync.join()) {
      throw new TernError(
        'ABORTED',
        'IN_SYNC_SET_CHANGED',
        `the in-sync set is ${this.#inSync.join(', ')}; ask again with that`,
      );
    }
    const file: GroupFile = { inSync: to };
    this.#modules.disk.replaceSmall(this.#path, Buffer.from(JSON.stringify(file)));
    this.#inSync = to;
    this.#tell();
  }

  /** As Coordinator. */
  get leadsUntilMs(): number {
    return this.#member.id === MASTER_ID ? Number.POSITIVE_INFINITY : 0;
  }

  /** As Coordinator. Throws FAILED_PRECONDITION (FIXED_ROLES). */
  resign(): Promise<void> {
    return Promise.reject(fixedRoles());
  }

  /** As Coordinator: a slave never leads, so that it does not matter here. */
  async leaveInSync(): Promise<void> {}

  /** As Coordinator. Throws FAILED_PRECONDITION (FIXED_ROLES). */
  allowUnclean(): Promise<void> {
    return Promise.reject(fixedRoles());
  }

  /** As Coordinator. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#search?.cancel();
  }
}

function fixedRoles(): TernError {
  return new TernError(
    'FAILED_PRECONDITION',
    'FIXED_ROLES',
    'The roles of this group are fixed: member 0 leads. Start its brokers with --election etcd to let them be elected.',
  );
}
