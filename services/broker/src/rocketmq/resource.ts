// Names of topics and groups. Those in a namespace are `<namespace>%<name>` here, as in RocketMQ; clients see them apart.

import { Code, type Resource } from '@ternmq/proto/gen/apache/rocketmq/v2/definition_pb';
import { Refused } from './status.ts';

const DEAD_LETTERS = '%DLQ%';
const TOPIC = /^[%|a-zA-Z0-9_-]{1,127}$/;
const GROUP = /^[%|a-zA-Z0-9_-]{1,120}$/;
/** Names that RocketMQ keeps for itself. */
const RESERVED_TOPIC =
  /^(TBW102|SCHEDULE_TOPIC_XXXX|BenchmarkTest|RMQ_SYS_.*|rmq_sys_.*|TRANS_CHECK_MAX_TIME_TOPIC|SELF_TEST_TOPIC|OFFSET_MOVED_EVENT|CHECKPOINT_TOPIC)$/;
const RESERVED_GROUP = /^(DEFAULT_CONSUMER|CID_RMQ_SYS_.*)$/;

/** The name of a resource; empty when there is none. The resource's own namespace counts before that of the call. */
export function nameOf(resource: Resource | undefined, namespace: string): string {
  if (resource === undefined || resource.name === '') return '';
  const within = resource.resourceNamespace === '' ? namespace : resource.resourceNamespace;
  if (within === '') return resource.name;
  if (!resource.name.startsWith(DEAD_LETTERS)) return `${within}%${resource.name}`;
  return `${DEAD_LETTERS}${within}%${resource.name.slice(DEAD_LETTERS.length)}`;
}

/** The topic that is meant. Throws Refused (ILLEGAL_TOPIC). */
export function topicNameOf(resource: Resource | undefined, namespace: string): string {
  const name = nameOf(resource, namespace);
  if (TOPIC.test(name) && !RESERVED_TOPIC.test(resource?.name ?? '')) return name;
  throw new Refused(
    Code.ILLEGAL_TOPIC,
    `${name === '' ? 'no topic is named' : `${name} is no name of a topic`}: it has 1 to 127 characters of [%|a-zA-Z0-9_-], and is none that RocketMQ keeps for itself`,
  );
}

/** The group that is meant. Throws Refused (ILLEGAL_CONSUMER_GROUP). */
export function groupNameOf(resource: Resource | undefined, namespace: string): string {
  const name = nameOf(resource, namespace);
  if (GROUP.test(name) && !RESERVED_GROUP.test(resource?.name ?? '')) return name;
  throw new Refused(
    Code.ILLEGAL_CONSUMER_GROUP,
    `${name === '' ? 'no group is named' : `${name} is no name of a group`}: it has 1 to 120 characters of [%|a-zA-Z0-9_-], and is none that RocketMQ keeps for itself`,
  );
}
