// What operators see, as plain objects: numbers instead of bigints, names instead of codes.

import {
  Acknowledgement,
  type RetryBackoff as BackoffMessage,
  type ConsumerDescription as ConsumerMessage,
  type DescribeBrokerResponse,
  ExhaustedAction,
  type Group,
  type QueueProgress as ProgressMessage,
  type PullMember,
  type StoppedMessage,
  type Topic,
  TopicKind,
  type Transaction,
  TransactionState,
} from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import { type StrategyName, strategyOf } from './assignment.ts';

/** Settings of a topic; what is absent takes the broker's default, or keeps its value in a change. */
export interface TopicSettings {
  /** Queues on each broker group, 1 to 1024. */
  readonly queues?: number;
  /** How long messages are kept at least, in milliseconds; 0 is the broker's default. */
  readonly retentionMs?: number;
  /** Bytes of each queue's newest messages that are kept; 0 is no limit. */
  readonly retentionBytes?: number;
  /** Which kind of messages it takes; `any` when nobody said. */
  readonly kind?: TopicKindName;
  /**
   * How long a message's repeats are known by its first key and dropped, in milliseconds, at most 24 h; 0 is not at all. On
   * each broker group: give messages an ordering key so that repeats come to the same one.
   */
  readonly deduplicationWindowMs?: number;
  /**
   * The newest message of each ordering key is retained, until one with the property TOMBSTONE removes the key; only when the
   * topic is created.
   */
  readonly compacted?: boolean;
  /** When senders are answered; `group` is as the broker group was told, also when nobody said. */
  readonly acknowledgement?: AcknowledgementName;
}

const ACKNOWLEDGEMENTS = {
  group: Acknowledgement.UNSPECIFIED,
  'in-sync': Acknowledgement.IN_SYNC,
  local: Acknowledgement.LOCAL,
  async: Acknowledgement.ASYNC,
} as const;

/**
 * When senders are answered: when every in-sync member of the broker group has the message on its disk, when the broker alone
 * has it (a machine that is lost takes messages with it), when it has written it (a loss of power does, too), or as the broker
 * group was told.
 */
export type AcknowledgementName = keyof typeof ACKNOWLEDGEMENTS;

/** The name of a value; undefined when it has none here. */
function nameOf<Name extends string>(
  names: Readonly<Record<Name, number>>,
  value: number | undefined,
): Name | undefined {
  return (Object.keys(names) as Name[]).find((name) => names[name] === value);
}

const KINDS = {
  any: TopicKind.UNSPECIFIED,
  normal: TopicKind.NORMAL,
  fifo: TopicKind.ORDERED,
  delay: TopicKind.DELAYED,
  transaction: TopicKind.TRANSACTIONAL,
  mixed: TopicKind.MIXED,
  priority: TopicKind.PRIORITY,
} as const;

/**
 * A kind of topics: plain messages, with an ordering key, delayed, of transactions, with a priority, or `mixed` and `any`
 * for all.
 */
export type TopicKindName = keyof typeof KINDS;

/** A topic on one broker group. */
export interface TopicDescription {
  readonly name: string;
  readonly broker: string;
  readonly topicId: number;
  readonly settings: Required<TopicSettings>;
  readonly createdMs: number;
}

/** A queue of a topic. */
export interface QueueDescription {
  readonly broker: string;
  readonly queueId: number;
  readonly beginOffset: number;
  readonly endOffset: number;
  readonly lastStoreTimeMs: number;
}

/** Pauses between deliveries that grow by a factor. */
export interface RetryBackoff {
  /** Pause before the second delivery, in milliseconds. */
  readonly initialMs: number;
  /** How many times longer each pause is than the one before, 1 to 100. Default: 2. */
  readonly multiplier?: number;
  /** Longest pause, in milliseconds. Default: 2 h. */
  readonly maxMs?: number;
}

/** Settings of a consumer group; what is absent takes the default, or keeps its value in a change. */
export interface GroupSettings {
  /** Deliveries of a message before it moves to the dead-letter topic. */
  readonly attemptsMax?: number;
  /** Pauses before the second, third, … delivery, in milliseconds. */
  readonly retryDelaysMs?: readonly number[];
  /** How long a delivered message may stay unsettled, in milliseconds. */
  readonly leaseMs?: number;
  /** Messages with the same ordering key are delivered one after the other. May change only without consumers. */
  readonly ordered?: boolean;
  /**
   * Ordered groups: what happens to a message after its last delivery. `deadLetter`: it moves to the dead letters and its
   * key goes on; `stop`: it stays and holds its key back until `releaseStopped`.
   */
  readonly exhausted?: 'deadLetter' | 'stop';
  /** Pauses that grow by a factor, instead of `retryDelaysMs`. */
  readonly retryBackoff?: RetryBackoff | undefined;
}

/** A message that holds back its ordering key. */
export interface StoppedDescription {
  readonly broker: string;
  readonly topic: string;
  readonly queueId: number;
  readonly offset: number;
  /** How often it was delivered. */
  readonly attempts: number;
}

/** A consumer group on one broker group. */
export interface GroupDescription {
  readonly name: string;
  readonly broker: string;
  /** Zeros, an empty list and no back-off stand for the defaults. */
  readonly settings: Required<GroupSettings>;
  readonly createdMs: number;
}

/** How far a group is in one queue. */
export interface ProgressDescription {
  readonly topic: string;
  readonly broker: string;
  readonly queueId: number;
  /** The broadcasting member whose progress it is; empty for the group's own. */
  readonly consumerId: string;
  readonly floorOffset: number;
  readonly nextOffset: number;
  readonly beginOffset: number;
  readonly endOffset: number;
  readonly inFlight: number;
  readonly waitingForRetry: number;
  /** Messages that are not settled. */
  readonly lag: number;
  /**
   * Of those, how many the group's subscription wants, by what its newest member asked for; absent when the broker is too
   * old to tell.
   */
  readonly lagMatching?: number;
  /** `lagMatching` is extrapolated: more messages wait than the broker has looked at. */
  readonly lagMatchingEstimated: boolean;
  /** How long ago the oldest one of them was stored, in milliseconds; 0 when there is none. */
  readonly lagMs: number;
  /** Of those that wait for another delivery: how many hold back their ordering key until they are released. */
  readonly stopped: number;
}

/** A broadcasting member of a group, connected or not. */
export interface BroadcastMemberDescription {
  readonly broker: string;
  readonly topic: string;
  readonly consumerId: string;
  /** When it was last known to be connected, exact to an hour, in milliseconds since 1970 UTC. */
  readonly seenMs: number;
}

/** A consumer that is connected. */
export interface ConsumerDescription {
  readonly broker: string;
  readonly consumerId: string;
  readonly address: string;
  readonly mode: 'clustering' | 'broadcasting';
  readonly subscriptions: readonly {
    readonly topic: string;
    readonly tags: string;
    /** Empty when there is no SQL condition. */
    readonly sql: string;
  }[];
}

/** A member of a group that pulls and shares queues. */
export interface PullMemberDescription {
  readonly broker: string;
  readonly topic: string;
  readonly consumerId: string;
  readonly address: string;
  readonly strategy: StrategyName;
  /** The machine room; empty for strategies that do not ask. */
  readonly room: string;
  /** Queues of the broker that it reads. */
  readonly queueIds: readonly number[];
}

/** A broker, as it tells of itself. */
export interface BrokerDescription {
  readonly name: string;
  readonly id: number;
  readonly version: string;
  readonly uptimeMs: number;
  readonly flushMode: string;
  readonly logStartPosition: number;
  readonly writtenPosition: number;
  readonly durablePosition: number;
  readonly statePosition: number;
  readonly diskFreeBytes: number;
  readonly diskTotalBytes: number;
  readonly acceptingSends: boolean;
  readonly topics: number;
  readonly groups: number;
  readonly corruptRanges: number;
  /** It leads its broker group. */
  readonly leading: boolean;
  /** Epoch of the newest record of its log; of a master, of its leadership. */
  readonly epoch: number;
  /** Members that every acknowledgement waits for; empty when it does not lead. */
  readonly inSync: readonly number[];
  /** Its slaves; empty when it does not lead. */
  readonly replicas: readonly ReplicaDescription[];
  /** Where its master is; empty when it leads, or knows of none. */
  readonly masterAddress: string;
  /** Bytes that were cut off its log since it was started, because the master never had them. */
  readonly divergentBytes: number;
  /** It serves consumers, because the master of its group is gone. */
  readonly standingIn: boolean;
}

/** A slave as its master sees it. */
export interface ReplicaDescription {
  readonly id: number;
  /** Its stream is open. */
  readonly connected: boolean;
  /** Position before which its log is durable, as far as the master knows. */
  readonly durablePosition: number;
  /** Bytes of the master's log that it lacks. */
  readonly lagBytes: number;
  /** Acknowledgements wait for it. */
  readonly inSync: boolean;
}

/** What became of a transaction. */
export type TransactionStateName = 'open' | 'committed' | 'rolled back';

/** A transaction on one broker. */
export interface TransactionDescription {
  /** Names it. */
  readonly transactionId: string;
  readonly broker: string;
  /** Empty when the topic was deleted. */
  readonly topic: string;
  readonly producerGroup: string;
  /** Number of its messages. */
  readonly messages: number;
  readonly state: TransactionStateName;
  readonly begunMs: number;
  /** Times that a producer was asked for the outcome. */
  readonly checks: number;
  /** When a producer is asked next; 0 when it has ended. */
  readonly nextCheckMs: number;
  /** 0 while it is open. */
  readonly endedMs: number;
  /** Why it was decided; empty while it is open. */
  readonly cause: string;
}

const STATES = {
  open: TransactionState.OPEN,
  committed: TransactionState.COMMITTED,
  'rolled back': TransactionState.ROLLED_BACK,
} as const;

/** A transaction's state as the broker takes it; all of them when absent. */
export function transactionState(name: TransactionStateName | undefined): TransactionState {
  return name === undefined ? TransactionState.UNSPECIFIED : STATES[name];
}

/** Describes a transaction. */
export function transactionOf(broker: string, transaction: Transaction): TransactionDescription {
  const { transactionId, topic, producerGroup, messages, checks, cause } = transaction;
  return {
    transactionId,
    broker,
    topic,
    producerGroup,
    messages,
    state: nameOf(STATES, transaction.state) ?? 'open',
    begunMs: Number(transaction.begunMs),
    checks,
    nextCheckMs: Number(transaction.nextCheckMs),
    endedMs: Number(transaction.endedMs),
    cause,
  };
}

/** Describes a topic. */
export function topicOf(broker: string, topic: Topic): TopicDescription {
  return {
    name: topic.name,
    broker,
    topicId: topic.topicId,
    settings: {
      queues: topic.settings?.queues ?? 0,
      retentionMs: Number(topic.settings?.retentionMs ?? 0n),
      retentionBytes: Number(topic.settings?.retentionBytes ?? 0n),
      kind: nameOf(KINDS, topic.settings?.kind) ?? 'any',
      deduplicationWindowMs: Number(topic.settings?.deduplicationWindowMs ?? 0n),
      compacted: topic.settings?.compacted ?? false,
      acknowledgement: nameOf(ACKNOWLEDGEMENTS, topic.settings?.acknowledgement) ?? 'group',
    },
    createdMs: Number(topic.createdMs),
  };
}

/** Describes a group. */
export function groupOf(broker: string, group: Group): GroupDescription {
  return {
    name: group.name,
    broker,
    settings: {
      attemptsMax: group.settings?.attemptsMax ?? 0,
      retryDelaysMs: group.settings?.retryDelaysMs ?? [],
      leaseMs: group.settings?.leaseMs ?? 0,
      ordered: group.settings?.ordered ?? false,
      exhausted: group.settings?.exhaustedAction === ExhaustedAction.STOP ? 'stop' : 'deadLetter',
      retryBackoff: backoffOf(group.settings?.retryBackoff),
    },
    createdMs: Number(group.createdMs),
  };
}

function backoffOf(backoff: BackoffMessage | undefined): RetryBackoff | undefined {
  if (backoff === undefined) return undefined;
  const { initialMs, multiplier, maxMs } = backoff;
  return { initialMs, multiplier, maxMs };
}

/** Describes progress. */
export function progressOf(
  broker: string,
  topic: string,
  consumerId: string,
  message: ProgressMessage,
): ProgressDescription {
  return {
    topic,
    broker,
    queueId: message.queueId,
    consumerId,
    floorOffset: Number(message.floorOffset),
    nextOffset: Number(message.nextOffset),
    beginOffset: Number(message.beginOffset),
    endOffset: Number(message.endOffset),
    inFlight: Number(message.inFlight),
    waitingForRetry: Number(message.waitingForRetry),
    lag: Number(message.lag),
    ...(message.lagMatching === undefined ? {} : { lagMatching: Number(message.lagMatching) }),
    lagMatchingEstimated: message.lagMatchingEstimated,
    lagMs: Number(message.lagMs),
    stopped: Number(message.stopped),
  };
}

/** Describes a message that holds back its ordering key. */
export function stoppedOf(
  broker: string,
  { topic, queueId, offset, attempts }: StoppedMessage,
): StoppedDescription {
  return { broker, topic, queueId, offset: Number(offset), attempts };
}

/** Describes a consumer. */
export function consumerOf(broker: string, message: ConsumerMessage): ConsumerDescription {
  const BROADCASTING = 2;
  return {
    broker,
    consumerId: message.consumerId,
    address: message.address,
    mode: message.mode === BROADCASTING ? 'broadcasting' : 'clustering',
    subscriptions: message.subscriptions.map(({ topic, tags, sql }) => ({
      topic,
      tags: tags || '*',
      sql,
    })),
  };
}

/** Describes a member that pulls. */
export function pullMemberOf(broker: string, member: PullMember): PullMemberDescription {
  const { topic, consumerId, address, room, queueIds } = member;
  const strategy = strategyOf(member.strategy);
  return { broker, topic, consumerId, address, strategy, room, queueIds };
}

/** Describes a broker. */
export function brokerDescription(message: DescribeBrokerResponse): BrokerDescription {
  return {
    name: message.name,
    id: message.id,
    version: message.version,
    uptimeMs: Number(message.uptimeMs),
    flushMode: message.flushMode,
    logStartPosition: Number(message.logStartPosition),
    writtenPosition: Number(message.writtenPosition),
    durablePosition: Number(message.durablePosition),
    statePosition: Number(message.statePosition),
    diskFreeBytes: Number(message.diskFreeBytes),
    diskTotalBytes: Number(message.diskTotalBytes),
    acceptingSends: message.acceptingSends,
    topics: message.topics,
    groups: message.groups,
    corruptRanges: message.corruptRanges,
    leading: message.leading,
    epoch: message.epoch,
    inSync: message.inSync,
    replicas: message.replicas.map(({ id, connected, durablePosition, lagBytes, inSync }) => ({
      id,
      connected,
      durablePosition: Number(durablePosition),
      lagBytes: Number(lagBytes),
      inSync,
    })),
    masterAddress: message.masterAddress,
    divergentBytes: Number(message.divergentBytes),
    standingIn: message.standingIn,
  };
}

/** A topic's settings as the broker takes them. */
export function topicSettings(settings: TopicSettings): {
  queues: number;
  retentionMs: bigint;
  retentionBytes: bigint;
  kind: TopicKind;
  deduplicationWindowMs?: bigint;
  compacted?: boolean;
  acknowledgement?: Acknowledgement;
} {
  const { deduplicationWindowMs: windowMs, compacted, acknowledgement } = settings;
  return {
    queues: settings.queues ?? 0,
    retentionMs: BigInt(settings.retentionMs ?? 0),
    retentionBytes: BigInt(settings.retentionBytes ?? 0),
    kind: KINDS[settings.kind ?? 'any'],
    ...(windowMs === undefined ? {} : { deduplicationWindowMs: BigInt(windowMs) }),
    ...(compacted === undefined ? {} : { compacted }),
    ...(acknowledgement === undefined
      ? {}
      : { acknowledgement: ACKNOWLEDGEMENTS[acknowledgement] }),
  };
}

/** A group's settings as the broker takes them. */
export function groupSettings(settings: GroupSettings): {
  attemptsMax: number;
  retryDelaysMs: number[];
  leaseMs: number;
  ordered?: boolean;
  exhaustedAction: ExhaustedAction;
  retryBackoff?: { initialMs: number; multiplier: number; maxMs: number };
} {
  const { ordered, exhausted, retryBackoff } = settings;
  return {
    attemptsMax: settings.attemptsMax ?? 0,
    retryDelaysMs: [...(settings.retryDelaysMs ?? [])],
    leaseMs: settings.leaseMs ?? 0,
    ...(ordered === undefined ? {} : { ordered }),
    exhaustedAction: exhausted === undefined ? ExhaustedAction.UNSPECIFIED : ACTIONS[exhausted],
    ...(retryBackoff === undefined
      ? {}
      : { retryBackoff: { multiplier: 0, maxMs: 0, ...retryBackoff } }),
  };
}

const ACTIONS = {
  deadLetter: ExhaustedAction.DEAD_LETTER,
  stop: ExhaustedAction.STOP,
} as const;
