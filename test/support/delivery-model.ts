// What delivery promises, in a few lines: every message of a topic and one group, and what may happen to it. No queues,
// logs or caches; time is a number.
//
//   held (delayed, or of a transaction) -> ready -> leased -> waiting -> leased … -> done | dead
//                                    \-> gone (recalled, rolled back)
//
// The model is told what was asked and what came of it, and throws ModelError at the first difference.

/** How the group behaves. */
export interface ModelSettings {
  readonly attemptsMax: number;
  readonly retryDelaysMs: readonly number[];
  readonly leaseMs: number;
  /** How often the broker looks at its clock, in milliseconds. */
  readonly tickMs: number;
  /** How long leases outlive a broken stream, in milliseconds. */
  readonly graceMs: number;
}

/** The broker did something that it must not do, or did not do what it must. */
export class ModelError extends Error {}

interface Lease {
  readonly id: number;
  deadlineMs: number;
  readonly consumer: string;
  readonly streaming: boolean;
}

interface Message {
  readonly name: string;
  state: 'held' | 'gone' | 'ready' | 'leased' | 'waiting' | 'done' | 'dead';
  /** Of a held one: when it is delivered; Infinity when that is no matter of time. */
  dueMs: number;
  attempt: number;
  lease: Lease | undefined;
}

/** A delivered message, as a consumer sees it. */
export interface ModelDelivery {
  readonly name: string;
  readonly attempt: number;
  readonly leaseId: number;
  readonly deadlineMs: number;
}

/** What a consumer says of a message that it was given. */
export type ModelAction =
  | { readonly kind: 'acknowledge' | 'deadLetter' | 'giveBack' }
  | { readonly kind: 'retry'; readonly delayMs: number }
  | { readonly kind: 'extend'; readonly delayMs: number };

/** The model. */
export class DeliveryModel {
  readonly #settings: ModelSettings;
  readonly #messages = new Map<string, Message>();
  /** When the graces of broken streams end, by consumer. */
  readonly #graces = new Map<string, number>();
  readonly #connected = new Set<string>();
  nowMs: number;

  constructor(settings: ModelSettings, nowMs: number) {
    this.#settings = settings;
    this.nowMs = nowMs;
  }

  /** A message is sent; held ones are due at a time, or at none. */
  sent(name: string, dueMs = 0): void {
    const held = dueMs > this.nowMs;
    this.#messages.set(name, {
      name,
      state: held ? 'held' : 'ready',
      dueMs,
      attempt: 0,
      lease: undefined,
    });
  }

  /** Messages that are held and due at no time are shown or dropped. */
  decided(names: readonly string[], committed: boolean): void {
    for (const name of names) this.#find(name).state = committed ? 'ready' : 'gone';
  }

  /** A delayed message is taken back; returns whether it still waited. */
  recalled(name: string): boolean {
    const message = this.#find(name);
    if (message.state !== 'held') return false;
    message.state = 'gone';
    return true;
  }

  /** Names of the messages in a state. */
  named(state: Message['state']): string[] {
    return [...this.#messages.values()]
      .filter((one) => one.state === state)
      .map(({ name }) => name);
  }

  #find(name: string): Message {
    const message = this.#messages.get(name);
    if (message === undefined) throw new ModelError(`message ${name} was never sent`);
    return message;
  }

  #deliverable(): Message[] {
    return [...this.#messages.values()].filter(
      ({ state, dueMs }) => state === 'ready' || (state === 'waiting' && dueMs <= this.nowMs),
    );
  }

  /** A consumer asked for so many and got these. */
  received(
    consumer: string,
    streaming: boolean,
    max: number,
    deliveries: readonly ModelDelivery[],
  ): void {
    if (streaming) {
      this.#connected.add(consumer);
      this.#graces.delete(consumer);
    }
    const deliverable = new Set(this.#deliverable());
    const expected = Math.min(max, deliverable.size);
    for (const { name, attempt, leaseId, deadlineMs } of deliveries) {
      const message = this.#find(name);
      if (!deliverable.delete(message)) {
        throw new ModelError(`message ${name} was delivered although it is ${message.state}`);
      }
      if (attempt !== message.attempt + 1) {
        throw new ModelError(
          `message ${name} came as delivery ${attempt} and not ${message.attempt + 1}`,
        );
      }
      if (deadlineMs !== this.nowMs + this.#settings.leaseMs) {
        throw new ModelError(`the lease of message ${name} ends at ${deadlineMs}`);
      }
      message.state = 'leased';
      message.attempt = attempt;
      message.lease = { id: leaseId, deadlineMs, consumer, streaming };
    }
    if (deliveries.length !== expected) {
      throw new ModelError(`${deliveries.length} messages were delivered and not ${expected}`);
    }
  }

  /** A consumer settled a message under a lease; says whether that must have been carried out. */
  settled(name: string, leaseId: number, action: ModelAction): 'carried out' | 'refused' | 'void' {
    const message = this.#find(name);
    if (message.state === 'done' || message.state === 'dead') return 'void';
    if (message.lease?.id !== leaseId) return 'refused';
    if (message.state === 'waiting') {
      // A late word of the last holder: being done with it holds, the rest has happened already.
      if (action.kind === 'extend') return 'refused';
      if (action.kind === 'retry' || action.kind === 'giveBack') return 'void';
    }
    switch (action.kind) {
      case 'acknowledge':
        message.state = 'done';
        break;
      case 'deadLetter':
        message.state = 'dead';
        break;
      case 'giveBack':
        message.attempt--;
        this.#wait(message, 0);
        break;
      case 'extend':
        message.lease.deadlineMs = this.nowMs + action.delayMs;
        break;
      case 'retry':
        this.#failed(message, action.delayMs || undefined);
        break;
    }
    return 'carried out';
  }

  #wait(message: Message, delayMs: number): void {
    message.state = 'waiting';
    message.dueMs = this.nowMs + delayMs;
  }

  /** @param delayMs until the next delivery; the group's back-off when absent */
  #failed(message: Message, delayMs: number | undefined): void {
    const { attemptsMax, retryDelaysMs } = this.#settings;
    if (message.attempt >= attemptsMax) {
      message.state = 'dead';
      return;
    }
    const index = Math.min(message.attempt - 1, retryDelaysMs.length - 1);
    this.#wait(message, delayMs ?? (retryDelaysMs[index] as number));
  }

  /** Time passes, by whole ticks. */
  passed(ms: number): void {
    for (let left = ms; left > 0; left -= this.#settings.tickMs) {
      this.nowMs += this.#settings.tickMs;
      for (const [consumer, endMs] of this.#graces) {
        if (endMs > this.nowMs) continue;
        this.#graces.delete(consumer);
        if (!this.#connected.has(consumer)) this.#free(consumer, (one) => this.#failed(one, 0));
      }
      for (const message of this.#messages.values()) {
        const { state, lease, dueMs } = message;
        if (state === 'held' && dueMs <= this.nowMs) message.state = 'ready';
        if (state === 'leased' && lease !== undefined && lease.deadlineMs <= this.nowMs) {
          // Who has no stream has said itself how long the lease lasts.
          this.#failed(message, lease.streaming ? undefined : 0);
        }
      }
    }
  }

  #free(consumer: string, how: (message: Message) => void): void {
    for (const message of this.#messages.values()) {
      const { state, lease } = message;
      if (state === 'leased' && lease?.streaming && lease.consumer === consumer) how(message);
    }
  }

  /** A consumer's stream ends: cleanly, or it breaks. */
  left(consumer: string, clean: boolean): void {
    this.#connected.delete(consumer);
    if (!clean) {
      this.#graces.set(consumer, this.nowMs + this.#settings.graceMs);
      return;
    }
    this.#free(consumer, (message) => {
      message.attempt--;
      this.#wait(message, 0);
    });
  }

  /** The broker was killed and has started again: all streams were broken by it. */
  restarted(): void {
    this.#connected.clear();
    this.#graces.clear();
    for (const { lease } of this.#messages.values()) {
      if (lease?.streaming) this.#graces.set(lease.consumer, this.nowMs + this.#settings.graceMs);
    }
  }
}
