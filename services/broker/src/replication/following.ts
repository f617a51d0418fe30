// A slave's part: takes the log of its master, wherever that is, and tells what it has made durable.
//
//                    +------------------- back-off is over --------------------+
//                    v                                                         |
//   searching --> connecting -- follow, from the own end --> following --------+
//      ^             |      \-- follow, from elsewhere --> needs a cut, or to begin anew: `parted` says so
//      +-------------+-- the master is not known any more

import type { Clock, Logger, Random, Timer } from '@ternmq/runtime';
import type { Topic } from '../state/topics.ts';
import { MasterLink, type SlaveIdentity } from './master-link.ts';
import type { Replica } from './replica.ts';

const BACK_OFF_MS_MIN = 50;
const BACK_OFF_MS_MAX = 1000;

/** Where a slave's log parts from its master's. */
export interface Parting {
  /** Position up to which both are the same; undefined when they have nothing in common. */
  readonly common: number | undefined;
  /** What lies behind is damaged, and may have been acknowledged. */
  readonly damaged: boolean;
  /** Where the master is. */
  readonly master: string;
}

/** What a slave is doing. */
export type FollowingState = 'searching' | 'connecting' | 'following';

/** Follows a master. */
export class Following {
  readonly #identity: SlaveIdentity;
  readonly #replica: Replica;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #logger: Logger;
  readonly #parted: (parting: Parting) => void;
  readonly #agreed: (master: string) => void;
  #master: string | undefined;
  #link: MasterLink | undefined;
  #retry: Timer | undefined;
  #failures = 0;
  #state: FollowingState = 'searching';
  /** Newest position that the master has confirmed, when it is ahead of what is here. */
  #confirmed = 0;
  #closed = false;

  /** @param modules.parted called once when the log cannot go on as it is; nothing happens after that */
  constructor(
    identity: SlaveIdentity,
    modules: {
      replica: Replica;
      clock: Clock;
      random: Random;
      logger: Logger;
      parted: (parting: Parting) => void;
      /** Both logs are the same up to the end of this one, and nothing more has come from this master. */
      agreed: (master: string) => void;
      /** Told of topics that the master has created, changed or deleted. */
      topicChanged: (topic: Topic, deleted: boolean) => void;
    },
  ) {
    this.#identity = identity;
    this.#replica = modules.replica;
    this.#clock = modules.clock;
    this.#random = modules.random;
    this.#logger = modules.logger;
    this.#parted = modules.parted;
    this.#agreed = modules.agreed;
    this.#replica.state.topics.changed = modules.topicChanged;
  }

  /** What it is doing. */
  get state(): FollowingState {
    return this.#state;
  }

  /** Does it have what the master has confirmed, as far as that has told? */
  get complete(): boolean {
    return this.#confirmed <= this.#replica.log.durable;
  }

  /** Where the master is; undefined while nobody leads. */
  set master(address: string | undefined) {
    if (this.#closed || address === this.#master) return;
    this.#master = address;
    this.#failures = 0;
    this.#disconnect();
    this.#connect();
  }

  get master(): string | undefined {
    return this.#master;
  }

  #connect(): void {
    this.#retry?.cancel();
    this.#retry = undefined;
    const address = this.#master;
    if (this.#closed || address === undefined) {
      this.#state = 'searching';
      return;
    }
    this.#state = 'connecting';
    const { log, shape } = this.#replica;
    const link = new MasterLink(
      address,
      this.#identity,
      { ...shape, durable: log.durable, copying: false },
      {
        follow: ({ commonPosition, epoch }) => {
          const common = commonPosition === undefined ? undefined : Number(commonPosition);
          if (common !== log.next) {
            this.close();
            this.#parted({ common, damaged: false, master: address });
            return;
          }
          this.#state = 'following';
          this.#failures = 0;
          this.#agreed(address);
          this.#logger.info({ master: address, epoch, from: common }, 'follows its master');
        },
        records: (run, confirmed) => {
          if (run.bytes.length > 0) this.#replica.follow(run);
          // Nothing beyond what is here can be shown.
          this.#confirmed = confirmed;
          log.confirm(Math.min(confirmed, log.next));
        },
        ended: (why) => {
          this.#link = undefined;
          if (this.#state === 'following') {
            this.#logger.warn({ master: address, why }, 'lost its master; trying to come back');
          }
          this.#state = 'connecting';
          this.#retry = this.#clock.setTimer(this.#backOffMs(), () => this.#connect());
        },
      },
      this.#clock,
    );
    if (!this.#closed) this.#link = link;
    else link.close();
  }

  /** The log has become durable further. */
  advanced(): void {
    const { log } = this.#replica;
    this.#link?.durable(log.durable);
    if (this.#confirmed > log.confirmed) log.confirm(Math.min(this.#confirmed, log.next));
  }

  #backOffMs(): number {
    const delayMs = Math.min(BACK_OFF_MS_MIN * 2 ** this.#failures, BACK_OFF_MS_MAX);
    this.#failures = Math.min(this.#failures + 1, 16);
    return delayMs * (1 - this.#random.next() / 2);
  }

  #disconnect(): void {
    this.#link?.close();
    this.#link = undefined;
    this.#retry?.cancel();
    this.#retry = undefined;
  }

  /** Stops following. */
  close(): void {
    this.#closed = true;
    this.#replica.state.topics.changed = undefined;
    this.#disconnect();
  }
}
