// Drives a program around an official client of RocketMQ 5, in whatever language: one JSON object a line to it, one back.

import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface, type Interface } from 'node:readline';

const ANSWER_MS_MAX = 60_000;

/** What a consumer wants of a topic. */
export interface ClientFilter {
  readonly type: 'tag' | 'sql';
  readonly expression: string;
}

/** Every message. */
export const ALL: ClientFilter = { type: 'tag', expression: '*' };

/** A message to send. */
export interface ClientMessage {
  readonly topic: string;
  readonly body: string;
  readonly tag?: string;
  readonly keys?: readonly string[];
  readonly properties?: Readonly<Record<string, string>>;
  readonly messageGroup?: string;
  readonly delayMs?: number;
  /** Sent in a transaction that is committed, rolled back, or left to the checker. */
  readonly transaction?: 'commit' | 'rollback' | 'leave';
}

/** A message that has come. */
export interface ClientReceived {
  readonly messageId: string;
  readonly body: string;
  readonly tag: string;
  readonly keys: readonly string[];
  readonly properties: Readonly<Record<string, string>>;
  readonly messageGroup: string;
  readonly attempt: number;
  /** Of a simple consumer: names the delivery for `ack` and `change`. */
  readonly handle: number;
  /** Of a push consumer: the listener has said that it failed, as it does of bodies that begin with `fail`. */
  readonly failed: boolean;
}

/** What a program answers. */
interface Answer {
  readonly ok: boolean;
  readonly code?: number;
  readonly error?: string;
}

/** The program has refused a command. */
export class ClientRefusal extends Error {
  /** The protocol's code, where the client tells it. */
  readonly code: number;

  constructor(message: string, code: number) {
    super(message);
    this.code = code;
  }
}

/** A running program: at most one producer, one simple and one push consumer. */
export class OfficialClient implements AsyncDisposable {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #lines: Interface;
  readonly #exited: Promise<unknown>;
  #errors = '';

  /** @param args after the command: where the server is, and what it is called with */
  constructor(command: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env) {
    this.#child = spawn(command, args, { env, stdio: 'pipe' });
    this.#lines = createInterface({ input: this.#child.stdout });
    this.#exited = once(this.#child, 'exit');
    this.#exited.catch(() => {});
    this.#child.stderr.on('data', (data: Buffer) => {
      this.#errors = (this.#errors + data.toString()).slice(-4000);
    });
  }

  /** Opens the producer; `checker` answers for every transaction that it is asked about. */
  producer(topics: readonly string[], checker?: 'commit' | 'rollback'): Promise<object> {
    return this.#ask({ do: 'producer', topics, checker });
  }

  /** Sends a message. */
  send(message: ClientMessage): Promise<{ messageId: string; recallHandle: string }> {
    return this.#ask({ do: 'send', ...message });
  }

  /** Takes a delayed message back. */
  recall(topic: string, recallHandle: string): Promise<{ messageId: string }> {
    return this.#ask({ do: 'recall', topic, recallHandle });
  }

  /** Opens the simple consumer. */
  simple(group: string, topic: string, filter = ALL, awaitMs = 5000): Promise<object> {
    return this.#ask({ do: 'simple', group, topic, filter, awaitMs });
  }

  /** Receives with the simple consumer. */
  async receive(max: number, invisibleMs: number): Promise<readonly ClientReceived[]> {
    const { messages } = await this.#ask<{ messages: readonly ClientReceived[] }>({
      do: 'receive',
      max,
      invisibleMs,
    });
    return messages;
  }

  /** Acknowledges a delivery of the simple consumer. */
  ack({ handle }: ClientReceived): Promise<object> {
    return this.#ask({ do: 'ack', handle });
  }

  /** Sets when a delivery of the simple consumer comes again. */
  change({ handle }: ClientReceived, invisibleMs: number): Promise<object> {
    return this.#ask({ do: 'change', handle, invisibleMs });
  }

  /** Opens the push consumer. */
  push(group: string, topic: string, filter = ALL): Promise<object> {
    return this.#ask({ do: 'push', group, topic, filter });
  }

  /** All that the push consumer was given so far: at least so many, or what has come in time. */
  async pushed(count: number, withinMs: number): Promise<readonly ClientReceived[]> {
    const command = { do: 'pushed', count, withinMs };
    return (await this.#ask<{ messages: readonly ClientReceived[] }>(command)).messages;
  }

  /** Shuts everything down, and ends the program. */
  async close(): Promise<void> {
    await this.#ask({ do: 'close' });
    await this.#exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#exited;
  }

  async #ask<Result extends object>(command: object): Promise<Result> {
    const limit = AbortSignal.timeout(ANSWER_MS_MAX);
    const answered = once(this.#lines, 'line', { signal: limit });
    this.#child.stdin.write(`${JSON.stringify(command)}\n`);
    let line: string | undefined;
    try {
      const first = await Promise.race([answered, this.#exited.then(() => [])]);
      line = first[0];
    } catch {
      line = undefined;
    }
    answered.catch(() => {});
    if (line === undefined) {
      throw new Error(`the client has not answered ${JSON.stringify(command)}\n${this.#errors}`);
    }
    const answer = JSON.parse(line) as Answer & Result;
    if (!answer.ok) throw new ClientRefusal(answer.error ?? '', answer.code ?? 0);
    return answer;
  }
}
