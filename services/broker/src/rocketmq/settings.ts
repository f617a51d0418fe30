// What a client is answered to its settings: what it has said itself, and over it what is the server's to say. Clients of
// different languages stumble over different gaps; see the comments. Pure.

import { create } from '@bufbuild/protobuf';
import { type Duration, DurationSchema } from '@bufbuild/protobuf/wkt';
import {
  ClientType,
  Code,
  Language,
  type RetryPolicy as RetryPolicyMessage,
  type Settings,
} from '@ternmq/proto/gen/apache/rocketmq/v2/definition_pb';
import { ATTEMPTS_MAX, RetryPolicy } from '../catalog/retry-policy.ts';
import type { GroupSettings } from '../state/groups.ts';
import { Refused } from './status.ts';

const BODY_BYTES_MAX = 4 << 20;
const PRODUCER_ATTEMPTS = 3;
/** Most messages of one receive. */
export const RECEIVE_BATCH_MAX = 32;
/** How long a receive waits for messages at most, in milliseconds. */
export const LONG_POLL_MS_MAX = 20_000;
/** Pauses of a list that are told; the last one counts for all further ones. */
const PAUSES_MAX = 32;
const PROPERTIES_MAX = 32;
const PROPERTIES_CHARS_MAX = 4096;
const PROPERTY_KEY = /^(?!rocketmq\.)[a-zA-Z][a-zA-Z0-9_.-]{0,63}$/;
const PROPERTY_CHARS_MAX = 256;

/**
 * The answer.
 *
 * @param group settings of the consumer's group
 * @throws Refused (INVALID_CLIENT_PROPERTIES, BAD_REQUEST)
 */
export function answerSettings(said: Settings, group: GroupSettings): Settings {
  checkProperties(said.clientProperties);
  switch (said.pubSub.case) {
    case 'publishing':
      return {
        ...withoutMetric(said),
        backoffPolicy: PRODUCER_BACKOFF,
        pubSub: {
          case: 'publishing',
          // Go takes the size literally, 0 included; validation lets clients refuse a kind that the topic does not take.
          value: { ...said.pubSub.value, maxBodySize: BODY_BYTES_MAX, validateMessageType: true },
        },
      };
    case 'subscription': {
      const policy = new RetryPolicy(group);
      const { ordered } = group;
      return {
        ...withoutMetric(said),
        backoffPolicy: consumerBackoff(policy, said.userAgent?.language),
        pubSub: {
          case: 'subscription',
          value: {
            ...said.pubSub.value,
            fifo: ordered,
            receiveBatchSize: RECEIVE_BATCH_MAX,
            longPollingTimeout: durationOf(LONG_POLL_MS_MAX),
          },
        },
      };
    }
    default:
      throw new Refused(
        Code.BAD_REQUEST,
        'settings must say what a client publishes or subscribes to',
      );
  }
}

/** Is it a client that must be sent its settings a second time? With two topics Node's start-up misses the first ones. */
export function needsSecondAnswer({ userAgent }: Settings): boolean {
  return userAgent?.language === Language.NODE_JS;
}

/** Is the client a consumer? */
export function isConsumer(type: ClientType | undefined): boolean {
  return (
    type !== undefined &&
    type !== ClientType.PRODUCER &&
    type !== ClientType.CLIENT_TYPE_UNSPECIFIED
  );
}

// Clients demand an exponential policy of producers: without one Node never starts, and Java throws.
const PRODUCER_BACKOFF: RetryPolicyMessage = {
  $typeName: 'apache.rocketmq.v2.RetryPolicy',
  maxAttempts: PRODUCER_ATTEMPTS,
  strategy: {
    case: 'exponentialBackoff',
    value: {
      $typeName: 'apache.rocketmq.v2.ExponentialBackoff',
      initial: durationOf(10),
      max: durationOf(1000),
      multiplier: 2,
    },
  },
};

/** Python understands only lists, and Node, which takes a list for no pause at all, only growing pauses. */
function consumerBackoff(policy: RetryPolicy, language: Language | undefined): RetryPolicyMessage {
  const maxAttempts = policy.attemptsMax;
  const pauses = Math.min(Math.max(1, maxAttempts - 1), PAUSES_MAX);
  if (language === Language.NODE_JS) {
    return {
      $typeName: 'apache.rocketmq.v2.RetryPolicy',
      maxAttempts,
      strategy: {
        case: 'exponentialBackoff',
        value: {
          $typeName: 'apache.rocketmq.v2.ExponentialBackoff',
          initial: durationOf(policy.delayMs(2)),
          max: durationOf(policy.delayMs(ATTEMPTS_MAX)),
          multiplier: 2,
        },
      },
    };
  }
  return {
    $typeName: 'apache.rocketmq.v2.RetryPolicy',
    maxAttempts,
    strategy: {
      case: 'customizedBackoff',
      value: {
        $typeName: 'apache.rocketmq.v2.CustomizedBackoff',
        next: Array.from({ length: pauses }, (_, i) => durationOf(policy.delayMs(i + 2))),
      },
    },
  };
}

/** C++ logs an error about a metric without an address. */
function withoutMetric(said: Settings): Settings {
  const { metric: _, ...rest } = said;
  return rest;
}

function checkProperties(properties: Readonly<Record<string, string>>): void {
  const pairs = Object.entries(properties);
  const chars = pairs.reduce((sum, [key, value]) => sum + key.length + value.length, 0);
  const wrong = pairs.find(
    ([key, value]) => !PROPERTY_KEY.test(key) || value.length > PROPERTY_CHARS_MAX,
  );
  if (wrong === undefined && pairs.length <= PROPERTIES_MAX && chars <= PROPERTIES_CHARS_MAX)
    return;
  throw new Refused(
    Code.INVALID_CLIENT_PROPERTIES,
    `a client has at most ${PROPERTIES_MAX} properties and ${PROPERTIES_CHARS_MAX} characters of them; a key has 1 to 64 of [a-zA-Z0-9_.-], begins with a letter and not with 'rocketmq.', and a value has at most ${PROPERTY_CHARS_MAX}`,
  );
}

/** A length of time. */
export function durationOf(ms: number): Duration {
  return create(DurationSchema, {
    seconds: BigInt(Math.floor(ms / 1000)),
    nanos: Math.round((ms % 1000) * 1e6),
  });
}

/** A length of time in milliseconds; undefined when it is not there. */
export function msOf(duration: Duration | undefined): number | undefined {
  return duration === undefined
    ? undefined
    : Number(duration.seconds) * 1000 + Math.round(duration.nanos / 1e6);
}
