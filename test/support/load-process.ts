// Starts `load.ts` as a process of its own, so that what it knows outlives the broker.

import { join } from 'node:path';
import { ROOT } from './child-broker.ts';
import { Child, expectSuccess } from './child-process.ts';
import { eventually } from './eventually.ts';

const START_MS_MAX = 30_000;
const FINISH_MS_MAX = 120_000;

/** What a load process writes to its standard output once the first message has passed. */
export const RUNNING = 'running';

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

/** A process that sends or consumes. */
export class LoadProcess implements AsyncDisposable {
  readonly #child: Child;
  readonly #role: string;

  private constructor(options: LoadOptions) {
    this.#role = options.role;
    const script = join(ROOT, 'test', 'support', 'load.ts');
    this.#child = new Child(process.execPath, [
      '--conditions=source',
      script,
      JSON.stringify(options),
    ]);
  }

  /** Starts the process and waits until the first message has passed. */
  static async start(options: LoadOptions): Promise<LoadProcess> {
    const load = new LoadProcess(options);
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

  /** Throws when the process has ended before it was told to. */
  expectRunning(): void {
    const { exit, stderr } = this.#child;
    if (exit === undefined) return;
    throw new Error(`the ${this.#role} process ended with ${exit.code ?? exit.signal}\n${stderr}`);
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
