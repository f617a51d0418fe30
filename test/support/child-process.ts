// A process of its own whose output a test keeps and that never outlives the test.

import { type ChildProcess, spawn } from 'node:child_process';

const OUTPUT_CHARS_MAX = 64 * 1024;

/** How a process ended: by its own exit code or by a signal. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** Those that run; none of them outlives this process. */
const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** A running or ended process. */
export class Child implements AsyncDisposable {
  /** Resolves when the process has ended and its output is complete. */
  readonly exited: Promise<Exit>;
  readonly #process: ChildProcess;
  readonly #output = { stdout: '', stderr: '' };
  #exit: Exit | undefined;

  /** @param options.env added to this process's own */
  constructor(
    command: string,
    args: readonly string[],
    options: { cwd?: string; env?: Readonly<Record<string, string>> } = {},
  ) {
    this.#process = spawn(command, args, {
      cwd: options.cwd,
      env: { ...process.env, ...options.env },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    for (const name of ['stdout', 'stderr'] as const) {
      this.#process[name]?.setEncoding('utf8').on('data', (text: string) => {
        this.#output[name] = (this.#output[name] + text).slice(-OUTPUT_CHARS_MAX);
      });
    }
    // Writing to a process that has ended is no error of the test.
    this.#process.stdin?.on('error', () => {});
    const { promise, resolve, reject } = Promise.withResolvers<Exit>();
    this.#process.once('error', (cause) => {
      reject(new Error(`${command} could not be started`, { cause }));
    });
    this.#process.once('close', (code, signal) => {
      this.#exit = { code, signal };
      resolve(this.#exit);
    });
    promise.catch(() => {});
    this.exited = promise;
    running.add(this.#process);
    promise.finally(() => running.delete(this.#process)).catch(() => {});
  }

  get pid(): number {
    if (this.#process.pid === undefined) throw new Error('the process could not be started');
    return this.#process.pid;
  }

  /** How it ended; undefined as long as it runs. */
  get exit(): Exit | undefined {
    return this.#exit;
  }

  /** The last 64 Ki characters that it wrote to stdout. */
  get stdout(): string {
    return this.#output.stdout;
  }

  /** The last 64 Ki characters that it wrote to stderr. */
  get stderr(): string {
    return this.#output.stderr;
  }

  /** Writes to its standard input and ends that. */
  endInput(text = ''): void {
    this.#process.stdin?.end(text);
  }

  signal(signal: NodeJS.Signals): void {
    if (this.#exit === undefined) this.#process.kill(signal);
  }

  /** SIGKILL, and waits for the end. */
  async kill(): Promise<Exit> {
    this.signal('SIGKILL');
    return this.exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill().catch(() => {});
  }
}

/**
 * Waits for a process to end by itself.
 *
 * @throws when it does not end within the time (then it is killed), or with another code than 0
 */
export async function expectSuccess(child: Child, what: string, withinMs: number): Promise<void> {
  const timer = setTimeout(() => child.signal('SIGKILL'), withinMs);
  const { code, signal } = await child.exited.finally(() => clearTimeout(timer));
  if (code === 0) return;
  const how = signal === null ? `exit code ${code}` : `${signal}, at most ${withinMs} ms`;
  throw new Error(`${what} ended with ${how}\n${child.stdout}\n${child.stderr}`);
}
