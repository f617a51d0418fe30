import { create } from '@bufbuild/protobuf';
import {
  DescribeTopicResponseSchema,
  ListTopicsResponseSchema,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { StoredMessageSchema } from '@ternmq/proto/gen/ternmq/message/v1/message_pb';
import { beforeEach, describe, expect, test } from 'vitest';
import { Admin } from './admin.ts';
import { MqError } from './errors.ts';
import { messageId } from './message-id.ts';
import type { Routes } from './routes.ts';
import { FakeChannel } from './testing/fake-channel.ts';
import { ManualClock } from './testing/manual-clock.ts';
import type { CallLimits } from './transport/channel.ts';
import type { Channels } from './transport/channels.ts';
import type { RouteBroker } from './transport/route.ts';

interface Call {
  readonly broker: string;
  readonly method: string;
  readonly request: Record<string, unknown>;
  readonly limits: CallLimits;
}

let clock: ManualClock;
let admin: Admin;
/** Names of the brokers that the name server knows; those in capitals are slaves. */
let brokers: string[];
let calls: Call[];
/** What a broker answers, or throws. */
let answer: (call: Call) => unknown;

const missing = (code: string): MqError => new MqError(code, `${code} here`);
const topic = (name: string): object => ({ name, topicId: 1, settings: { queues: 4 } });
const callsOf = (method: string): Call[] => calls.filter((call) => call.method === method);

beforeEach(() => {
  clock = new ManualClock();
  brokers = ['b', 'a', 'A'];
  calls = [];
  answer = () => ({ topic: topic('t') });
  const routes = {
    brokers: async (): Promise<Partial<RouteBroker>[]> => {
      await clock.advance(1000);
      return brokers.map((name) => ({
        name: name.toLowerCase(),
        address: `${name}:1`,
        master: name === name.toLowerCase(),
      }));
    },
  };
  const channels = {
    get(address: string): FakeChannel {
      const channel = new FakeChannel(address);
      channel.answer = async (method, request, limits) => {
        const broker = address.slice(0, -2);
        const call = { broker, method, request: request as Record<string, unknown>, limits };
        calls.push(call);
        return answer(call);
      };
      return channel;
    },
  };
  admin = new Admin({
    routes: routes as unknown as Routes,
    channels: channels as unknown as Channels,
    clock,
  });
});

describe('what concerns all broker groups', () => {
  test('is done at every master, by name', async () => {
    const created = await admin.createTopic('t', { queues: 4 });
    expect(calls.map(({ broker }) => broker)).toEqual(['a', 'b']);
    expect(calls[0]?.request).toMatchObject({ name: 't', settings: { queues: 4 } });
    expect(created).toMatchObject([
      { name: 't', broker: 'a', settings: { queues: 4 } },
      { name: 't', broker: 'b' },
    ]);
  });

  test('is told as PARTIAL when only some have done it, with who has not and why', async () => {
    answer = ({ broker }) => {
      if (broker === 'b') throw missing('TOPIC_EXISTS');
      return { topic: topic('t') };
    };
    const failure = await admin.createTopic('t').catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 'PARTIAL' });
    expect((failure as Error).message).toContain('on 1 of 2 broker groups');
    expect((failure as Error).message).toContain('b (TOPIC_EXISTS here)');
  });

  test('fails with the cause when none has done it', async () => {
    answer = () => {
      throw missing('TOPIC_EXISTS');
    };
    await expect(admin.createTopic('t')).rejects.toMatchObject({ code: 'TOPIC_EXISTS' });
  });

  test('fails with NO_BROKER when there is none', async () => {
    brokers = ['A'];
    await expect(admin.listTopics()).rejects.toMatchObject({ code: 'NO_BROKER', retryable: true });
  });

  test('lists page by page, until the last one', async () => {
    brokers = ['a'];
    answer = ({ request }) =>
      create(ListTopicsResponseSchema, {
        topics: [{ name: `t${String(request.pageToken)}` }],
        nextPageToken: request.pageToken === '' ? '2' : '',
      });
    expect((await admin.listTopics()).map(({ name }) => name)).toEqual(['t', 't2']);
  });
});

describe('what concerns those that have it', () => {
  test('passes over the others', async () => {
    answer = ({ broker }) => {
      if (broker === 'a') throw missing('TOPIC_NOT_FOUND');
      const queues = [{ queueId: 0, beginOffset: 1n, endOffset: 5n, lastStoreTimeMs: 9n }];
      return create(DescribeTopicResponseSchema, { topic: topic('t'), queues });
    };
    expect(await admin.describeTopic('t')).toMatchObject({
      topics: [{ broker: 'b', name: 't' }],
      queues: [{ broker: 'b', queueId: 0, beginOffset: 1, endOffset: 5, lastStoreTimeMs: 9 }],
    });
  });

  test('fails when none has it', async () => {
    answer = () => {
      throw missing('GROUP_NOT_FOUND');
    };
    await expect(admin.deleteGroup('g')).rejects.toMatchObject({ code: 'GROUP_NOT_FOUND' });
  });
});

describe('setting the progress of a group', () => {
  beforeEach(() => {
    brokers = ['a'];
    answer = ({ method, request }) => {
      if (method === 'GetOffset') return { queues: [{ queueId: 0, floorOffset: 50n }] };
      if (method === 'CommitOffset') return {};
      const { target } = (request as { target: { target: { case: string } } }).target;
      const at = { begin: 10n, end: 100n, timeMs: 70n, offset: 500n }[target.case] ?? 0n;
      return { offsets: [0, 1].map((queueId) => ({ queueId, offset: at })) };
    };
  });

  const reset = (to: Parameters<Admin['resetGroup']>[0]['to'], dryRun = false) =>
    admin.resetGroup({ group: 'g', topic: 't', to, dryRun });

  test('goes to a place in every queue, and tells from where', async () => {
    expect(await reset(new Date(7))).toEqual([
      { broker: 'a', queueId: 0, before: 50, after: 70 },
      { broker: 'a', queueId: 1, before: undefined, after: 70 },
    ]);
    expect(callsOf('CommitOffset')[0]?.request.offsets).toEqual([
      { queueId: 0, offset: 70n },
      { queueId: 1, offset: 70n },
    ]);
  });

  test('moves by so many messages from where it is, or from the oldest one', async () => {
    expect((await reset({ shift: 5 })).map(({ after }) => after)).toEqual([55, 15]);
    expect((await reset({ shift: -1000 })).map(({ after }) => after)).toEqual([10, 10]);
  });

  test('stays within what the queues hold', async () => {
    expect((await reset({ offset: 500 })).map(({ after }) => after)).toEqual([100, 100]);
  });

  test('does nothing when it is only asked for', async () => {
    await reset('last', true);
    expect(callsOf('CommitOffset')).toEqual([]);
  });

  test('begins for a group that is not there yet', async () => {
    const usual = answer;
    answer = (call) => {
      if (call.method === 'GetOffset') throw missing('GROUP_NOT_FOUND');
      return usual(call);
    };
    expect((await reset('first'))[0]).toMatchObject({ before: undefined, after: 10 });
  });
});

describe('a message by its id', () => {
  const id = messageId('b', 1, 2, 3);

  test('is asked of the broker group that its id names', async () => {
    answer = () => ({
      topic: 't',
      message: create(StoredMessageSchema, {
        topicId: 1,
        queueId: 2,
        offset: 3n,
        message: { body: Buffer.from('x') },
      }),
    });
    const message = await admin.getMessage(id);
    expect([message.text(), message.topic, message.messageId]).toEqual(['x', 't', id]);
    expect(calls.map(({ broker }) => broker)).toEqual(['b']);
  });

  test('that no name fits is given to some broker, for its sentence', async () => {
    answer = () => {
      throw missing('INVALID_MESSAGE_ID');
    };
    await expect(admin.getMessage('?')).rejects.toMatchObject({ code: 'INVALID_MESSAGE_ID' });
    expect(calls).toHaveLength(1);
  });
});

describe('the time of a call', () => {
  test('is for all of its steps together', async () => {
    answer = ({ method }) => (method === 'CommitOffset' ? {} : { queues: [], offsets: [] });
    await admin.resetGroup({ group: 'g', topic: 't', to: 'first' }, { deadlineMs: 5500 });
    const left = calls.map(({ limits }) => limits.deadlineMs);
    expect(left[0]).toBe(4500);
    expect(left.at(-1)).toBeLessThanOrEqual(1500);
  });

  test('ends with its signal', async () => {
    const signal = AbortSignal.abort();
    await expect(admin.listGroups({ signal })).rejects.toMatchObject({ code: 'ABORTED' });
    expect(calls).toEqual([]);
  });
});
