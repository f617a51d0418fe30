// The order of messages with the same ordering key, at the side of the consumer: one at a time, and after a failed one none
// of those that the broker takes back.
//
//   a key:  free -> busy (one message is worked on, others wait behind it) -> free
//                        \-> failed (until the broker has answered, what comes of the key was sent before and is dropped)
//
// The broker takes back by itself what was delivered behind a failed message, so nothing is said of what is dropped here.

/** What can be put in order. */
export interface Keyed {
  readonly broker: string;
  readonly topicId: number;
  readonly queueId: number;
  readonly offset: number;
  readonly orderingKey: string;
}

/** A stretch of a queue. */
export interface RetriedStretch {
  readonly topicId: number;
  readonly queueId: number;
  readonly first: number;
  readonly end: number;
}

interface Key<Item> {
  readonly behind: Item[];
}

interface Failed {
  readonly name: string;
  readonly message: Keyed;
}

/** Keeps messages in the order of their keys. */
export class KeyOrder<Item> {
  readonly #busy = new Map<string, Key<Item>>();
  /** Failed messages that the broker has not answered. */
  #failed: Failed[] = [];

  /** A message has come: may it be worked on, does it wait for others of its key, or was it taken back? */
  add(message: Keyed, item: Item): 'next' | 'waits' | 'dropped' {
    const name = nameOf(message);
    if (name === undefined) return 'next';
    if (this.#failed.some((one) => one.name === name)) return 'dropped';
    const busy = this.#busy.get(name);
    if (busy !== undefined) {
      busy.behind.push(item);
      return 'waits';
    }
    this.#busy.set(name, { behind: [] });
    return 'next';
  }

  /** A message is done with; returns the next one of its key. */
  done(message: Keyed): Item | undefined {
    const name = nameOf(message);
    const busy = name === undefined ? undefined : this.#busy.get(name);
    const next = busy?.behind.shift();
    if (next === undefined && name !== undefined) this.#busy.delete(name);
    return next;
  }

  /** A message has failed; returns what waited behind it and is taken back by the broker. */
  failed(message: Keyed): Item[] {
    const name = nameOf(message);
    if (name === undefined) return [];
    const behind = this.#busy.get(name)?.behind ?? [];
    this.#busy.delete(name);
    this.#failed.push({ name, message });
    return behind;
  }

  /** A broker has answered that messages failed: what comes now of their keys is new. */
  answered(broker: string, { topicId, queueId, first, end }: RetriedStretch): void {
    this.#failed = this.#failed.filter(
      ({ message }) =>
        message.broker !== broker ||
        message.topicId !== topicId ||
        message.queueId !== queueId ||
        message.offset < first ||
        message.offset >= end,
    );
  }

  /** A new stream to a broker: what was on its way on the old one is lost. */
  reopened(broker: string): void {
    this.#failed = this.#failed.filter(({ message }) => message.broker !== broker);
  }

  /** Everything that waits behind others. */
  waiting(): Item[] {
    return [...this.#busy.values()].flatMap(({ behind }) => behind);
  }

  /** Lets go of everything that waits; returns it. */
  clear(): Item[] {
    const items = this.waiting();
    for (const { behind } of this.#busy.values()) behind.length = 0;
    return items;
  }
}

function nameOf({ broker, topicId, queueId, orderingKey }: Keyed): string | undefined {
  return orderingKey === '' ? undefined : `${broker} ${topicId} ${queueId} ${orderingKey}`;
}
