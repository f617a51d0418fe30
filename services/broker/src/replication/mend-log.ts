// Brings a log that parts from its master's to where both are the same: takes back what the master never had, or takes the
// master's log whole.

import type { Clock, Disk, Logger } from '@ternmq/runtime';
import type { LogOptions } from '../log/log-options.ts';
import { copyLog } from './copy-log.ts';
import { cutTail, setLogAside } from './cut-tail.ts';
import type { Parting } from './following.ts';
import type { SlaveIdentity } from './master-link.ts';

/** A log that is closed, as it was. */
export interface ClosedLog {
  readonly start: number;
  readonly end: number;
  readonly epoch: number;
  /** Up to where the state store holds. */
  readonly storePosition: number;
}

/** Mends a log that is closed; returns how many bytes were cut off. Throws as copyLog. */
export async function mendLog(
  options: LogOptions,
  { start, ...cut }: ClosedLog,
  { common, master }: Parting,
  slave: SlaveIdentity,
  modules: { disk: Disk; clock: Clock; logger: Logger; signal: AbortSignal },
): Promise<number> {
  const { disk, logger } = modules;
  if (common === undefined) {
    if (cut.end > 0) {
      const aside = setLogAside(options.folder, { ...cut, start }, disk);
      logger.warn({ aside, ...cut }, 'the log has nothing that its master still has: put it aside');
    }
    logger.info({ master }, "takes the master's log whole");
    await copyLog(options, { master, identity: slave }, modules);
    return 0;
  }
  if (common >= cut.end) return 0;
  const aside = await cutTail(options, { ...cut, position: common }, disk);
  logger.warn(
    { from: common, to: cut.end, aside },
    'cut what the master never had off the log, and kept it aside',
  );
  return cut.end - common;
}
