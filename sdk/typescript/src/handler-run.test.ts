import { beforeEach, describe, expect, test } from 'vitest';
import type { DeliveredMessage } from './delivered-message.ts';
import { MqError } from './errors.ts';
import { type ClientEvent, Events } from './events.ts';
import { HandlerRun, type MessageHandler, Reject, RetryAfter } from './handler-run.ts';
import { ManualClock, turn } from './testing/manual-clock.ts';

let clock: ManualClock;
let events: ClientEvent[];
/** What was said of messages, and whose credit went back, in order. */
let said: string[];

function newRun(handler: MessageHandler<string>, concurrency = 2): HandlerRun<string> {
  const told = new Events();
  told.listen((event) => events.push(event));
  const run = new HandlerRun(handler, {
    concurrency,
    leaseMs: 3000,
    ordered: false,
    clock,
    events: told,
  });
  run.onClose = (drainMs) => run.drain(drainMs);
  return run;
}

/** Delivers messages to a run. */
function deliver(run: HandlerRun<string>, ...names: string[]): void {
  for (const name of names) {
    const message = {
      topic: 't',
      value: name,
      ack: () => said.push(`ack ${name}`),
      retry: (delayMs = 0) => said.push(`retry ${name} ${delayMs}`),
      reject: (reason: string) => said.push(`reject ${name} ${reason}`),
      giveBack: () => said.push(`give back ${name}`),
      extend: (leaseMs: number) => said.push(`extend ${name} ${leaseMs}`),
    };
    run.add(message as unknown as DeliveredMessage<string>, () => said.push(`credit ${name}`));
  }
}

/** A handler whose calls end when the test says so. */
function held(): { handler: MessageHandler<string>; end: (name: string) => Promise<void> } {
  const ends = new Map<string, () => void>();
  const handler: MessageHandler<string> = ({ value }) =>
    new Promise((resolve) => {
      ends.set(value, resolve);
    });
  return {
    handler,
    async end(name) {
      ends.get(name)?.();
      await turn();
    },
  };
}

beforeEach(() => {
  clock = new ManualClock();
  events = [];
  said = [];
});

describe('what a handler does', () => {
  const outcome = async (handler: MessageHandler<string>): Promise<string | undefined> => {
    deliver(newRun(handler), 'x');
    await turn();
    return said.at(-1);
  };

  test('acknowledges by returning', async () => {
    expect(await outcome(() => {})).toBe('ack x');
    expect(await outcome(async () => {})).toBe('ack x');
  });

  test('asks for another delivery by throwing, and tells of it', async () => {
    const error = new Error('not now');
    const throws = (): never => {
      throw error;
    };
    expect(await outcome(throws)).toBe('retry x 0');
    expect(events).toEqual([{ type: 'handlerFailed', topic: 't', error }]);
  });

  test('asks for a delay with RetryAfter, and gives up with Reject', async () => {
    expect(await outcome(() => Promise.reject(new RetryAfter(700)))).toBe('retry x 700');
    expect(await outcome(() => Promise.reject(new Reject('broken')))).toBe('reject x broken');
    expect(events).toEqual([]);
  });
});

describe('messages', () => {
  test('are worked on in order, so many at a time, and their credit goes back when they are taken up', async () => {
    const { handler, end } = held();
    deliver(newRun(handler, 2), 'a', 'b', 'c');
    expect(said).toEqual(['credit a', 'credit b']);
    await end('b');
    expect(said.slice(2)).toEqual(['ack b', 'credit c']);
  });

  test('keep their leases while they are worked on and while they wait', async () => {
    const { handler, end } = held();
    deliver(newRun(handler, 1), 'a', 'b');
    await clock.advance(1000);
    expect(said.slice(1)).toEqual(['extend a 3000', 'extend b 3000']);
    await end('a');
    await end('b');
    const before = said.length;
    await clock.advance(5000);
    expect(said).toHaveLength(before);
  });
});

describe('closing', () => {
  test('hands back what waits, lets handlers finish, and takes nothing more', async () => {
    const { handler, end } = held();
    const run = newRun(handler, 1);
    deliver(run, 'a', 'b');
    const closed = run.close();
    deliver(run, 'c');
    expect(said.slice(1)).toEqual(['give back b', 'give back c']);
    await end('a');
    await closed;
    expect(said.at(-1)).toBe('ack a');
    await expect(run.ended).resolves.toBeUndefined();
    await run.close();
    expect(clock.pending).toBe(0);
  });

  test('aborts the signal of handlers that take too long, and waits no longer', async () => {
    let signal: AbortSignal | undefined;
    const run = newRun((_message, context) => {
      signal = context.signal;
      return new Promise(() => {});
    });
    deliver(run, 'a');
    const closed = run.close({ drainMs: 2000 });
    await clock.advance(1900);
    expect(signal?.aborted).toBe(false);
    await clock.advance(200);
    expect(signal?.aborted).toBe(true);
    await closed;
    expect(clock.pending).toBe(0);
  });

  test('happens when the broker refuses the subscription, and the run ends with its error', async () => {
    const run = newRun(() => {});
    run.fail(new MqError('SUBSCRIPTION_MISMATCH', 'other tags'));
    await expect(run.ended).rejects.toMatchObject({ code: 'SUBSCRIPTION_MISMATCH' });
    deliver(run, 'a');
    expect(said).toEqual(['give back a']);
    await turn();
    expect(clock.pending).toBe(0);
  });
});
