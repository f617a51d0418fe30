// What a broker may say about itself.

import {
  type Broker,
  BrokerRole,
  type TopicQueues,
} from '@ternmq/proto/gen/ternmq/nameserver/v1/nameserver_pb';
import { type FieldViolation, parseAddress, TernError } from '@ternmq/runtime';

const BROKER_NAME = /^[a-zA-Z0-9_-]{1,127}$/;
const TOPIC_NAME = /^[%|a-zA-Z0-9_-]{1,127}$/;
const TEXT_LENGTH_MAX = 127;
const ROLES: ReadonlySet<BrokerRole> = new Set([
  BrokerRole.MASTER,
  BrokerRole.SLAVE,
  BrokerRole.STAND_IN,
]);
const QUEUES_MAX = 65_536;

/** Throws TernError INVALID_ARGUMENT when a topic's name is malformed. */
export function checkTopicName(topic: string, field: string): void {
  if (!TOPIC_NAME.test(topic))
    throw malformed([{ field, description: 'must be 1 to 127 characters of a-z A-Z 0-9 _ - % |' }]);
}

/** Throws TernError INVALID_ARGUMENT when the name of one of the topics is malformed. */
export function checkTopicNames(topics: readonly string[], field: string): void {
  for (const [at, topic] of topics.entries()) checkTopicName(topic, `${field}[${at}]`);
}

/** Throws TernError INVALID_ARGUMENT when a broker does not say who and where it is. */
export function checkBroker(broker: Broker | undefined): asserts broker is Broker {
  if (broker === undefined) {
    throw malformed([{ field: 'broker', description: 'must be set' }]);
  }
  const address = parseAddress(broker.address);
  const violations = [
    !BROKER_NAME.test(broker.name) && {
      field: 'broker.name',
      description: 'must be 1 to 127 characters of a-z A-Z 0-9 _ -',
    },
    (address === undefined || address.port === 0) && {
      field: 'broker.address',
      description: 'must be host:port as clients reach it, for example mq-1.example:10911',
    },
    !ROLES.has(broker.role) && {
      field: 'broker.role',
      description: 'must be BROKER_ROLE_MASTER, BROKER_ROLE_SLAVE or BROKER_ROLE_STAND_IN',
    },
    broker.cluster.length > TEXT_LENGTH_MAX && {
      field: 'broker.cluster',
      description: `must be at most ${TEXT_LENGTH_MAX} characters long`,
    },
    broker.version.length > TEXT_LENGTH_MAX && {
      field: 'broker.version',
      description: `must be at most ${TEXT_LENGTH_MAX} characters long`,
    },
  ].filter((violation) => violation !== false);
  if (violations.length > 0) throw malformed(violations);
}

/** Throws TernError INVALID_ARGUMENT when a topic is malformed or named twice. */
export function checkTopics(topics: readonly TopicQueues[], field: string): void {
  const seen = new Set<string>();
  for (const [at, { topic, queues }] of topics.entries()) {
    checkTopicName(topic, `${field}[${at}].topic`);
    if (queues < 1 || queues > QUEUES_MAX) {
      const description = `must be from 1 to ${QUEUES_MAX}`;
      throw malformed([{ field: `${field}[${at}].queues`, description }]);
    }
    if (seen.has(topic)) {
      const description = 'must not name a topic twice';
      throw malformed([{ field: `${field}[${at}].topic`, description }]);
    }
    seen.add(topic);
  }
}

function malformed(fields: readonly FieldViolation[]): TernError {
  const sentence = fields.map(({ field, description }) => `${field} ${description}`).join('; ');
  return new TernError('INVALID_ARGUMENT', 'MALFORMED_REQUEST', `${sentence}.`, { fields });
}
