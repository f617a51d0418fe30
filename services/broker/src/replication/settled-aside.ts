// What consumers have settled at a slave while its group had no master: kept in the file `settled-aside` until the master has it.

import { join } from 'node:path';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  MergeProgressRequestSchema,
  type SettledElsewhere,
} from '@ternmq/proto/gen/ternmq/broker/v1/replication_pb';
import type { Clock, Disk, Logger, Timer } from '@ternmq/runtime';
import type { BrokerState } from '../state/broker-state.ts';
import { clipSettled } from '../state/settled-elsewhere.ts';
import { mergeProgress } from './master-link.ts';

const FILE = 'settled-aside';
const RETRY_MS = 1000;
/** Bounds of one call; a queue has at most some thousand ranges. */
const QUEUES_MAX = 1000;
const RANGES_MAX = 20_000;

/** What waits for the master. */
export class SettledAside {
  readonly #path: string;
  readonly #always: boolean;
  readonly #member: { readonly brokerName: string; readonly id: number };
  readonly #modules: { disk: Disk; clock: Clock; logger: Logger };
  #list: readonly SettledElsewhere[];
  #retry: Timer | undefined;
  /** Tells a hand-over that was stopped from the one under way. */
  #attempt = 0;

  /** @param options.always a master is told also when nothing waits: it expects to be */
  constructor(
    options: { readonly folder: string; readonly always: boolean },
    member: { readonly brokerName: string; readonly id: number },
    modules: { disk: Disk; clock: Clock; logger: Logger },
  ) {
    this.#path = join(options.folder, FILE);
    this.#always = options.always;
    this.#member = member;
    this.#modules = modules;
    const bytes = modules.disk.readSmall(this.#path);
    this.#list = bytes === undefined ? [] : fromBinary(MergeProgressRequestSchema, bytes).queues;
  }

  /** What waits. */
  get list(): readonly SettledElsewhere[] {
    return this.#list;
  }

  /** Keeps this, durably, instead of what was kept before. */
  replace(list: readonly SettledElsewhere[]): void {
    const { disk } = this.#modules;
    this.stop();
    this.#list = list;
    if (list.length === 0) {
      disk.remove(this.#path);
      return;
    }
    const request = create(MergeProgressRequestSchema, { queues: [...list] });
    disk.replaceSmall(this.#path, toBinary(MergeProgressRequestSchema, request));
  }

  /**
   * Hands it over to a master, and tries again until the master has it or this is stopped.
   *
   * @param common the slave's state where its log and the master's are the same and nothing more has come: other messages
   *   may have the offsets behind
   */
  handOver(master: string, common: BrokerState): void {
    this.stop();
    if (this.#list.length > 0) this.replace(clipSettled(this.#list, common));
    else if (!this.#always) return;
    void this.#send(master, ++this.#attempt);
  }

  async #send(master: string, attempt: number): Promise<void> {
    const { clock, logger } = this.#modules;
    try {
      for (const queues of portions(this.#list)) {
        await mergeProgress(master, { ...this.#member, queues }, clock);
        if (attempt !== this.#attempt) return;
      }
      await mergeProgress(master, { ...this.#member, complete: true }, clock);
      if (attempt !== this.#attempt || this.#list.length === 0) return;
      logger.info(
        { master, queues: this.#list.length },
        'the master has what was settled here while it was gone',
      );
      this.replace([]);
    } catch (error) {
      if (attempt !== this.#attempt) return;
      logger.warn(
        { master, error },
        'the master has not taken what was settled here while it was gone; it is told again',
      );
      this.#retry = clock.setTimer(RETRY_MS, () => void this.#send(master, attempt));
    }
  }

  /** Hands nothing over for now. */
  stop(): void {
    this.#attempt++;
    this.#retry?.cancel();
    this.#retry = undefined;
  }
}

function* portions(list: readonly SettledElsewhere[]): Generator<SettledElsewhere[]> {
  let portion: SettledElsewhere[] = [];
  let ranges = 0;
  for (const one of list) {
    portion.push(one);
    ranges += one.ranges.length;
    if (portion.length < QUEUES_MAX && ranges < RANGES_MAX) continue;
    yield portion;
    portion = [];
    ranges = 0;
  }
  if (portion.length > 0) yield portion;
}
