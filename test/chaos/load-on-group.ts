// Producers on a group of processes, and the judgement of what became of their messages.

import { join } from 'node:path';
import { expect } from 'vitest';
import { BrokerClient } from '../support/broker-client.ts';
import { Checker } from '../support/checker.ts';
import { fullScan } from '../support/full-scan.ts';
import { readLedger } from '../support/ledger-event.ts';
import { LoadProcess } from '../support/load-process.ts';
import { faultsFound, formatReport } from '../support/report.ts';
import type { GroupProcesses } from './group-processes.ts';

const PRODUCERS = 2;

/** Sends to a topic until it is judged. */
export class LoadOnGroup implements AsyncDisposable {
  /** Notes of what was done go to its ledger. */
  readonly checker = new Checker({ producers: PRODUCERS, readers: 1 });
  readonly #group: GroupProcesses;
  readonly #topic: string;
  readonly #ledger: string;
  readonly #process: LoadProcess;

  private constructor(group: GroupProcesses, topic: string, ledger: string, load: LoadProcess) {
    this.#group = group;
    this.#topic = topic;
    this.#ledger = ledger;
    this.#process = load;
  }

  /** Creates the topic, and starts producers. @param folder where their ledger goes */
  static async start(
    group: GroupProcesses,
    topic: string,
    folder: string,
    load: { readonly perSecond?: number; readonly bytes?: number },
  ): Promise<LoadOnGroup> {
    await group.client.admin.createTopic(topic, { queues: 4 });
    const ledger = join(folder, `${topic}-producers`);
    const { nameserver } = group.nameServer;
    const options = { nameserver, topic, ledger, role: 'produce' as const, producers: PRODUCERS };
    const process = await LoadProcess.start({ ...options, ...load });
    return new LoadOnGroup(group, topic, ledger, process);
  }

  expectRunning(): void {
    this.#process.expectRunning();
  }

  /** Ends the producers; expects that nothing acknowledged is lost, and returns what there was of everything. */
  async judge(): Promise<Readonly<Record<string, number>>> {
    await this.#process.finish();
    this.checker.apply(readLedger(this.#ledger));
    const leader = await this.#group.leader();
    using client = new BrokerClient(this.#group.addresses[leader] ?? '');
    for await (const event of fullScan(client, this.#topic)) this.checker.apply([event]);
    const report = this.checker.check();
    console.log(formatReport(report));
    expect(faultsFound(report), formatReport(report)).toEqual([]);
    return report.counts;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process[Symbol.asyncDispose]();
  }
}
