// Dead letters of a group on all broker groups: which there are, and sending them again.

import { type CallOptions, CallTime } from './call-time.ts';
import type { Clock } from './clock.ts';
import { isMqError, MqError } from './errors.ts';
import { mayKeep } from './message-id.ts';
import type { Channel } from './transport/channel.ts';
import { type DeadLetter, deadLetterOf } from './transport/dead-letters.ts';
import { broker } from './transport/methods.ts';

/** What one call may ask for. */
const PAGE_SIZE = 1000;

/** Which dead letters are sent again, and how. */
export interface ResendChoice {
  /** The consumer group that gave them up. */
  readonly group: string;
  /** These. */
  readonly ids?: readonly string[];
  /** So many of those that were not sent again yet. Without `ids` and `max`: all of them. */
  readonly max?: number;
  /** Which of them come first. Default: `oldest`. */
  readonly order?: 'oldest' | 'newest';
  /** Tell what would be done, and do nothing. */
  readonly dryRun?: boolean;
  /** Told of each dead letter as soon as it is durable what became of it. */
  readonly onLetter?: (letter: DeadLetter) => void;
}

/** What became of dead letters, in numbers. */
export interface ResendResult {
  /** Sent again by this call; for a dry run those that would be. */
  readonly resent: number;
  /** Sent again before, and not by this call. */
  readonly before: number;
  /** Cannot be sent again: there is no such dead letter, or its topic is gone. */
  readonly refused: number;
}

/** A master of a broker group. */
export interface LetterKeeper {
  readonly name: string;
  readonly channel: Channel;
}

/** Lists dead letters of all brokers in one order, at most `max`. */
export async function listDeadLetters(
  members: readonly LetterKeeper[],
  list: { group: string; max: number; order: 'oldest' | 'newest' },
  time: CallTime,
): Promise<DeadLetter[]> {
  const { group, max, order } = list;
  const lists = await ofOwners(members, async ({ name, channel }) => {
    const found: DeadLetter[] = [];
    for (let pageToken = ''; ; ) {
      const pageSize = Math.min(PAGE_SIZE, max - found.length);
      const request = { group, pageSize, pageToken, newestFirst: order === 'newest' };
      const page = await channel.unary(broker.listDeadLetters, request, time);
      found.push(...page.deadLetters.map((letter) => deadLetterOf(name, letter)));
      pageToken = page.nextPageToken;
      if (pageToken === '' || found.length >= max) return found;
    }
  });
  return inOrder(lists.flat(), order).slice(0, max);
}

/** Sends dead letters again. `options` hold for each call to a broker, of which there may be many. */
export async function resendDeadLetters(
  members: readonly LetterKeeper[],
  choice: ResendChoice,
  options: CallOptions,
  clock: Clock,
): Promise<ResendResult> {
  const { ids, max } = choice;
  const count = { resent: 0, before: 0, refused: 0 };
  const tell = (letter: DeadLetter): void => {
    if (letter.refusal !== undefined) count.refused++;
    else if (letter.resentMessageId !== undefined || !letter.resent) count.resent++;
    else count.before++;
    choice.onLetter?.(letter);
  };
  const resend = new Resend(choice, options, clock, tell);
  if (ids !== undefined) await resend.named(members, ids);
  else if (max === undefined) {
    await ofOwners(members, (member) => resend.next(member, Number.POSITIVE_INFINITY, tell));
  } else {
    const chosen = await resend.choose(members, max);
    await resend.named(members, chosen);
  }
  return count;
}

class Resend {
  readonly #choice: ResendChoice;
  readonly #options: CallOptions;
  readonly #clock: Clock;
  readonly #tell: (letter: DeadLetter) => void;

  constructor(
    choice: ResendChoice,
    options: CallOptions,
    clock: Clock,
    tell: (letter: DeadLetter) => void,
  ) {
    this.#choice = choice;
    this.#options = options;
    this.#clock = clock;
    this.#tell = tell;
  }

  /** Sends these again, each at the broker that its id names. */
  async named(members: readonly LetterKeeper[], ids: readonly string[]): Promise<void> {
    const { group, dryRun = false } = this.#choice;
    const left = new Set(ids);
    for (const [index, { name, channel }] of members.entries()) {
      // Ids that no broker's name fits are given to the last one, for its answer.
      const last = index === members.length - 1;
      const here = [...left].filter((id) => last || mayKeep(name, id));
      for (const id of here) left.delete(id);
      for (let at = 0; at < here.length; at += PAGE_SIZE) {
        const messageIds = here.slice(at, at + PAGE_SIZE);
        const time = new CallTime(this.#clock, this.#options);
        const request = { group, messageIds, dryRun };
        const { deadLetters } = await channel.unary(broker.resendDeadLetters, request, time);
        for (const letter of deadLetters) this.#tell(deadLetterOf(name, letter));
      }
    }
  }

  /** Sends what is there of one broker again, in order, page by page. */
  async next(
    { name, channel }: LetterKeeper,
    max: number,
    tell: (letter: DeadLetter) => void,
    dryRun = this.#choice.dryRun ?? false,
  ): Promise<void> {
    const { group, order } = this.#choice;
    let left = max;
    for (let pageToken = ''; ; ) {
      const messagesMax = Math.min(PAGE_SIZE, left);
      const time = new CallTime(this.#clock, this.#options);
      const newestFirst = order === 'newest';
      const request = { group, messagesMax, pageToken, dryRun, newestFirst };
      const page = await channel.unary(broker.resendDeadLetters, request, time);
      for (const letter of page.deadLetters) tell(deadLetterOf(name, letter));
      left -= page.deadLetters.length;
      pageToken = page.nextPageToken;
      if (pageToken === '' || left <= 0) return;
    }
  }

  /** The ids of so many letters that were not sent again yet, in order over all brokers. */
  async choose(members: readonly LetterKeeper[], max: number): Promise<string[]> {
    if (!(Number.isInteger(max) && max > 0)) {
      throw new MqError('INVALID_OPTION', `max is ${max}; it must be a whole number above 0`);
    }
    const found: DeadLetter[] = [];
    await ofOwners(members, (member) => this.next(member, max, (one) => found.push(one), true));
    const { order = 'oldest' } = this.#choice;
    return inOrder(found, order)
      .slice(0, max)
      .map(({ messageId }) => messageId);
  }
}

/** Asks one broker after the other; at least one must know the group. */
async function ofOwners<Item>(
  members: readonly LetterKeeper[],
  call: (member: LetterKeeper) => Promise<Item>,
): Promise<Item[]> {
  const items: Item[] = [];
  let absent: unknown;
  for (const member of members) {
    try {
      items.push(await call(member));
    } catch (error) {
      if (!isMqError(error, 'GROUP_NOT_FOUND')) throw error;
      absent = error;
    }
  }
  if (items.length === 0 && absent !== undefined) throw absent;
  return items;
}

function inOrder(letters: readonly DeadLetter[], order: 'oldest' | 'newest'): DeadLetter[] {
  const sign = order === 'newest' ? -1 : 1;
  return letters.toSorted((one, other) => sign * (one.deadMs - other.deadMs));
}
