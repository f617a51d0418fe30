// Fixed roles, as in RocketMQ 4: member 0 leads, for ever. Its in-sync set is kept in a file of its data folder: it grows
// when a slave has caught up, and shrinks only by an operator's hand. Slaves find their master at the name servers.

import { join } from 'node:path';
import { type Clock, type Disk, TernError, type Timer } from '@ternmq/runtime';
import type { Coordinator, GroupView, MemberView } from './coordinator.ts';
import { type KnownMember, StandInChoice } from './stand-in-choice.ts';

const MASTER_ID = 0;
const SEARCH_MS = 1000;
/** The same while no master lives. */
const SEARCH_GONE_MS = 200;
const FILE = 'group.json';

/** What the file of a master says. */
interface GroupFile {
  readonly inSync: readonly number[];
}

/** What fixed roles need. */
export interface FixedModules {
  readonly disk: Disk;
  readonly clock: Clock;
  /** Asks the name servers for the group's members. Rejects when they cannot tell. */
  readonly findGroup: () => Promise<readonly KnownMember[]>;
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
  readonly #standInAfterMs: number;
  #choice: StandInChoice | undefined;
  #standsIn = false;
  #search: Timer | undefined;
  #closed = false;

  /**
   * @param folder the broker's data folder
   * @param standInAfterMs how long the master is gone before a slave serves consumers; 0 for never
   */
  constructor(folder: string, standInAfterMs: number, modules: FixedModules) {
    this.#path = join(folder, FILE);
    this.#standInAfterMs = standInAfterMs;
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
    this.#choice = new StandInChoice(member.id, this.#standInAfterMs);
    this.#tell();
    await this.#lookAround(this.#choice);
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
    this.#changed({
      epoch: this.#epoch,
      master: this.#master,
      inSync: this.#inSync,
      members,
      standsIn: this.#standsIn,
    });
  }

  /** Looks who leads, and whether anybody does. While the name servers cannot tell, everything stays as it is. */
  async #lookAround(choice: StandInChoice): Promise<void> {
    const { findGroup, clock } = this.#modules;
    const members = await findGroup().catch(() => undefined);
    if (this.#closed) return;
    if (members !== undefined) {
      const [newest] = members
        .filter(({ role }) => role === 'master')
        .sort((one, other) => other.epoch - one.epoch);
      const address = newest?.address;
      const standsIn = choice.look(members, clock.monotonicMs());
      if (address !== this.#master?.address || standsIn !== this.#standsIn) {
        this.#master = address === undefined ? undefined : { id: MASTER_ID, address, alive: true };
        this.#standsIn = standsIn;
        this.#tell();
      }
    }
    const gone = members?.every(({ role, lives }) => role !== 'master' || !lives);
    const everyMs = Math.min(
      gone ? SEARCH_GONE_MS : SEARCH_MS,
      this.#standInAfterMs / 2 || SEARCH_MS,
    );
    this.#search = clock.setTimer(everyMs, () => void this.#lookAround(choice));
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
