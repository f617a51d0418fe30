import { beforeEach, describe, expect, test } from 'vitest';
import type { DeliveredMessage } from './delivered-message.ts';
import { MqError } from './errors.ts';
import { MessageStream } from './message-stream.ts';
import { ManualClock } from './testing/manual-clock.ts';

class FakeMessage {
  readonly name: string;
  readonly calls: string[] = [];

  constructor(name: string) {
    this.name = name;
  }

  extend(leaseMs: number): void {
    this.calls.push(`extend ${leaseMs}`);
  }

  giveBack(): void {
    this.calls.push('giveBack');
  }
}

let clock: ManualClock;
let credits: number;
beforeEach(() => {
  clock = new ManualClock();
  credits = 0;
});

function newStream(signal?: AbortSignal): MessageStream<unknown> {
  return new MessageStream({ signal, leaseMs: 3000, clock });
}

function add(stream: MessageStream<unknown>, name: string): FakeMessage {
  const message = new FakeMessage(name);
  stream.add(message as unknown as DeliveredMessage, () => credits++);
  return message;
}

const nameOf = ({ value }: IteratorResult<unknown>): string | undefined =>
  (value as FakeMessage | undefined)?.name;

describe('a stream of messages', () => {
  test('gives them in order, and credit as they are taken', async () => {
    const stream = newStream();
    add(stream, 'a');
    add(stream, 'b');
    expect(credits).toBe(0);
    expect(nameOf(await stream.next())).toBe('a');
    expect(credits).toBe(1);
    expect(nameOf(await stream.next())).toBe('b');
  });

  test('serves everyone who waits, in order', async () => {
    const stream = newStream();
    const waiting = [stream.next(), stream.next(), stream.next()];
    for (const name of ['a', 'b', 'c']) add(stream, name);
    expect((await Promise.all(waiting)).map(nameOf)).toEqual(['a', 'b', 'c']);
  });

  test('extends the leases of those that wait for their turn, and of no others', async () => {
    const stream = newStream();
    const taken = add(stream, 'taken');
    const waiting = add(stream, 'waiting');
    await stream.next();
    await clock.advance(2500);
    expect(waiting.calls).toEqual(['extend 3000', 'extend 3000']);
    expect(taken.calls).toEqual([]);
  });

  test('that is closed hands back what was not taken, ends for all who wait, and leaves nothing behind', async () => {
    const stream = newStream();
    const waiting = [stream.next(), stream.next()];
    const left = new FakeMessage('late');
    await stream.close();
    stream.add(left as unknown as DeliveredMessage, () => credits++);
    expect((await Promise.all(waiting)).map(({ done }) => done)).toEqual([true, true]);
    expect(left.calls).toEqual(['giveBack']);
    expect(clock.pending).toBe(0);
  });

  test('ends when its signal aborts, also when it had before', async () => {
    const abort = new AbortController();
    const stream = newStream(abort.signal);
    let closed = 0;
    stream.onClose = async () => {
      closed++;
    };
    const next = stream.next();
    abort.abort();
    expect((await next).done).toBe(true);
    const second = newStream(abort.signal);
    second.onClose = async () => {
      closed++;
    };
    expect((await second.next()).done).toBe(true);
    expect(closed).toBe(2);
  });

  test('throws when the broker refuses, after what was delivered, and then it is over', async () => {
    const stream = newStream();
    add(stream, 'a');
    stream.fail(new MqError('GROUP_NOT_FOUND', 'gone'));
    expect(nameOf(await stream.next())).toBe('a');
    await expect(stream.next()).rejects.toMatchObject({ code: 'GROUP_NOT_FOUND' });
    expect((await stream.next()).done).toBe(true);
  });
});
