// What goes wrong in a run, by its seed.

import { APPLICATIONS, ETCD, type Member, NAME_SERVERS, type SimCluster } from './cluster.ts';

/** Shortest and longest pause between two faults, in milliseconds. */
const PAUSE_MS: readonly [number, number] = [300, 5000];
const SECTOR_BYTES = 512;
/** Shortest time between two losses in one group, in milliseconds. */
const LOSS_PAUSE_MS = 10_000;

/** Makes things go wrong until it is told to stop, and then mends everything. */
export class Nemesis {
  readonly #cluster: SimCluster;
  #stopped = false;
  /** When a member of a group last lost what it had. */
  readonly #lossMs = new Map<string, number>();
  /** How often each thing happened. */
  readonly counts: Record<string, number> = {};

  constructor(cluster: SimCluster) {
    this.#cluster = cluster;
  }

  /** Begins. */
  start(): void {
    const { world } = this.#cluster;
    const [min, max] = PAUSE_MS;
    const next = (): void => {
      world.after(min + world.random.next() * (max - min), undefined, () => {
        if (this.#stopped) return;
        this.#strike();
        next();
      });
    };
    next();
  }

  /** Stops, and mends everything. */
  stop(): void {
    this.#stopped = true;
    const { network, members } = this.#cluster;
    network.mendAll();
    for (const member of members) {
      member.disk.mood.syncMs = [0.2, 2];
      // What could not be synced is gone for good.
      if (member.failing) this.#cluster.crash(member, true);
      this.#cluster.startMember(member);
    }
    this.#cluster.note('everything is mended');
  }

  #strike(): void {
    const strikes: readonly [weight: number, name: string, strike: () => void][] = [
      [4, 'kill', () => this.#kill(this.#anyone(), false)],
      [4, 'power failure', () => this.#kill(this.#anyone(), true)],
      [3, 'kill of a master', () => this.#killMaster()],
      [3, 'lonely master', () => this.#lonelyMaster()],
      [3, 'blackout', () => this.#blackOut(this.#anyone().group)],
      [4, 'cut', () => this.#cut(this.#oneWay())],
      [3, 'partition', () => this.#isolate(this.#anyone())],
      [4, 'broken connections', () => this.#break()],
      [2, 'slow link', () => this.#slowLink()],
      [2, 'slow disk', () => this.#slowDisk(this.#anyone())],
      [1, 'failing disk', () => this.#failDisk(this.#anyone())],
      [2, 'corruption', () => this.#corrupt(this.#anyone())],
      [2, 'wiped disk', () => this.#wipe(this.#anyone())],
      [1, 'lost state', () => this.#loseState(this.#anyone())],
    ];
    const { world } = this.#cluster;
    let drawn = world.random.integer(strikes.reduce((sum, [weight]) => sum + weight, 0));
    for (const [weight, name, strike] of strikes) {
      drawn -= weight;
      if (drawn >= 0) continue;
      this.counts[name] = (this.counts[name] ?? 0) + 1;
      strike();
      return;
    }
  }

  #anyone(): Member {
    const { members, world } = this.#cluster;
    return members[world.random.integer(members.length)] as Member;
  }

  #between(min: number, max: number): number {
    return min + this.#cluster.world.random.next() * (max - min);
  }

  #after(ms: number, run: () => void): void {
    this.#cluster.world.after(ms, undefined, run);
  }

  #kill(member: Member, power: boolean, downMsMin = 100): void {
    if (member.process === undefined || this.#stopped) return;
    this.#cluster.note(`${member.host} ${power ? 'loses its power' : 'is killed'}`);
    this.#cluster.crash(member, power);
    this.#startAgain(member, downMsMin, 8000);
  }

  #startAgain(member: Member, downMsMin: number, downMsMax: number): void {
    this.#after(this.#between(downMsMin, downMsMax), () => this.#cluster.startMember(member));
  }

  /** A member that has lost something comes back, and soon the master goes. */
  #startInTrouble(member: Member): void {
    this.#startAgain(member, 100, 3000);
    if (this.#oneWay()) return;
    this.#after(this.#between(0, 3000), () => {
      const leader = this.#cluster.leaderOf(member.group);
      if (leader !== undefined) this.#kill(leader, false, 3000);
    });
  }

  #killMaster(): void {
    const group = this.#anyone().group;
    const leader = this.#cluster.leaderOf(group);
    if (leader !== undefined) this.#kill(leader, this.#cluster.world.random.integer(2) === 0);
  }

  /** A master is heard by everybody but its slaves, and then by nobody. */
  #lonelyMaster(): void {
    const { network, members } = this.#cluster;
    const leader = this.#cluster.leaderOf(this.#anyone().group);
    if (leader === undefined) return;
    const slaves = members.filter((one) => one.group === leader.group && one !== leader);
    this.#cluster.note(`nothing comes from ${leader.host} to its slaves`);
    for (const { host } of slaves) network.cut(leader.host, host);
    this.#after(this.#between(200, 1500), () => {
      this.#kill(leader, true, 3000);
      for (const { host } of slaves) network.mend(leader.host, host);
    });
  }

  /** The power of a whole group fails while some of its disks are slow. */
  #blackOut(group: string): void {
    const members = this.#cluster.members.filter((member) => member.group === group);
    for (const { disk } of members) if (this.#oneWay()) disk.mood.syncMs = [100, 1500];
    this.#after(this.#between(300, 1500), () => {
      for (const member of members) {
        member.disk.mood.syncMs = [0.2, 2];
        this.#kill(member, true);
      }
    });
  }

  #oneWay(): boolean {
    return this.#cluster.world.random.integer(2) === 0;
  }

  #anyHost(but: string): string {
    const { world, members } = this.#cluster;
    const hosts = [
      ...members.map(({ host }) => host),
      ETCD,
      ...NAME_SERVERS,
      ...APPLICATIONS,
    ].filter((host) => host !== but);
    return hosts[world.random.integer(hosts.length)] as string;
  }

  #cut(oneWay: boolean): void {
    const { network } = this.#cluster;
    const from = this.#anyone().host;
    const to = this.#anyHost(from);
    this.#cluster.note(`nothing comes from ${from} to ${to}${oneWay ? '' : ' and back'}`);
    network.cut(from, to);
    if (!oneWay) network.cut(to, from);
    this.#after(this.#between(200, 12_000), () => {
      network.mend(from, to);
      network.mend(to, from);
    });
  }

  #isolate(member: Member): void {
    const { network, members } = this.#cluster;
    const { host } = member;
    const hosts = [...members.map((one) => one.host), ETCD, ...NAME_SERVERS, ...APPLICATIONS];
    const outwards = this.#oneWay();
    this.#cluster.note(`${host} is cut off${outwards ? '' : ', and hears what is said'}`);
    for (const other of hosts) {
      network.cut(host, other);
      if (outwards) network.cut(other, host);
    }
    this.#after(this.#between(500, 12_000), () => {
      for (const other of hosts) {
        network.mend(host, other);
        network.mend(other, host);
      }
    });
  }

  #break(): void {
    const from = this.#anyone().host;
    const to = this.#anyHost(from);
    this.#cluster.network.breakBetween(from, to);
  }

  #slowLink(): void {
    const { network } = this.#cluster;
    const from = this.#anyone().host;
    const to = this.#anyHost(from);
    network.slow(from, to, { delayMs: [20, 300] });
    this.#after(this.#between(500, 6000), () => network.slow(from, to, { delayMs: [0.1, 0.8] }));
  }

  #slowDisk(member: Member): void {
    const { mood } = member.disk;
    this.#cluster.note(`the disk of ${member.host} is slow`);
    mood.syncMs = [100, 1500];
    this.#after(this.#between(500, 6000), () => {
      mood.syncMs = [0.2, 2];
    });
  }

  #failDisk(member: Member): void {
    if (member.process === undefined) return;
    this.#cluster.note(`the disk of ${member.host} fails`);
    member.failing = true;
    member.disk.mood.failing = true;
    this.#after(this.#between(3000, 8000), () => {
      if (this.#stopped) return;
      // What could not be synced is gone for good.
      this.#cluster.crash(member, true);
      this.#cluster.startMember(member);
    });
  }

  /** May a member lose what it has? Only when all others of its group have everything, and one after the other. */
  #mayLose(member: Member): boolean {
    const { members, world } = this.#cluster;
    const group = members.filter((one) => one.group === member.group);
    const ready = group.every(({ broker }) => broker?.notReady().length === 0);
    const leader = this.#cluster.leaderOf(member.group);
    const inSync = leader?.broker?.roles.replicas?.inSync ?? [];
    const lastMs = this.#lossMs.get(member.group) ?? Number.NEGATIVE_INFINITY;
    if (!ready || inSync.length < group.length || world.nowMs - lastMs < LOSS_PAUSE_MS)
      return false;
    this.#lossMs.set(member.group, world.nowMs);
    return true;
  }

  /** Damages what a member has had on its disk for long. */
  #corrupt(member: Member): void {
    const { world } = this.#cluster;
    const path = member.disk.paths.find((one) => /\/log\/\d{20}$/.test(one));
    const durable = member.broker?.roles.replica?.log.durable ?? 0;
    const bytes = path === undefined ? undefined : member.disk.bytesOf(path);
    if (bytes === undefined || durable < 4 * SECTOR_BYTES || durable > bytes.length) return;
    if (!this.#mayLose(member)) return;
    this.#cluster.crash(member, false);
    // Without the derived state all of the log is read at the start.
    member.disk.loseState();
    const at = world.random.integer(durable - 2 * SECTOR_BYTES);
    for (let i = at; i < at + 16; i++) bytes[i] = (bytes[i] as number) ^ 0x55;
    this.#cluster.note(`${member.host} is stopped, and its log damaged at ${at}`);
    // Some starts find the damage, and end before it is mended.
    if (this.#oneWay()) {
      this.#cluster.network.cut(member.host, ETCD);
      this.#after(this.#between(3000, 6000), () => this.#cluster.network.mend(member.host, ETCD));
    }
    this.#startInTrouble(member);
  }

  /** A machine is replaced. */
  #wipe(member: Member): void {
    if (!this.#mayLose(member)) return;
    this.#cluster.note(`${member.host} is replaced: its disk is empty`);
    this.#cluster.crash(member, true);
    member.disk.wipe();
    this.#startInTrouble(member);
  }

  #loseState(member: Member): void {
    if (member.process === undefined) return;
    this.#cluster.note(`${member.host} is killed, and its derived state lost`);
    this.#cluster.crash(member, false);
    member.disk.loseState();
    this.#startAgain(member, 100, 3000);
  }
}
