// The public surface of the SDK, and nothing else.

export type { Admin, CopyStep } from './admin.ts';
export type { Compression } from './body-encoding.ts';
export type { CallOptions } from './call-time.ts';
export { Client, type ClientOptions } from './client.ts';
export type { Clock, Timer } from './clock.ts';
export type { Consumer, ConsumerOptions } from './consumer.ts';
export type { ResendChoice, ResendResult } from './dead-letters.ts';
export { DELAY_LEVELS, type DelayLevel } from './delay.ts';
export type { DeliveredMessage } from './delivered-message.ts';
export { isMqError, MqError, type MqErrorOptions } from './errors.ts';
export type { Logger } from './event-log.ts';
export type { ClientEvent, EventListener } from './events.ts';
export type { Frame, FrameConsumer, FrameHandler } from './frame-consumer.ts';
export type { FrameReceipt, FrameRest, FrameSender } from './frame-sender.ts';
export type {
  GroupPullConsumer,
  GroupPullOptions,
  SharedTopicOptions,
} from './group-pull-consumer.ts';
export { type HandlerRun, type MessageHandler, Reject, RetryAfter } from './handler-run.ts';
export type { QueueListener } from './held-queues.ts';
export type {
  MessageOrigin,
  OutgoingMessage,
  QueueId,
  QueueSelector,
  Receipt,
  SendOutcome,
  StartPoint,
  SubscriptionFilter,
} from './message.ts';
export { TOMBSTONE } from './message.ts';
export type { MessageQuery } from './message-query.ts';
export type { MessageStream } from './message-stream.ts';
export type { OutgoingValue, Producer, ProducerOptions, SendOptions } from './producer.ts';
export type {
  OffsetStore,
  PollOptions,
  PullConsumer,
  PullConsumerOptions,
  TopicQueue,
} from './pull-consumer.ts';
export type { ReceivedMessage } from './received-message.ts';
export type { Repair } from './repair.ts';
export type { OutgoingReply, Reply, RequestOptions } from './request-reply.ts';
export type { ResetStep, ResetTarget } from './reset.ts';
export {
  type BodyCodec,
  bytes,
  defineTopic,
  json,
  type TopicHandle,
  text,
} from './topic-handle.ts';
export type {
  PendingTransaction,
  TransactionChecker,
  TransactionOutcome,
} from './transaction-watch.ts';
export type { Transaction } from './transactions.ts';
export type { StrategyName } from './transport/assignment.ts';
export type { DeadLetter } from './transport/dead-letters.ts';
export type {
  AcknowledgementName,
  BroadcastMemberDescription,
  BrokerDescription,
  ConsumerDescription,
  GroupDescription,
  GroupSettings,
  ProgressDescription,
  PullMemberDescription,
  QueueDescription,
  ReplicaDescription,
  RetryBackoff,
  StoppedDescription,
  TopicDescription,
  TopicKindName,
  TopicSettings,
  TransactionDescription,
  TransactionStateName,
} from './transport/descriptions.ts';
export type { RouteBroker } from './transport/route.ts';
export type { MessageTrace, TraceEvent, TraceEventName } from './transport/trace.ts';
export type { RecordSlice } from './wire/delivery.ts';
export type { EncodedFrame } from './wire/frame.ts';
