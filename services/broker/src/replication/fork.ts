// What a slave adds while it serves consumers in the place of its master: a log of its own, which begins where the confirmed
// part of the slave's log ends, and a state that follows from both. The slave's own log and store stay as they are, so that
// they remain what the master's are.
//
//                                                        point
//   the slave's log    |------------- confirmed ----------|---- perhaps the master's, perhaps nobody's ----|
//   the fork's log                                        |---- leases and settlements ---->
//
// stand-in/
//   fork    where the point is, and in which epoch; without this file there is no fork
//   log/    the fork's log: no messages, only what consumers do
//
// The fork's state is in memory alone: it is made of the slave's store, the slave's log from there to the point, and the fork's
// log. That works for as long as the slave follows nobody, so a fork is closed before it does.

import { join } from 'node:path';
import type { SettledElsewhere } from '@ternmq/proto/gen/ternmq/broker/v1/replication_pb';
import { type Clock, type Disk, type Logger, TernError } from '@ternmq/runtime';
import { CommitLog } from '../log/commit-log.ts';
import type { LogOptions } from '../log/log-options.ts';
import { RECORD_HEADER_BYTES, RecordTag } from '../log/record.ts';
import { settledFrom } from '../progress/merge.ts';
import { BrokerState } from '../state/broker-state.ts';
import type { EpochStart } from '../state/epochs.ts';
import { loadState } from '../state/load-state.ts';
import { applyTo, showAll } from '../state/open-state.ts';
import { overlayStore } from '../state/overlay-store.ts';
import { clipSettled, settledElsewhere } from '../state/settled-elsewhere.ts';
import { StateLog } from '../state/state-log.ts';
import { StateWriter } from '../state/state-writer.ts';
import type { StateStore } from '../state/store.ts';
import type { Replica } from './replica.ts';
import type { SettledAside } from './settled-aside.ts';

const FOLDER = 'stand-in';
const FILE = 'fork';
const SEGMENT_BYTES = 16 << 20;

/** Where a fork leaves the log of its slave. */
interface ForkPoint {
  readonly position: number;
  /** Of the record before it. */
  readonly epoch: Pick<EpochStart, 'epoch' | 'nonce'>;
}

/** What a fork uses. */
export interface ForkModules {
  readonly disk: Disk;
  readonly clock: Clock;
  /** Its log has failed: the process must end. */
  readonly fatal: (error: Error) => void;
}

/**
 * Ends the fork that a data folder may have because the broker ended while it served consumers. The slave's log counts as
 * confirmed up to where the fork leaves it. A fork that cannot be read is removed: what was settled comes again.
 */
export async function endFork(
  options: LogOptions,
  slave: Replica,
  aside: SettledAside,
  modules: ForkModules & { logger: Logger },
): Promise<void> {
  const { disk, logger } = modules;
  if (!disk.exists(join(options.folder, FOLDER, FILE))) return;
  try {
    const fork = await Fork.open(options, slave, modules);
    slave.log.confirm(fork.point);
    await fork.merge(aside.list);
    await fork.end(aside);
  } catch (error) {
    if (!(error instanceof TernError)) throw error;
    logger.warn(
      { error },
      'what was settled here while the master was gone is lost: it is delivered again',
    );
    removeFork(options.folder, disk);
  }
}

/** Removes the fork of a data folder; harmless when there is none. */
function removeFork(folder: string, disk: Disk): void {
  // The file first: what is left without it is no fork.
  disk.remove(join(folder, FOLDER, FILE));
  disk.remove(join(folder, FOLDER));
}

/** A log and a state that go on behind those of a slave. */
export class Fork {
  readonly log: CommitLog;
  readonly state: BrokerState;
  readonly stateLog: StateLog;
  /** Where it leaves the slave's log, which was confirmed up to there. */
  readonly point: number;
  readonly #writer: StateWriter;
  readonly #folder: string;
  readonly #disk: Disk;
  /** How far the groups were where the fork began, by progress and queue. */
  readonly #began: ReadonlyMap<string, Began>;

  private constructor(
    { log, state, store }: { log: CommitLog; state: BrokerState; store: StateStore },
    point: number,
    began: ReadonlyMap<string, Began>,
    folder: string,
    { clock, disk, fatal }: ForkModules,
  ) {
    this.log = log;
    this.state = state;
    this.point = point;
    this.#folder = folder;
    this.#disk = disk;
    this.#began = began;
    this.stateLog = new StateLog(log, state, clock);
    this.#writer = new StateWriter(log.next, { log, state, store, clock }, fatal);
    log.observe({ advanced: () => this.stateLog.advanced(), failed: fatal });
    this.#writer.start();
  }

  /**
   * Opens the fork of a slave's data folder, or makes one. Throws FAILED_PRECONDITION (FORK_UNFIT) when it does not go together
   * with the slave's log or store, DATA_LOSS (CORRUPT_RECORD), and the disk's errors.
   *
   * @param options of the slave's log
   */
  static async open(options: LogOptions, slave: Replica, modules: ForkModules): Promise<Fork> {
    const { disk, clock } = modules;
    const folder = join(options.folder, FOLDER);
    const known = readPoint(folder, disk);
    const point = known ?? pointOf(slave.state, Math.min(slave.log.confirmed, slave.log.durable));
    if (known === undefined) {
      removeFork(options.folder, disk);
      disk.makeFolder(folder);
    }
    const store = overlayStore(slave.store);
    const state = await stateAt(point, slave, new BrokerState(store));
    const began = progressOf(state);
    const { log } = await CommitLog.open(
      {
        ...options,
        folder,
        segmentBytes: SEGMENT_BYTES,
        slabs: 2,
        following: false,
        below: slave.log.read,
      },
      { disk, clock },
      { position: point.position, epoch: point.epoch.epoch },
      applyTo(state, { find: () => undefined }),
    );
    showAll(state);
    if (known === undefined) {
      disk.replaceSmall(join(folder, FILE), Buffer.from(JSON.stringify(point)));
    }
    return new Fork({ log, state, store }, point.position, began, options.folder, modules);
  }

  /** Takes for settled what was settled elsewhere; resolves when that is durable. */
  async merge(list: readonly SettledElsewhere[]): Promise<void> {
    for (const value of clipSettled(list, this.state)) {
      this.stateLog.change({ case: 'progressMerged', value });
    }
    await this.log.durableAt(this.log.next);
  }

  /** Ends for good: what was settled is kept aside, and then the files go. */
  async end(aside: SettledAside): Promise<void> {
    aside.replace(this.#settled());
    await this.#writer.close();
    await this.log.close();
    removeFork(this.#folder, this.#disk);
  }

  /** What was settled since the fork began, and perhaps some of what was before. */
  #settled(): SettledElsewhere[] {
    const list: SettledElsewhere[] = [];
    for (const [key, { progressId, queueId, from, bounds }] of progressOf(this.state)) {
      const before = this.#began.get(key);
      if (before?.bounds.join() === bounds.join() && before.from === from) continue;
      const progress = this.state.groups.findProgress(progressId)?.queues[queueId];
      const since = progress === undefined ? [] : settledFrom(progress, before?.from ?? 0);
      if (since.length > 0) list.push(settledElsewhere(progressId, queueId, since));
    }
    return list;
  }
}

/** How far a group was in a queue. */
interface Began {
  readonly progressId: number;
  readonly queueId: number;
  /** Everything below is settled. */
  readonly from: number;
  /** What is settled above: from, to, … */
  readonly bounds: readonly number[];
}

function progressOf(state: BrokerState): Map<string, Began> {
  const found = new Map<string, Began>();
  for (const { id: progressId, queues } of state.groups.allProgress()) {
    for (const [queueId, queue] of queues.entries()) {
      if (queue === undefined) continue;
      const from = queue.oldestUnsettled;
      const bounds = settledFrom(queue, from);
      found.set(`${progressId} ${queueId}`, { progressId, queueId, from, bounds });
    }
  }
  return found;
}

function readPoint(folder: string, disk: Disk): ForkPoint | undefined {
  const bytes = disk.readSmall(join(folder, FILE));
  return bytes === undefined ? undefined : (JSON.parse(bytes.toString('utf8')) as ForkPoint);
}

function pointOf(state: BrokerState, position: number): ForkPoint {
  const last = state.epochs.all.findLast(({ start }) => start < position);
  const { epoch, nonce } = last ?? { epoch: 0, nonce: 0 };
  return { position, epoch: { epoch, nonce } };
}

/** The slave's state as it was at a position of its log. */
async function stateAt(
  point: ForkPoint,
  { log, store, state: newest }: Replica,
  state: BrokerState,
): Promise<BrokerState> {
  const view = store.view();
  // A store that has nothing yet, of a log that has everything.
  let stored = log.start === 0 ? 0 : undefined;
  try {
    stored = loadState(state, view)?.position ?? stored;
  } finally {
    view.close();
  }
  const here = pointOf(newest, point.position).epoch;
  const sameLog = here.epoch === point.epoch.epoch && here.nonce === point.epoch.nonce;
  if (stored === undefined || stored > point.position || point.position > log.next || !sameLog) {
    throw new TernError(
      'FAILED_PRECONDITION',
      'FORK_UNFIT',
      `the state store has the log up to ${stored ?? 'nowhere'}, and the log ends at ${log.next}: a slave cannot serve consumers from position ${point.position} on`,
    );
  }
  state.doomed.clear();
  state.restoreHeld();
  const visit = applyTo(state, { find: (position) => log.segmentAt(position) });
  const walk = log.read.walk(log.runs().ahead(stored), point.position, {
    headBytes: RECORD_HEADER_BYTES,
    wants: (tag) => tag === RecordTag.MESSAGE || tag === RecordTag.STATE,
    visit,
  });
  while (!walk.ended) await walk.step();
  if (walk.lostBytes > 0) {
    throw new TernError(
      'DATA_LOSS',
      'CORRUPT_RECORD',
      `${walk.lostBytes} bytes of the log below position ${point.position} are damaged`,
    );
  }
  return state;
}
