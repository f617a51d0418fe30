// Who messages are delivered to: a stream, or one unary call.

/** What a consumer is to the delivery core. */
export interface Consumer {
  /** The name it gave itself. */
  readonly id: string;
  /** The end of its stream ends its leases. */
  readonly streaming: boolean;
  /** How long its deliveries may stay unsettled, in milliseconds. */
  readonly leaseMs: number;
  /** Messages and bytes that it may still be given; the last message may go past the bytes. */
  creditMessages: number;
  creditBytes: number;
  /** It takes no more before `ready` is called on the delivery again: its connection is clogged. */
  readonly clogged: boolean;
  /** Takes a frame: records, and the leases that they are delivered under. */
  deliver(frame: Buffer, messages: number): void;
  /** The topic was deleted, or the group: nothing will come any more. */
  end(reason: 'TOPIC_NOT_FOUND' | 'GROUP_NOT_FOUND'): void;
}

/** May the consumer be given something now? */
export function hasCredit(consumer: Consumer): boolean {
  return consumer.creditMessages > 0 && consumer.creditBytes > 0 && !consumer.clogged;
}
