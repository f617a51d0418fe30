// Messages that were delivered and wait for their turn: first come, first served, but more urgent ones before others.

import type { DeliveredMessage } from './delivered-message.ts';

/** A message that waits for its turn. */
export interface Waiting<Value> {
  readonly message: DeliveredMessage<Value>;
  /** Called when it is taken up. */
  readonly credit: () => void;
}

/** Puts a message behind those that are as urgent, and before those that are less. */
export function addByPriority<Value>(list: Waiting<Value>[], one: Waiting<Value>): void {
  const urgency = one.message.priority ?? 0;
  const before = list.findLastIndex(({ message }) => (message.priority ?? 0) >= urgency);
  if (before === list.length - 1) list.push(one);
  else list.splice(before + 1, 0, one);
}
