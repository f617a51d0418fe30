// One producer that sends without a pause, one message after the other, to see how long sending stands still.

import { Client } from '@ternmq/sdk';
import { eventually } from '../support/eventually.ts';

const DEADLINE_MS = 30_000;

/** Sends all the time. */
export class SendProbe implements AsyncDisposable {
  readonly #client: Client;
  readonly #ended: Promise<void>;
  #closed = false;
  /** When each message that was acknowledged was sent, in `performance.now()`. */
  #newestSentMs = 0;
  #newestAcknowledgedMs = 0;
  /** When messages were last acknowledged, or the gap was last asked for. */
  #gapSinceMs = performance.now();
  #longestGapMs = 0;
  /** What a send failed with, although it had time. */
  readonly failures: string[] = [];

  constructor(nameservers: string, topic: string) {
    this.#client = new Client({ nameservers });
    this.#ended = this.#run(topic);
  }

  async #run(topic: string): Promise<void> {
    const producer = this.#client.producer();
    for (let i = 0; !this.#closed; i++) {
      const sentMs = performance.now();
      try {
        await producer.send(topic, { body: `probe ${i}` }, { deadlineMs: DEADLINE_MS });
        this.#newestSentMs = sentMs;
        this.#newestAcknowledgedMs = performance.now();
        this.#endGap();
      } catch (error) {
        if (!this.#closed) this.failures.push(String(error));
      }
    }
  }

  #endGap(): void {
    const nowMs = performance.now();
    this.#longestGapMs = Math.max(this.#longestGapMs, nowMs - this.#gapSinceMs);
    this.#gapSinceMs = nowMs;
  }

  /** The longest time without an acknowledged message since this was last asked, in milliseconds. */
  longestGap(): number {
    this.#endGap();
    const longestMs = this.#longestGapMs;
    this.#longestGapMs = 0;
    return longestMs;
  }

  /** Waits for the first message that is acknowledged after a moment, and was on its way or sent later; milliseconds from the moment to that. */
  async firstSince(momentMs: number, withinMs: number): Promise<number> {
    // One that is answered right behind the moment may have been stored before it: the next one counts.
    const first = await eventually(
      'sending goes on',
      () => (this.#newestSentMs > momentMs ? this.#newestAcknowledgedMs : undefined),
      { withinMs, everyMs: 5 },
    );
    return first - momentMs;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    await this.#client.close({ drainMs: 100 });
    await this.#ended;
  }
}
