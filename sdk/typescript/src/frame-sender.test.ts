import { beforeEach, describe, expect, test } from 'vitest';
import type { FrameSender } from './frame-sender.ts';
import type { Producer, ProducerOptions } from './producer.ts';
import { FakeRoutes } from './testing/fake-routes.ts';
import { ManualClock } from './testing/manual-clock.ts';
import { FakeBroker, producerOf } from './transport/testing/fake-broker.ts';

let clock: ManualClock;
let routes: FakeRoutes;
let a: FakeBroker;
let b: FakeBroker;

function newProducer(options: ProducerOptions = {}): Producer {
  return producerOf({ 'a:1': a, 'b:1': b }, { routes: routes.routes, clock, events: [] }, options);
}

const passing = <Value>(promise: Promise<Value>, msMax?: number): Promise<Value> =>
  clock.until(promise, msMax);

/** Sends a frame of one message; what became of it. */
function write(
  frames: FrameSender,
  body: string,
  options: Parameters<FrameSender['write']>[2] = {},
): Promise<string> {
  return new Promise((resolve) => {
    const done = (error?: { code: string }): void => resolve(error?.code ?? 'stored');
    frames.write(frames.encode([Buffer.from(body)]), done, options);
  });
}

beforeEach(() => {
  clock = new ManualClock();
  routes = new FakeRoutes();
  a = new FakeBroker();
  b = new FakeBroker();
  routes.add('one', { a: 1 });
});

describe('whole frames', () => {
  test('are stored, and a refusal does not stop those that come later', async () => {
    const producer = newProducer();
    const frames = await passing(producer.frames('one'));
    const write = (body: string): Promise<string> => {
      const frame = frames.encode([Buffer.from(body)]);
      return new Promise((resolve) => {
        frames.write(frame, (error) => resolve(error?.code ?? 'stored'));
      });
    };
    let refuse = 1;
    a.answer = () => (refuse-- > 0 ? { reason: 'DISK_FULL' } : 'stored');
    expect(await passing(Promise.all([write('a'), write('b')]))).toEqual([
      'DISK_FULL',
      'SEQUENCE_GAP',
    ]);
    expect(await passing(write('c'))).toBe('stored');
  });

  test('that have no answer when the producer is closed are told as unknown', async () => {
    const producer = newProducer();
    const frames = await passing(producer.frames('one'));
    a.answer = () => 'silence';
    const code = new Promise((resolve) => {
      frames.write(frames.encode([Buffer.from('x')]), (error) => resolve(error?.code));
    });
    await clock.advance(10);
    await passing(producer.close());
    expect(await code).toBe('OUTCOME_UNKNOWN');
  });
});

describe('a whole frame', () => {
  test('without an answer is given up at its deadline, and later ones are stored', async () => {
    const producer = newProducer();
    const frames = await passing(producer.frames('one'));
    a.answer = () => 'silence';
    const [short, long] = [write(frames, 'x', { deadlineMs: 500 }), write(frames, 'y')];
    expect(await passing(short, 700)).toBe('OUTCOME_UNKNOWN');
    expect(await passing(long, 10_000)).toBe('OUTCOME_UNKNOWN');
    expect(clock.monotonicMs()).toBeGreaterThanOrEqual(10_000);
    a.answer = () => 'stored';
    expect(await passing(write(frames, 'z'))).toBe('stored');
    expect(a.bodies).toEqual(['z']);
    await producer.close();
    await clock.advance(100);
    expect(clock.pending).toBe(0);
  });

  test('for a broker that is away fails at its deadline, and is known not to be stored', async () => {
    a.up = false;
    const frames = await passing(newProducer().frames('one'));
    expect(await passing(write(frames, 'x', { deadlineMs: 1000 }), 1200)).toBe(
      'BROKER_UNREACHABLE',
    );
    a.up = true;
    expect(await passing(write(frames, 'y'))).toBe('stored');
    expect(a.bodies).toEqual(['y']);
  });

  test('is given up by its signal', async () => {
    const frames = await passing(newProducer().frames('one'));
    a.answer = () => 'silence';
    const abort = new AbortController();
    const given = write(frames, 'x', { signal: abort.signal });
    await clock.advance(10);
    abort.abort();
    expect(await given).toBe('ABORTED');
    expect(await write(frames, 'y', { signal: abort.signal })).toBe('ABORTED');
  });

  test('that the broker has stored long ago is told as stored, and does not stop those behind it', async () => {
    const frames = await passing(newProducer().frames('one'));
    await passing(write(frames, 'x'));
    let old = true;
    a.answer = () => {
      const reason = 'SEQUENCE_TOO_OLD';
      if (!old) return 'stored';
      old = false;
      return { reason };
    };
    const given = await passing(write(frames, 'y'));
    expect(given).toBe('ALREADY_STORED');
    const ids = (): Set<bigint> => new Set(a.frames.map(({ producerId }) => producerId));
    await passing(write(frames, 'z'));
    expect(ids().size).toBe(1);
  });
});
