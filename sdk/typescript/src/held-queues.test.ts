import { beforeEach, describe, expect, test } from 'vitest';
import { MqError } from './errors.ts';
import { type ClientEvent, Events } from './events.ts';
import { HeldQueues, type HoldOptions } from './held-queues.ts';
import { PullConsumer, type TopicQueue } from './pull-consumer.ts';
import { FakeChannel } from './testing/fake-channel.ts';
import { FakeRoutes } from './testing/fake-routes.ts';
import { ManualClock } from './testing/manual-clock.ts';
import type { Channels } from './transport/channels.ts';

interface CommitCall {
  readonly session: bigint;
  readonly offsets: readonly {
    readonly queueId: number;
    readonly offset: bigint;
    readonly generation: bigint;
  }[];
}

let clock: ManualClock;
let pull: PullConsumer;
let events: ClientEvent[];
/** What was committed: `queue:offset`. */
let commits: string[];
/** What the broker says to a commit. */
let answer: () => Promise<object>;
/** The newest generation of every queue: the broker refuses commits with another one. */
let generation: bigint;

const queue = (queueId: number): TopicQueue => ({ topic: 'one', broker: 'a', queueId });
const granted = (queueId: number, offset: number) => ({
  queue: queue(queueId),
  address: 'a:1',
  offset,
  generation,
  session: 7n,
});

function hold(options: Partial<HoldOptions> = {}): HeldQueues {
  const channel = new FakeChannel('a:1');
  channel.answer = async (_, request) => {
    await answer();
    const { offsets, session } = request as CommitCall;
    expect(session).toBe(7n);
    const refused = offsets.filter((one) => one.generation !== generation);
    for (const one of offsets) {
      if (!refused.includes(one)) commits.push(`${one.queueId}:${one.offset}`);
    }
    return { refused };
  };
  const channels = { get: () => channel } as unknown as Channels;
  const told = new Events();
  told.listen((event) => events.push(event));
  pull = new PullConsumer({}, { routes: new FakeRoutes().routes, channels, clock });
  const all: HoldOptions = {
    group: 'g',
    autoCommit: true,
    onAssigned: undefined,
    onRevoked: undefined,
    ...options,
  };
  return new HeldQueues(all, { pull, channels, clock, events: told }, () => {});
}

beforeEach(() => {
  clock = new ManualClock();
  events = [];
  commits = [];
  answer = async () => ({});
  generation = 1n;
});

describe('a queue that leaves', () => {
  test('is let go of at once when everything is worked on, and committed before', async () => {
    const held = hold();
    await clock.until(held.take([granted(0, 5)]));
    await pull.seek(queue(0), 9);
    held.finish();
    await clock.until(held.letGo([queue(0)]));
    expect(commits).toEqual(['0:9']);
    expect(clock.monotonicMs()).toBeLessThan(100);
  });

  test('waits a second for what was given out, and then commits only what was worked on', async () => {
    const held = hold();
    await clock.until(held.take([granted(0, 5)]));
    await pull.seek(queue(0), 7);
    held.finish();
    await pull.seek(queue(0), 9);
    await clock.until(held.letGo([queue(0)]));
    expect(commits).toEqual(['0:7']);
    expect(clock.monotonicMs()).toBeGreaterThanOrEqual(1000);
    expect(clock.monotonicMs()).toBeLessThan(1100);
  });

  test('is let go of within the time of a hand-over, whatever the application and the broker do', async () => {
    answer = () => new Promise(() => {});
    const held = hold({ onRevoked: () => new Promise(() => {}) });
    await clock.until(held.take([granted(0, 5)]));
    await pull.seek(queue(0), 7);
    held.finish();
    await pull.seek(queue(0), 9);
    await clock.until(held.letGo([queue(0)]));
    expect(clock.monotonicMs()).toBeLessThan(3000);
  });

  test('is never committed after it was let go of', async () => {
    const stuck = Promise.withResolvers<object>();
    answer = () => stuck.promise;
    const held = hold();
    await clock.until(held.take([granted(0, 5), granted(1, 5)]));
    await pull.seek(queue(1), 6);
    held.finish();
    const first = held.commitDone();
    await pull.seek(queue(0), 8);
    held.finish();
    await clock.until(held.letGo([queue(0)]));
    stuck.resolve({});
    await clock.until(first);
    await clock.advance(100);
    expect(commits).toEqual(['1:6']);
  });

  test('may be committed by hand while the application is told', async () => {
    const held = hold({
      autoCommit: false,
      onRevoked: async () => {
        held.finish();
        await held.commitDone();
      },
    });
    await clock.until(held.take([granted(0, 5)]));
    await pull.seek(queue(0), 9);
    await clock.until(held.letGo([queue(0)]));
    expect(commits).toEqual(['0:9']);
  });
});

describe('a queue that was lost with the connection and comes again', () => {
  const positionAfter = async (offset: number, set = 1n): Promise<number> => {
    const held = hold();
    generation = 1n;
    await clock.until(held.take([granted(0, 5)]));
    await pull.seek(queue(0), 9);
    held.lose([queue(0)]);
    expect(pull.assigned).toEqual([]);
    generation = set;
    await clock.until(held.take([granted(0, offset)]));
    return pull.position(queue(0));
  };

  test('goes on where it was when nobody else has read beyond that', async () => {
    expect(await positionAfter(5)).toBe(9);
    expect(await positionAfter(7)).toBe(9);
  });

  test('goes on where the group is when others have read on, or an operator has set it back', async () => {
    expect(await positionAfter(12)).toBe(12);
    expect(await positionAfter(2)).toBe(2);
  });

  test('goes where an operator has set the group meanwhile, also within what was given out', async () => {
    expect(await positionAfter(7, 2n)).toBe(7);
    expect(await positionAfter(5, 2n)).toBe(5);
    expect(await positionAfter(9, 2n)).toBe(9);
  });

  test('is never set back by what was worked on before another member read on', async () => {
    const held = hold();
    await clock.until(held.take([granted(0, 5)]));
    await pull.seek(queue(0), 6);
    held.finish();
    await pull.seek(queue(0), 9);
    held.lose([queue(0)]);
    await clock.until(held.take([granted(0, 8)]));
    await clock.until(held.commitDone());
    expect(commits).toEqual([]);
    held.finish();
    await clock.until(held.commitDone());
    expect(commits).toEqual(['0:9']);
  });
});

describe('a queue whose progress somebody else sets', () => {
  const reset = (offset: number): void => {
    generation++;
    held.moved([granted(0, offset)]);
  };
  let held: HeldQueues;
  beforeEach(async () => {
    held = hold();
    await clock.until(held.take([granted(0, 5)]));
    await pull.seek(queue(0), 9);
  });

  test('is read on from there, and what was given before does not count as worked on', async () => {
    reset(2);
    expect(pull.position(queue(0))).toBe(2);
    held.finish();
    await clock.until(held.commitDone());
    expect(commits).toEqual([]);
    await pull.seek(queue(0), 3);
    held.finish();
    await clock.until(held.commitDone());
    expect(commits).toEqual(['0:3']);
  });

  test('is not moved again when the broker says the same once more', async () => {
    reset(2);
    await pull.seek(queue(0), 4);
    held.moved([granted(0, 2)]);
    expect(pull.position(queue(0))).toBe(4);
  });

  test('loses nothing of what is worked on after a commit that came too late', async () => {
    const stuck = Promise.withResolvers<object>();
    answer = () => stuck.promise;
    held.finish();
    const committed = held.commitDone();
    await clock.advance(0);
    reset(2);
    stuck.resolve({});
    await clock.until(committed);
    expect(commits).toEqual([]);
    // The same offset as in the commit that was refused.
    await pull.seek(queue(0), 9);
    held.finish();
    await clock.until(held.commitDone());
    expect(commits).toEqual(['0:9']);
  });

  test('while it leaves, is committed nowhere else', async () => {
    const left = held.letGo([queue(0)]);
    await clock.advance(10);
    reset(2);
    held.finish();
    await clock.until(left);
    expect(commits).toEqual([]);
  });
});

test('what the application does when it is told comes before reading, and its errors are told', async () => {
  const held = hold({
    onAssigned: async ([first]) => {
      held.setPaused([first as TopicQueue], true);
      expect(held.readable).toBe(false);
      throw new Error('its own fault');
    },
  });
  await clock.until(held.take([granted(0, 5)]));
  expect(held.readable).toBe(false);
  expect(events).toMatchObject([{ type: 'handlerFailed', topic: 'one' }]);
  held.setPaused([queue(0)], false);
  expect(held.readable).toBe(true);
  expect(() => held.setPaused([queue(1)], true)).toThrow('is not read; assign it first');
});

test('a commit that fails is told and made up for by the next one', async () => {
  const held = hold();
  await clock.until(held.take([granted(0, 5)]));
  await pull.seek(queue(0), 9);
  held.finish();
  answer = () => Promise.reject(new MqError('UNAVAILABLE', 'the broker is away'));
  await clock.until(held.commitOrTell());
  expect(events).toMatchObject([{ type: 'commitFailed', topic: 'one' }]);
  answer = async () => ({});
  await clock.until(held.commitOrTell());
  await clock.until(held.commitOrTell());
  expect(commits).toEqual(['0:9']);
});
