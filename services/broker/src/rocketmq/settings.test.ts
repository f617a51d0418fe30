import { create, type MessageInitShape } from '@bufbuild/protobuf';
import {
  ClientType,
  Code,
  Language,
  SettingsSchema,
} from '@ternmq/proto/gen/apache/rocketmq/v2/definition_pb';
import { describe, expect, test } from 'vitest';
import { groupSettings } from '../state/groups.ts';
import { answerSettings, durationOf, msOf, needsSecondAnswer } from './settings.ts';

const GROUP = groupSettings(undefined);

function said(init: MessageInitShape<typeof SettingsSchema>) {
  return create(SettingsSchema, init);
}

function consumer(language: Language) {
  return said({
    clientType: ClientType.PUSH_CONSUMER,
    userAgent: { language, version: '5' },
    pubSub: { case: 'subscription', value: { group: { name: 'g' } } },
  });
}

describe('a producer', () => {
  const settings = said({
    clientType: ClientType.PRODUCER,
    requestTimeout: durationOf(3000),
    metric: { on: true },
    pubSub: { case: 'publishing', value: { topics: [{ name: 't' }], maxBodySize: 1 << 27 } },
  });

  test('is told growing pauses, the largest body, and to check kinds of messages itself', () => {
    const answer = answerSettings(settings, GROUP);
    expect(answer.backoffPolicy?.maxAttempts).toBe(3);
    expect(answer.backoffPolicy?.strategy.case).toBe('exponentialBackoff');
    expect(answer.pubSub.value).toMatchObject({
      topics: [{ name: 't' }],
      maxBodySize: 4_194_304,
      validateMessageType: true,
    });
  });

  test('gets back what it said, but no metric', () => {
    const answer = answerSettings(settings, GROUP);
    expect(answer).toMatchObject({ clientType: ClientType.PRODUCER });
    expect(msOf(answer.requestTimeout)).toBe(3000);
    expect(answer.metric).toBeUndefined();
  });
});

describe('a consumer', () => {
  test.each([Language.JAVA, Language.GOLANG, Language.PYTHON, Language.RUST, Language.CPP])(
    'of language %i is told its pauses as a list',
    (language) => {
      const { backoffPolicy } = answerSettings(consumer(language), GROUP);
      expect(backoffPolicy?.maxAttempts).toBe(16);
      const { strategy } = backoffPolicy ?? {};
      if (strategy?.case !== 'customizedBackoff') throw new Error(`it is ${strategy?.case}`);
      expect(strategy.value.next).toHaveLength(15);
      expect(strategy.value.next.slice(0, 3).map(msOf)).toEqual([10_000, 30_000, 60_000]);
    },
  );

  test('in Node is told growing pauses, and all of it a second time', () => {
    const settings = consumer(Language.NODE_JS);
    const { strategy } = answerSettings(settings, GROUP).backoffPolicy ?? {};
    expect(strategy?.case).toBe('exponentialBackoff');
    expect(needsSecondAnswer(settings)).toBe(true);
    expect(needsSecondAnswer(consumer(Language.JAVA))).toBe(false);
  });

  test('is told whether its group is ordered, how often it tries, and how it may receive', () => {
    const ordered = { ...GROUP, ordered: true, attemptsMax: 3 };
    const answer = answerSettings(consumer(Language.JAVA), ordered);
    expect(answer.backoffPolicy?.maxAttempts).toBe(3);
    expect(answer.pubSub.value).toMatchObject({ fifo: true, receiveBatchSize: 32 });
    if (answer.pubSub.case !== 'subscription') throw new Error('it is a consumer');
    expect(msOf(answer.pubSub.value.longPollingTimeout)).toBe(20_000);
  });
});

test.each([
  [{ 'rocketmq.x': 'y' }],
  [{ '1x': 'y' }],
  [{ x: 'y'.repeat(257) }],
  [Object.fromEntries(Array.from({ length: 33 }, (_, i) => [`k${i}`, 'v']))],
])('client properties beyond the limits are refused', (clientProperties) => {
  const settings = said({
    clientProperties,
    pubSub: { case: 'publishing', value: {} },
  });
  expect(() => answerSettings(settings, GROUP)).toThrow(
    expect.objectContaining({ code: Code.INVALID_CLIENT_PROPERTIES }),
  );
});

test('settings that say neither what is published nor what is subscribed to are refused', () => {
  expect(() => answerSettings(said({}), GROUP)).toThrow(
    expect.objectContaining({ code: Code.BAD_REQUEST }),
  );
});
