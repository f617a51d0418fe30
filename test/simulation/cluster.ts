// The machines of a run: etcd, two name servers, two broker groups of three members, and two for applications.

import { BROKER_OPTIONS, Broker } from '@ternmq/broker';
import { NameServer } from '@ternmq/nameserver';
import { createLogger, resolveOptions, seededRandom } from '@ternmq/runtime';
import { SimDisk } from './disk.ts';
import { SimEtcd } from './etcd.ts';
import { beginNetwork, type Network } from './network.ts';
import { Process, type World } from './world.ts';

/** Broker groups. */
export const GROUPS = ['b1', 'b2'] as const;
/** Members of each. */
export const MEMBERS = [0, 1, 2] as const;
/** Machines of name servers. */
export const NAME_SERVERS = ['ns1', 'ns2'] as const;
/** Machines of applications. */
export const APPLICATIONS = ['app1', 'app2'] as const;
/** The machine of etcd. */
export const ETCD = 'etcd';
const SEGMENT_BYTES = 256 << 10;
const SKEW_MS_MAX = 200;
/** Longest time that starting may take, in virtual milliseconds. */
const START_MS_MAX = 60_000;

/** A member of a broker group. */
export interface Member {
  readonly group: string;
  readonly id: number;
  readonly host: string;
  readonly disk: SimDisk;
  process: Process | undefined;
  broker: Broker | undefined;
  /** It is expected to stop by itself: its disk fails. */
  failing: boolean;
}

/** Everything that runs. */
export class SimCluster {
  readonly world: World;
  readonly network: Network;
  readonly members: readonly Member[];
  readonly etcd: SimEtcd;
  readonly applications: readonly Process[];
  readonly nameservers: string;
  /** What must not have happened. */
  readonly faults: string[] = [];
  /** What happened, for people. */
  readonly timeline: string[] = [];
  /** Who led in each epoch, `group epoch`. */
  readonly #masters = new Map<string, number>();
  #seeds = 0;

  constructor(world: World) {
    this.world = world;
    this.network = beginNetwork(world);
    this.members = GROUPS.flatMap((group) =>
      MEMBERS.map((id) => ({
        group,
        id,
        host: `${group}-${id}`,
        disk: new SimDisk(),
        process: undefined,
        broker: undefined,
        failing: false,
      })),
    );
    this.etcd = new SimEtcd(new Process(ETCD), `${ETCD}:2379`);
    this.nameservers = NAME_SERVERS.map((host) => `${host}:9876`).join();
    this.applications = APPLICATIONS.map((host) => new Process(host));
  }

  /** Starts everything. */
  async start(): Promise<void> {
    for (const host of NAME_SERVERS) await this.world.settled(this.#startNameServer(host), 1000);
    for (const member of this.members) this.startMember(member);
    if (!(await this.world.until(() => this.whole, START_MS_MAX))) {
      throw new Error(`the cluster does not start: ${this.troubles().join('; ')}`);
    }
  }

  /** Adds to the timeline. */
  note(text: string): void {
    this.timeline.push(`${this.world.nowMs.toFixed(0).padStart(7)} ${text}`);
  }

  /** Something happened that must not. */
  fault(text: string): void {
    this.note(`FAULT ${text}`);
    this.faults.push(text);
  }

  async #startNameServer(host: string): Promise<void> {
    const process = new Process(host);
    await this.world.as(process, async () => {
      const server = await NameServer.create(
        { host, port: 9876, warmUpMs: 0, brokerTimeoutMs: 5000 },
        { clock: this.world.clockOf(process), logger: createLogger({ level: 'silent' }) },
      );
      await server.start();
    });
  }

  /** Starts a member that does not run. */
  startMember(member: Member): void {
    if (member.process !== undefined) return;
    const { world } = this;
    const { group, id, host, disk } = member;
    const running = new Process(host, world.random.integer(2 * SKEW_MS_MAX) - SKEW_MS_MAX);
    member.process = running;
    member.failing = false;
    disk.mood.failing = false;
    const resolved = resolveOptions(BROKER_OPTIONS, {
      flags: {
        name: group,
        id,
        data: '/data',
        host,
        brokerPort: 10_911,
        rocketmq: false,
        nameserver: this.nameservers,
        autoCreateTopics: false,
        election: 'etcd',
        etcd: `${ETCD}:2379`,
        electionLease: '2s',
        minInSync: 2,
        replicaLagMax: '3s',
      },
    });
    // Small ones, so that runs see many of them.
    const options = { ...resolved, segmentSize: SEGMENT_BYTES };
    const random = seededRandom(0x9e3779b1 * ++this.#seeds);
    world.as(running, () => {
      Broker.open(options, {
        clock: world.clockOf(running),
        disk: disk.as(running),
        random,
        logger: createLogger({ level: process.env.SIM_LOG === host ? 'debug' : 'silent' }),
        version: 'simulation',
        fatal: (error) => this.#fatal(member, running, error),
        openStore: (folder) => disk.openStore(folder, running),
      }).then(
        (broker) => {
          if (member.process === running) member.broker = broker;
        },
        (error: Error) => this.#fatal(member, running, error),
      );
    });
  }

  #fatal(member: Member, process: Process, error: Error): void {
    if (member.process !== process || !process.alive) return;
    const why = `${member.host} stopped: ${error.message}`;
    // Without etcd it does not start; that is tried again.
    const waits = (error as { reason?: string }).reason === 'COORDINATOR_UNREACHABLE';
    if (member.failing || waits) this.note(why);
    else this.fault(`${why}\n${error.stack}`);
    this.world.after(0, undefined, () => {
      this.crash(member, false);
      if (waits) this.world.after(1000, undefined, () => this.startMember(member));
    });
  }

  /** Ends a member's process without warning. */
  crash(member: Member, power: boolean): void {
    const { process } = member;
    if (process === undefined) return;
    process.alive = false;
    member.process = undefined;
    member.broker = undefined;
    this.network.died(process, power);
    if (power) member.disk.losePower();
  }

  /** The member that leads a group, if one does. */
  leaderOf(group: string): Member | undefined {
    return this.members.find(
      (member) => member.group === group && member.broker?.roles.role === 'leading',
    );
  }

  /** Looks whether two members have led in one epoch. */
  watchMasters(): void {
    for (const { group, id, broker } of this.members) {
      if (broker?.roles.role !== 'leading') continue;
      const name = `${group} ${broker.roles.epoch}`;
      const other = this.#masters.get(name);
      if (other === undefined) {
        this.#masters.set(name, id);
        this.note(`${group}-${id} leads epoch ${broker.roles.epoch}`);
      } else if (other !== id) {
        this.fault(`${group}-${other} and ${group}-${id} both led in epoch ${broker.roles.epoch}`);
        this.#masters.set(name, id);
      }
    }
  }

  /** Epochs that were led. */
  get leaderships(): number {
    return this.#masters.size;
  }

  /** Does every member do what it shall, with all of each group in sync? */
  get whole(): boolean {
    return this.troubles().length === 0;
  }

  /** What is not as it should be. */
  troubles(): string[] {
    const troubles: string[] = [];
    for (const { host, broker } of this.members) {
      if (broker === undefined) troubles.push(`${host} does not run`);
      else for (const reason of broker.notReady()) troubles.push(`${host}: ${reason}`);
    }
    for (const group of GROUPS) {
      const leader = this.leaderOf(group);
      const inSync = leader?.broker?.roles.replicas?.inSync ?? [];
      if (inSync.length < MEMBERS.length) troubles.push(`in sync in ${group}: ${inSync.join()}`);
    }
    return troubles;
  }
}
