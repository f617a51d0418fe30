// Starts `load.ts` and `kinds-load.ts` as processes of their own, so that what they know outlives the broker.

import { join } from 'node:path';
import { ROOT } from './child-broker.ts';
import { Child, expectSuccess } from './child-process.ts';
import { eventually } from './eventually.ts';

const START_MS_MAX = 30_000;
const FINISH_MS_MAX = 120_000;
const ENOUGH_MS_MAX = 120_000;

/** What a load process writes to its standard output once the first message has passed. */
export const RUNNING = 'running';
/** What a load process of all kinds writes once it has done what it must do at least. */
export const ENOUGH = 'enough';

/** What a load process does until it is told to finish. */
export type LoadOptions = {
  /** `host:port` of the name server. */
  readonly nameserver: string;
  readonly topic: string;
  /** File that its ledger goes to. */
  readonly ledger: string;
} & (
  | {
      /** Sends as fast as the broker takes it. */
      readonly role: 'produce';
      /** How many producers, numbered from 0. */
      readonly producers: number;
      /** Size of the bodies; 512 when absent. */
      readonly bytes?: number;
      /** At most so many messages a second, over all producers; no limit when absent. */
      readonly perSecond?: number;
    }
  | {
      /** Gets what is pushed to a group, and acknowledges it. */
      readonly role: 'consume';
      readonly group: string;
      /** Its number as a reader in the ledger. */
      readonly reader: number;
    }
);

/** What a load process does with delayed messages, transactions and ordered messages until it is told to finish. */
export interface KindsOptions {
  /** Sends, or consumes and answers for transactions. */
  readonly role: 'send' | 'consume';
  /** `host:port` of the name server. */
  readonly nameserver: string;
  /** `host:port` of the broker. */
  readonly broker: string;
  /** Folder that its ledgers go to. */
  readonly folder: string;
  readonly seed: number;
  /** Longest delay of a message, in milliseconds. */
  readonly delayMsMax: number;
  /** What it must have done at least, by the names that `countedAs` gives. */
  readonly least: Readonly<Record<string, number>>;
}

/** A process that sends or consumes. */
export class LoadProcess implements AsyncDisposable {
  readonly #child: Child;
  readonly #role: string;

  private constructor(script: string, options: { readonly role: string }) {
    this.#role = options.role;
    this.#child = new Child(process.execPath, [
      '--conditions=source',
      join(ROOT, 'test', 'support', script),
      JSON.stringify(options),
    ]);
  }

  /** Starts the process and waits until the first message has passed. */
  static start(options: LoadOptions): Promise<LoadProcess> {
    return LoadProcess.#start('load.ts', options);
  }

  /** Starts the process and waits until the first message of each kind has passed. */
  static startKinds(options: KindsOptions): Promise<LoadProcess> {
    return LoadProcess.#start('kinds-load.ts', options);
  }

  static async #start(script: string, options: { readonly role: string }): Promise<LoadProcess> {
    const load = new LoadProcess(script, options);
    try {
      await eventually(
        `the ${options.role} process runs`,
        () => load.#child.exit !== undefined || load.#child.stdout.includes(RUNNING) || undefined,
        { withinMs: START_MS_MAX },
      );
      load.expectRunning();
      return load;
    } catch (error) {
      await load[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The end of what it wrote to its standard error, for messages of failures. */
  get stderr(): string {
    return this.#child.stderr;
  }

  /** Throws when the process has ended before it was told to. */
  expectRunning(): void {
    const { exit, stderr } = this.#child;
    if (exit === undefined) return;
    throw new Error(`the ${this.#role} process ended with ${exit.code ?? exit.signal}\n${stderr}`);
  }

  /** Waits until it has done what it must do at least, however slow the machine is. */
  async enough(): Promise<void> {
    await eventually(
      `the ${this.#role} process has done enough`,
      () => this.#child.exit !== undefined || this.#child.stdout.includes(ENOUGH) || undefined,
      { withinMs: ENOUGH_MS_MAX },
    );
    this.expectRunning();
  }

  /** Tells it to finish: it waits for what is under way, completes its ledger and ends. */
  async finish(): Promise<void> {
    this.#child.endInput();
    await expectSuccess(this.#child, `the ${this.#role} process`, FINISH_MS_MAX);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child[Symbol.asyncDispose]();
  }
}
