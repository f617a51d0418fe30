import { systemClock } from '@ternmq/runtime';
import { type EncodedFrame, type FrameSender, MqError } from '@ternmq/sdk';
import { describe, expect, test } from 'vitest';
import { generateLoad, randomBodies } from './generator.ts';
import type { Load } from './load-flags.ts';

type Done = Parameters<FrameSender['write']>[1];

/** Answers every frame in a later turn of the event loop. */
class FakeSender {
  underWay = 0;
  mostUnderWay = 0;
  readonly written: EncodedFrame[] = [];
  readonly #answer: (index: number) => MqError | undefined;

  constructor(answer: (index: number) => MqError | undefined = () => undefined) {
    this.#answer = answer;
  }

  encode(bodies: readonly Uint8Array[]): EncodedFrame {
    return { bytes: Buffer.concat(bodies), headerAt: 0, count: bodies.length };
  }

  write(frame: EncodedFrame, done: Done): void {
    this.mostUnderWay = Math.max(this.mostUnderWay, ++this.underWay);
    const index = this.written.push(frame) - 1;
    setImmediate(() => {
      this.underWay--;
      done(this.#answer(index), { broker: 'a', queueId: 0, baseOffset: 0 });
    });
  }
}

function load(parts: Partial<Load>): Load {
  return {
    ...{ topic: 't', size: 16, batch: 4, inFlight: 3, rate: undefined },
    ...{ durationMs: Number.POSITIVE_INFINITY, messagesMax: Number.POSITIVE_INFINITY },
    ...parts,
  };
}

/** Runs a load and counts what becomes of it. */
async function generate(sender: FakeSender, parts: Partial<Load>, signal?: AbortSignal) {
  const result = { stored: 0, failed: 0, latestMs: 0 };
  await generateLoad(
    sender as unknown as FrameSender,
    load(parts),
    {
      stored(messages, ms) {
        result.stored += messages;
        result.latestMs = Math.max(result.latestMs, ms);
      },
      failed(messages) {
        result.failed += messages;
      },
    },
    signal ?? new AbortController().signal,
  );
  return result;
}

describe('a load', () => {
  test('of so many messages sends exactly them, in whole frames, and uses frames again', async () => {
    const sender = new FakeSender();
    expect(await generate(sender, { messagesMax: 398 })).toMatchObject({ stored: 400, failed: 0 });
    expect(sender.written).toHaveLength(100);
    expect(new Set(sender.written).size).toBe(3);
    expect(sender.mostUnderWay).toBe(3);
  });

  test('that is smaller than what may be in flight makes no more frames than it needs', async () => {
    const sender = new FakeSender();
    await generate(sender, { messagesMax: 4, inFlight: 64 });
    expect(sender.written).toHaveLength(1);
  });

  test('with a rate sends no faster', async () => {
    const sender = new FakeSender();
    const before = systemClock.monotonicMs();
    const result = await generate(sender, { messagesMax: 40, batch: 1, rate: 1000 });
    expect(result).toMatchObject({ stored: 40, failed: 0 });
    // The last of 40 frames is due after 39 ms.
    expect(systemClock.monotonicMs() - before).toBeGreaterThanOrEqual(39);
  });

  test('counts what is refused and goes on', async () => {
    const sender = new FakeSender((index) =>
      index % 2 === 0 ? new MqError('DISK_FULL', 'full') : undefined,
    );
    expect(await generate(sender, { messagesMax: 40 })).toMatchObject({ stored: 20, failed: 20 });
  });

  test('ends when it is aborted, with everything under way answered', async () => {
    const stop = new AbortController();
    const sender = new FakeSender((index) => {
      if (index === 50) stop.abort();
      return undefined;
    });
    const { stored } = await generate(sender, {}, stop.signal);
    expect(stored).toBe(sender.written.length * 4);
    expect(sender.underWay).toBe(0);
  });
});

test('bodies are random behind their head', () => {
  const [one, other] = randomBodies(2, 64, Buffer.from('head'));
  expect(one?.subarray(0, 4).toString()).toBe('head');
  expect(one?.equals(other as Buffer)).toBe(false);
  expect(randomBodies(1, 2, Buffer.from('head'))[0]?.toString()).toBe('he');
});
