// The rows of a group's progress in one queue.

import type { TopicProgress } from './groups.ts';
import { queueKey, retryKey, Table } from './keys.ts';
import type { Batch } from './store.ts';

/** Adds what has changed of a progress in a queue to a batch: its row, and those of its retries. */
export function collectProgress(
  progress: TopicProgress,
  queueId: number,
  puts: Batch['puts'],
  removes: Batch['removes'],
): void {
  const queue = progress.queues[queueId];
  if (queue === undefined) return;
  puts.push({ key: queueKey(Table.FLOORS, progress.id, queueId), value: queue.encode() });
  for (const offset of queue.takeDirtyRetries()) {
    const key = retryKey(progress.id, queueId, offset);
    const value = queue.encodeRetry(offset);
    if (value === undefined) removes.push(key);
    else puts.push({ key, value });
  }
}
