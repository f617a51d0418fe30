// A broker's log and the state that follows from it, opened to follow: what a broker has in every role.

import type { Clock, Disk, Logger, Random } from '@ternmq/runtime';
import type { CommitLog } from '../log/commit-log.ts';
import type { LogOptions } from '../log/log-options.ts';
import { RECORD_HEADER_BYTES, RecordTag } from '../log/record.ts';
import type { Run } from '../log/run-reader.ts';
import type { RecordVisitor } from '../log/scan.ts';
import type { BrokerState } from '../state/broker-state.ts';
import { queueIdOf, topicIdOf } from '../state/message-record.ts';
import { applyTo, type OpenedState, openState, showAll } from '../state/open-state.ts';
import type { Queue } from '../state/queue.ts';
import { StateLog } from '../state/state-log.ts';
import { StateWriter } from '../state/state-writer.ts';
import type { StateStore } from '../state/store.ts';
import type { LogShape } from './common-position.ts';

const NONCES = 2 ** 48;

/** What opening a replica needs. */
export interface ReplicaModules {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly openStore: (folder: string) => StateStore;
  /** The log or the store has failed for good: the process must end. */
  readonly fatal: (error: Error) => void;
}

/** Log, state and store of a broker. */
export class Replica {
  readonly log: CommitLog;
  readonly state: BrokerState;
  readonly store: StateStore;
  readonly stateLog: StateLog;
  readonly writer: StateWriter;
  /** What opening found. */
  readonly opened: OpenedState;
  readonly #apply: RecordVisitor;
  readonly #touched = new Set<Queue>();
  /** Position behind the record that said that the log begins later. */
  #trimmedAt = 0;

  private constructor(opened: OpenedState, { clock, fatal }: ReplicaModules) {
    const { log, state, store } = opened;
    this.opened = opened;
    this.log = log;
    this.state = state;
    this.store = store;
    this.stateLog = new StateLog(log, state, clock);
    this.writer = new StateWriter(opened.storePosition, { log, state, store, clock }, fatal);
    this.#apply = applyTo(state, { find: (position) => log.segmentAt(position) });
  }

  /** Opens log and state in a data folder that this process has locked; see openState for what it throws. */
  static async open(options: LogOptions, modules: ReplicaModules): Promise<Replica> {
    return new Replica(await openState({ ...options, following: true }, modules), modules);
  }

  /** What the log holds, for another broker of the group. */
  get shape(): LogShape {
    return { epochs: this.state.epochs.all, start: this.log.start, end: this.log.next };
  }

  /** Takes records of the master, and applies them. Throws as CommitLog.follow. */
  follow({ position, bytes, segment }: Run): void {
    const { log, state } = this;
    const { logStart } = state;
    log.follow(position, bytes, segment, this.#visit);
    for (const queue of this.#touched) this.stateLog.arrived(queue);
    this.#touched.clear();
    if (state.logStart > logStart) this.#trimmedAt = log.next;
  }

  readonly #visit: RecordVisitor = (tag, buffer, view, at, length, position) => {
    this.#apply(tag, buffer, view, at, length, position);
    if (tag !== RecordTag.MESSAGE) return;
    const body = at + RECORD_HEADER_BYTES;
    const queue = this.state.topics.findById(topicIdOf(view, body))?.queues[queueIdOf(view, body)];
    if (queue !== undefined) this.#touched.add(queue);
  };

  /** Deletes the segments that the master has deleted, once the store does not need them any more. */
  trim(): void {
    const { log, state } = this;
    if (state.logStart > log.start && this.writer.position >= this.#trimmedAt) {
      log.dropBefore(state.logStart, true);
    }
  }

  /** Begins to lead: with everything it has, under an epoch of its own. Others must confirm that before it is shown. */
  async lead(epoch: number, random: Random): Promise<void> {
    await this.log.lead(epoch);
    this.stateLog.beginEpoch(random.integer(NONCES));
    this.log.flush();
  }

  /** Everything that it has may be seen. */
  showAll(): void {
    showAll(this.state);
  }

  /** Tells what opening found. */
  tellRecovery(logger: Logger, tookMs: number): void {
    const { recovery, rebuilt } = this.opened;
    const { from, end, tornBytes, corrupt } = recovery;
    const facts = { from, end, rebuilt, ms: Math.round(tookMs) };
    if (tornBytes > 0) {
      logger.warn(
        { ...facts, tornBytes },
        'cut a torn tail off the log: bytes that were never durable',
      );
    }
    for (const range of corrupt) {
      logger.error(
        range,
        "a range of the log is damaged; its messages are lost here: run 'tern log verify' and restore it from a replica",
      );
    }
    logger.info(facts, 'the log is open');
  }

  /** Closes log and store. */
  async close(): Promise<void> {
    await this.writer.close();
    await this.log.close();
    await this.store.close();
  }
}
