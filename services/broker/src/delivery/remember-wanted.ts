// Remembers in the log what a group wants of a topic, so that its lag is known without it.

import { TernError } from '@ternmq/runtime';
import type { TopicProgress } from '../state/groups.ts';
import type { StateLog } from '../state/state-log.ts';
import { type MessageFilter, parseMessageFilter } from './message-filter.ts';

/** Writes a record if a progress's members want something else than before. */
export function rememberWanted(
  stateLog: StateLog,
  progress: TopicProgress,
  { wanted, canonical }: MessageFilter,
): void {
  const before = progress.wanted;
  if (wanted.tags === before.tags && wanted.sql === before.sql) return;
  // Written differently, it may still be the same.
  if (parseMessageFilter(before.tags, before.sql).canonical === canonical) return;
  const value = {
    $typeName: 'ternmq.log.v1.FilterSet' as const,
    progressId: progress.id,
    ...wanted,
  };
  try {
    stateLog.change({ case: 'filterSet', value });
  } catch (error) {
    // A log that takes nothing now, as on a full disk, keeps nobody from subscribing; the next member says it again.
    if (!(error instanceof TernError)) throw error;
  }
}
