// The role of a broker in its group, and what it runs in each.
//
//   opening --> following --(the coordinator gives it an epoch)--> taking over --> leading
//                  ^  |                                                |             |
//                  |  +-- the logs part: cut the tail, or copy the master's log,     |
//                  |      then follow again                            |             |
//                  +---- the lease is lost, or another leads ----------+-------------+
//
//   following     takes the master's log; serves reads
//   standing in   following, while the master is gone and nobody else may lead: serves consumers besides
//   taking over   has an epoch; waits until every in-sync member has what this broker has, then shows it. With fixed roles
//                 nobody else can ever lead, so what this broker has holds at once
//   leading       serves everything
//
// One step is taken at a time; what happens meanwhile is looked at when it is done.

import { BrokerService } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import {
  type Clock,
  type Disk,
  type GrpcServer,
  type Handlers,
  type Logger,
  type Random,
  type Registry,
  TernError,
  type Timer,
} from '@ternmq/runtime';
import type { BrokerOptions } from './config.ts';
import type { Coordinator, GroupView } from './coordination/coordinator.ts';
import { DiskGuard } from './disk-guard.ts';
import type { BrokerIdentity, GroupStanding } from './grpc/describe-broker.ts';
import { followerService, refusingService } from './grpc/follower-service.ts';
import { leadershipHandlers } from './grpc/leadership.ts';
import { addReplicationService } from './grpc/replicate.ts';
import { RAW_METHODS } from './grpc/service.ts';
import { Leading } from './leading.ts';
import type { LogOptions } from './log/log-options.ts';
import { removeUnfinishedCopy } from './replication/copy-log.ts';
import { Following, type Parting } from './replication/following.ts';
import { endFork } from './replication/fork.ts';
import type { SlaveIdentity } from './replication/master-link.ts';
import { mendLog } from './replication/mend-log.ts';
import { notMaster, stopping } from './replication/not-master.ts';
import { Replica } from './replication/replica.ts';
import { Replicas } from './replication/replicas.ts';
import { SettledAside } from './replication/settled-aside.ts';
import { StandIn } from './standing-in.ts';
import type { StateStore } from './state/store.ts';
import type { Topic } from './state/topics.ts';

/** What a broker does in its group. */
export type Role = 'opening' | 'following' | 'standing in' | 'taking over' | 'leading';

const CHECK_MS = 100;
/** A slave says every second how far it is. */
const SILENT_MS_MIN = 3000;
const RETRY_MS = 500;
const STAND_IN_RETRY_MS = 5000;
const END_GRACE_MS = 0;

/** What the roles stand on. */
export interface RoleModules {
  readonly clock: Clock;
  readonly disk: Disk;
  readonly random: Random;
  readonly logger: Logger;
  readonly registry: Registry;
  readonly server: GrpcServer;
  readonly coordinator: Coordinator;
  readonly openStore: (folder: string) => StateStore;
  readonly fatal: (error: Error) => void;
  readonly identity: Omit<BrokerIdentity, 'corruptRanges' | 'standing'>;
  /** The role or the epoch has changed. */
  readonly roleChanged: () => void;
  /** Topics are new, have changed, or are gone. */
  readonly topicChanged: (topic: Topic, deleted: boolean) => void;
}

/** A broker's role. */
export class Roles {
  readonly #options: BrokerOptions;
  readonly #log: LogOptions;
  readonly #modules: RoleModules;
  readonly #check: Timer;
  #address = '';
  #view: GroupView = { epoch: 0, master: undefined, inSync: [], members: [] };
  #role: Role = 'opening';
  #replica: Replica | undefined;
  #guard: DiskGuard | undefined;
  #following: Following | undefined;
  #leading: Leading | undefined;
  #standIn: StandIn | undefined;
  #standInNotBeforeMs = 0;
  #replicas: Replicas | undefined;
  readonly #aside: SettledAside;
  #epoch = 0;
  #parting: Parting | undefined;
  #closing = new AbortController();
  #stepping: Promise<void> | undefined;
  #again = false;
  readonly #stopped = new AbortController();

  private constructor(options: BrokerOptions, log: LogOptions, modules: RoleModules) {
    this.#options = options;
    this.#log = log;
    this.#modules = modules;
    const { name: brokerName, id, data: folder, election } = options;
    const always = election === 'fixed';
    this.#aside = new SettledAside({ folder, always }, { brokerName, id }, modules);
    this.#check = modules.clock.every(CHECK_MS, () => this.#tick());
  }

  /** Opens log and state, and adds the services, which refuse everything until `start`. Throws as openState. */
  static async open(options: BrokerOptions, log: LogOptions, modules: RoleModules): Promise<Roles> {
    const roles = new Roles(options, log, modules);
    try {
      if (removeUnfinishedCopy(log.folder, modules.disk)) {
        modules.logger.warn('a copy of the log was not finished; it begins anew');
      }
      await roles.#openReplica();
    } catch (error) {
      roles.#check.cancel();
      throw error;
    }
    const { server } = modules;
    server.add(
      BrokerService,
      refusingService(() => roles.#refusal()),
      RAW_METHODS,
    );
    const group = { brokerName: options.name, epoch: () => roles.#epoch };
    addReplicationService(server, group, {
      replicas: () => roles.#ledBy(roles.#replicas),
      merge: (request) => roles.#ledBy(roles.#leading).merge(request),
    });
    return roles;
  }

  #ledBy<Part>(part: Part | undefined): Part {
    if (part === undefined) throw this.#refusal();
    return part;
  }

  /** Joins the group under an address; resolves when it is known who leads, or that nobody does yet. */
  async start(address: string): Promise<void> {
    this.#address = address;
    const { coordinator } = this.#modules;
    await coordinator.start({ id: this.#options.id, address }, (view) => this.#viewed(view));
    await this.#step();
  }

  /** What the broker does. */
  get role(): Role {
    return this.#role;
  }

  /** Of the leadership, or newest in the log. */
  get epoch(): number {
    return this.#leading === undefined ? (this.#replica?.log.epoch ?? 0) : this.#epoch;
  }

  /** What it has; undefined while that is opened. */
  get replica(): Replica | undefined {
    return this.#replica;
  }

  /** How full its disk is. */
  get guard(): DiskGuard | undefined {
    return this.#guard;
  }

  /** Its slaves, while it leads. */
  get replicas(): Replicas | undefined {
    return this.#replicas;
  }

  /** Why it does not do what its role asks of it; undefined when it does. */
  get trouble(): string | undefined {
    if (this.#role === 'leading') {
      return this.#options.acknowledge === 'in-sync' && this.#replicas?.enough === false
        ? 'too few replicas are in sync to acknowledge messages'
        : undefined;
    }
    if (this.#role === 'standing in' || this.#following?.state === 'following') return undefined;
    return this.#role === 'following'
      ? 'the broker follows no master yet'
      : `the broker is ${this.#role}`;
  }

  #viewed(view: GroupView): void {
    this.#view = view;
    this.#replicas?.decided(view.inSync);
    void this.#step();
  }

  #tick(): void {
    this.#replica?.trim();
    const { clock, coordinator } = this.#modules;
    const ended = clock.monotonicMs() >= coordinator.leadsUntilMs;
    if (this.#replicas !== undefined && (ended || this.#role === 'taking over')) void this.#step();
    if (this.#shallStandIn && this.#standIn === undefined) void this.#step();
  }

  /** Takes steps until there is nothing to do. */
  #step(): Promise<void> {
    this.#again = true;
    // Not at once: what a step does may ask for another.
    this.#stepping ??= Promise.resolve()
      .then(() => this.#takeSteps())
      .finally(() => {
        this.#stepping = undefined;
      });
    return this.#stepping;
  }

  async #takeSteps(): Promise<void> {
    const { fatal, logger, clock } = this.#modules;
    while (this.#again && !this.#stopped.signal.aborted) {
      this.#again = false;
      try {
        await this.#takeStep();
      } catch (error) {
        if (this.#stopped.signal.aborted) return;
        if (!(error instanceof TernError) || error.code !== 'UNAVAILABLE') {
          fatal(error as Error);
          return;
        }
        logger.warn({ error }, 'the broker could not take its role yet; it tries again');
        await clock.sleep(RETRY_MS, this.#stopped.signal).catch(() => {});
        this.#again = true;
      }
    }
  }

  async #takeStep(): Promise<void> {
    const { coordinator, clock } = this.#modules;
    const { master } = this.#view;
    if (this.#replicas !== undefined) {
      const leads = master?.id === this.#options.id && this.#view.epoch === this.#epoch;
      if (leads && clock.monotonicMs() < coordinator.leadsUntilMs) {
        if (this.#role === 'taking over') await this.#takeOver();
        return;
      }
      await this.#stepDown();
    }
    if (this.#replica === undefined) await this.#openReplica();
    if (this.#parting !== undefined) await this.#mend(this.#parting);
    if ((master === undefined || master.id === this.#options.id) && this.#mayLead) {
      const epoch = await coordinator.campaign(this.#replica?.log.epoch ?? 0);
      if (epoch !== undefined) {
        await this.#lead(epoch);
        return;
      }
    }
    if (this.#standIn !== undefined && this.#view.standsIn !== true) await this.#endStandIn();
    this.#follow();
    if (this.#shallStandIn && this.#standIn === undefined) await this.#beginStandIn();
  }

  /** Not while its own stream says that the master lives, or while it lacks what that has confirmed. */
  get #shallStandIn(): boolean {
    const following = this.#following;
    const may = this.#modules.clock.monotonicMs() >= this.#standInNotBeforeMs;
    if (this.#view.standsIn !== true || following === undefined || !may) return false;
    return following.state !== 'following' && following.complete;
  }

  async #beginStandIn(): Promise<void> {
    const { clock, logger } = this.#modules;
    this.#aside.stop();
    (this.#following as Following).master = undefined;
    let standIn: StandIn;
    try {
      const modules = { ...this.#modules, aside: this.#aside, refusal: () => this.#refusal() };
      standIn = await StandIn.open(this.#log, this.#replica as Replica, modules);
    } catch (error) {
      if (!(error instanceof TernError)) throw error;
      // Perhaps later, when more of the state is stored.
      logger.warn({ error }, 'cannot serve consumers in the place of the master now');
      this.#standInNotBeforeMs = clock.monotonicMs() + STAND_IN_RETRY_MS;
      return;
    }
    this.#standIn = standIn;
    this.#serve({ ...this.#reads(), ...standIn.handlers });
    this.#moved('standing in');
    logger.warn('the master is gone: serves consumers in its place');
  }

  /** Keeps what was settled here for the master. */
  async #endStandIn(): Promise<void> {
    const standIn = this.#standIn;
    if (standIn === undefined) return;
    this.#standIn = undefined;
    this.#serve(this.#reads());
    await standIn.end(notMaster(this.#view.master?.address));
    this.#moved('following');
    this.#modules.logger.info('serves consumers no more');
  }

  /** A log that is damaged is mended from another member's first: where there are others, it never leads. */
  get #mayLead(): boolean {
    const damaged = (this.#replica?.opened.recovery.corrupt.length ?? 0) > 0;
    return this.#options.election === 'fixed' || !damaged || this.#view.members.length < 2;
  }

  async #openReplica(): Promise<void> {
    const { clock, disk, logger, openStore, fatal } = this.#modules;
    const startMs = clock.monotonicMs();
    const log = logger.child({ part: 'log' });
    const replica = await Replica.open(this.#log, { clock, disk, logger: log, openStore, fatal });
    this.#replica = replica;
    replica.tellRecovery(log, clock.monotonicMs() - startMs);
    this.#guard = await DiskGuard.create(this.#log.folder, {
      disk,
      clock,
      log: replica.log,
      logger: logger.child({ part: 'disk' }),
    });
    replica.log.observe({
      wrote: () => {
        this.#replicas?.wrote();
        this.#leading?.wrote();
      },
      advanced: () => {
        this.#replicas?.advanced();
        replica.stateLog.advanced();
        this.#following?.advanced();
        this.#leading?.advanced();
      },
      failed: (error) => {
        replica.writer.abandon();
        fatal(error);
      },
    });
    replica.writer.start();
    await endFork(this.#log, replica, this.#aside, this.#modules);
  }

  /** Begins to follow, or follows another master. */
  #follow(): void {
    const replica = this.#replica as Replica;
    const { clock, random, logger } = this.#modules;
    const { id } = this.#options;
    if (this.#following === undefined) {
      this.#closing = new AbortController();
      // What is in the store was confirmed; the master tells how far the rest is.
      replica.log.confirm(replica.opened.storePosition);
      replica.stateLog.allArrived();
      replica.stateLog.advanced();
      this.#following = new Following(this.#identity, {
        replica,
        clock,
        random,
        logger: logger.child({ part: 'replication' }),
        parted: (parting) => {
          this.#parting = parting;
          void this.#step();
        },
        agreed: (master) => this.#aside.handOver(master, replica.state),
        topicChanged: this.#modules.topicChanged,
      });
      const corrupt = replica.opened.recovery.corrupt[0];
      this.#serve(this.#reads());
      this.#moved('following');
      if (corrupt !== undefined && this.#view.master !== undefined) {
        // What is damaged is taken from the master again.
        const { address: from } = this.#view.master;
        this.#parting = { common: corrupt.start, damaged: true, master: from };
        this.#again = true;
        return;
      }
    }
    const { master } = this.#view;
    const alone = master?.id === id || this.#standIn !== undefined;
    this.#following.master = alone ? undefined : master?.address;
  }

  #serve(handlers: Handlers): void {
    const all = { ...handlers, ...leadershipHandlers(this) };
    this.#modules.server.replace(BrokerService, all, RAW_METHODS);
  }

  #reads(): Handlers {
    const modules = { ...this.#parts(), closing: this.#closing.signal };
    return followerService(this.#options.name, modules, () => this.#refusal());
  }

  #parts() {
    const { clock, logger, identity } = this.#modules;
    const replica = this.#replica as Replica;
    const corruptRanges = (): number => replica.opened.recovery.corrupt.length;
    return {
      replica,
      guard: this.#guard as DiskGuard,
      clock,
      logger,
      identity: { ...identity, corruptRanges, standing: () => this.#standing },
      pullFromSlaveBytes: this.#options.pullFromSlaveBytes,
    };
  }

  /** As MoveLeadership. */
  async moveTo(id: number | undefined): Promise<number> {
    const replicas = this.#replicas;
    if (this.#role !== 'leading' || replicas === undefined) throw this.#refusal();
    const { election } = this.#options;
    if (election === 'fixed') await this.#modules.coordinator.resign();
    const to = await replicas.handOver(id);
    await this.#modules.coordinator.resign(to);
    return to;
  }

  /** As RemoveReplica. */
  removeReplica(id: number): Promise<readonly number[]> {
    const replicas = this.#replicas;
    if (this.#role !== 'leading' || replicas === undefined) throw this.#refusal();
    return replicas.remove(id);
  }

  /** As AllowUncleanLeader. */
  async allowUnclean(): Promise<void> {
    await this.#modules.coordinator.allowUnclean(this.#options.id);
  }

  get #standing(): GroupStanding {
    const leading = this.#role === 'leading';
    const { master } = this.#view;
    return {
      leading,
      standingIn: this.#standIn !== undefined,
      epoch: this.epoch,
      master: leading ? undefined : master?.address,
      divergentBytes: this.divergentBytes,
      replicas: leading ? this.#replicas : undefined,
    };
  }

  /** The log parts from the master's: takes back what the master never had, or takes the master's log whole. */
  async #mend(parting: Parting): Promise<void> {
    const { signal } = this.#stopped;
    const { common, damaged } = parting;
    // What goes may have been acknowledged: before it does, this member gives up its place among those that may lead.
    if (damaged || common === undefined) await this.#modules.coordinator.leaveInSync();
    if (this.#parting === parting) this.#parting = undefined;
    const { log, writer } = this.#replica as Replica;
    const { start, next: end, epoch } = log;
    await this.#closeRole(notMaster(undefined));
    await this.#closeReplica();
    // Whatever was settled here is of other messages, or of some that the master has deleted.
    if (common === undefined) this.#aside.replace([]);
    const closed = { start, end, epoch, storePosition: writer.position };
    const modules = { ...this.#modules, signal };
    this.divergentBytes += await mendLog(this.#log, closed, parting, this.#identity, modules);
    await this.#openReplica();
  }

  get #identity(): SlaveIdentity {
    const { name: brokerName, id } = this.#options;
    return { brokerName, id, address: this.#address };
  }

  /** Bytes that were cut off the log because the master never had them. */
  divergentBytes = 0;

  async #lead(epoch: number): Promise<void> {
    const { clock, coordinator, logger } = this.#modules;
    const {
      id,
      acknowledge,
      minInSync,
      replicaLagMax,
      replicaLagBytesMax,
      election,
      electionLease,
    } = this.#options;
    await this.#closeRole(notMaster(undefined));
    const replica = this.#replica as Replica;
    await replica.lead(epoch, this.#modules.random);
    this.#epoch = epoch;
    this.#replicas = new Replicas(
      {
        selfId: id,
        epoch,
        waits: acknowledge === 'in-sync',
        min: () => minInSync ?? Math.min(2, this.#view.members.length),
        limits: {
          timeMs: replicaLagMax,
          goneMs: electionLease,
          silentMs: Math.max(electionLease, SILENT_MS_MIN),
          bytes: replicaLagBytesMax,
          shrinks: election !== 'fixed',
        },
      },
      this.#view.inSync,
      {
        log: replica.log,
        state: replica.state,
        coordinator,
        clock,
        logger: logger.child({ part: 'replication' }),
        advanced: () => this.#leading?.advanced(),
      },
    );
    this.#moved('taking over');
    await this.#takeOver();
  }

  /** Serves everything once all in-sync members have what this broker has. */
  async #takeOver(): Promise<void> {
    const { random, logger, registry, topicChanged } = this.#modules;
    const replica = this.#replica as Replica;
    const replicas = this.#replicas as Replicas;
    const end = replica.log.next;
    await replica.log.durableAt(end);
    if (!replicas.settled(end)) return;
    if (this.#options.acknowledge !== 'in-sync') replica.log.confirm(Number.POSITIVE_INFINITY);
    replicas.takenOver(end);
    replica.showAll();
    this.#leading = Leading.open(this.#options, {
      ...this.#parts(),
      replicas,
      random,
      registry,
      topicChanged,
    });
    this.#serve(this.#leading.handlers);
    this.#moved('leading');
    logger.info({ epoch: this.#epoch }, 'the broker leads its group');
  }

  /** Leads no more: what it may have beyond the new master's log is found out when it follows. */
  async #stepDown(): Promise<void> {
    const { logger } = this.#modules;
    logger.warn({ epoch: this.#epoch }, 'the broker leads no more');
    await this.#closeRole(notMaster(this.#view.master?.address));
    await this.#closeReplica();
  }

  async #closeRole(reason: TernError): Promise<void> {
    await this.#endStandIn();
    this.#aside.stop();
    this.#closing.abort(reason);
    this.#following?.close();
    this.#following = undefined;
    const { server } = this.#modules;
    server.replace(
      BrokerService,
      refusingService(() => this.#refusal()),
      RAW_METHODS,
    );
    const leading = this.#leading;
    this.#leading = undefined;
    this.#replicas?.close(reason);
    this.#replicas = undefined;
    await leading?.end(reason, END_GRACE_MS);
    await leading?.close();
    if (this.#role !== 'opening') this.#moved('opening');
  }

  async #closeReplica(): Promise<void> {
    this.#guard?.close();
    const replica = this.#replica;
    this.#replica = undefined;
    await replica?.close();
  }

  #moved(role: Role): void {
    this.#role = role;
    this.#modules.roleChanged();
  }

  #refusal(): TernError {
    if (this.#stopped.signal.aborted) return stopping();
    const { master } = this.#view;
    return notMaster(master?.id === this.#options.id ? undefined : master?.address);
  }

  /** Ends what clients have open, with the answers that are due. */
  async end(reason: Error, graceMs: number): Promise<void> {
    this.#check.cancel();
    this.#stopped.abort(reason);
    this.#closing.abort(reason);
    await this.#endStandIn();
    await this.#leading?.end(reason, graceMs);
  }

  /** Takes everything apart. */
  async close(): Promise<void> {
    this.#check.cancel();
    this.#stopped.abort(stopping());
    await this.#stepping;
    await this.#closeRole(stopping());
    await this.#modules.coordinator.close();
    await this.#closeReplica();
  }
}
