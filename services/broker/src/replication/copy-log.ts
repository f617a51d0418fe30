// Takes a master's whole log, for a slave that has nothing, or nothing that the master still keeps. No state follows from
// the first bytes of a log whose beginning is gone: it is built when all is here, from the snapshot that every log has.
//
// The file `copying` says that the folder has a part of a log and no state: a slave that finds it begins anew.

import { join } from 'node:path';
import { type Clock, type Disk, TernError } from '@ternmq/runtime';
import { CommitLog } from '../log/commit-log.ts';
import type { LogOptions } from '../log/log-options.ts';
import type { Run } from '../log/run-reader.ts';
import { type Segment, Segments } from '../log/segments.ts';
import { removeLog } from './cut-tail.ts';
import { MasterLink, type SlaveIdentity } from './master-link.ts';

const MARK = 'copying';
const NOTHING = { epochs: [], start: 0, end: 0, durable: 0, copying: true } as const;

/** Removes what a copy left that did not come to its end; says whether there was one. */
export function removeUnfinishedCopy(folder: string, disk: Disk): boolean {
  if (!disk.exists(join(folder, MARK))) return false;
  removeLog(folder, disk);
  disk.remove(join(folder, MARK));
  return true;
}

/**
 * Replaces the log of a data folder, which is closed, by the master's; resolves when everything that the master had at the
 * beginning is durable. Rejects when the stream breaks: then the folder has nothing.
 */
export async function copyLog(
  options: LogOptions,
  from: { readonly master: string; readonly identity: SlaveIdentity },
  modules: { disk: Disk; clock: Clock; signal: AbortSignal },
): Promise<void> {
  const { disk } = modules;
  disk.replaceSmall(join(options.folder, MARK), Buffer.alloc(0));
  removeLog(options.folder, disk);
  let log: CommitLog | undefined;
  try {
    log = await receive(options, from, modules, (opened) => {
      log = opened;
    });
    await log.close();
  } catch (error) {
    await log?.close();
    removeUnfinishedCopy(options.folder, disk);
    throw error;
  }
  disk.remove(join(options.folder, MARK));
}

function receive(
  options: LogOptions,
  { master, identity }: { readonly master: string; readonly identity: SlaveIdentity },
  { disk, clock, signal }: { disk: Disk; clock: Clock; signal: AbortSignal },
  opened: (log: CommitLog) => void,
): Promise<CommitLog> {
  return new Promise((resolve, reject) => {
    let log: CommitLog | undefined;
    let end = 0;
    const fail = (error: Error): void => {
      signal.removeEventListener('abort', abort);
      link.close();
      reject(error);
    };
    const abort = (): void => fail(signal.reason as Error);
    const take = (run: Run): void => {
      log?.follow(run.position, run.bytes, run.segment, () => {});
    };
    const link = new MasterLink(
      master,
      identity,
      NOTHING,
      {
        follow: ({ endPosition }) => {
          end = Number(endPosition);
        },
        records: (run) => {
          if (run.bytes.length === 0) return;
          if (log !== undefined) {
            take(run);
            return;
          }
          link.pause();
          const { bytes } = run;
          openAt(options, run.segment, { disk, clock }).then(
            (fresh) => {
              log = fresh;
              opened(fresh);
              fresh.observe({
                advanced() {
                  link.durable(fresh.durable);
                  if (fresh.durable < end) return;
                  signal.removeEventListener('abort', abort);
                  link.close();
                  resolve(fresh);
                },
                failed: fail,
              });
              try {
                take({ ...run, bytes });
              } catch (error) {
                fail(error as Error);
              }
              link.resume();
            },
            (error: Error) => fail(error),
          );
        },
        ended: (why) =>
          fail(
            new TernError(
              'UNAVAILABLE',
              'COPY_BROKEN',
              `the copy of the master's log from ${master} broke off: ${why}; it begins anew`,
            ),
          ),
      },
      clock,
    );
    signal.addEventListener('abort', abort);
  });
}

/** An empty log that begins where the master's does. */
async function openAt(
  options: LogOptions,
  segment: Segment,
  modules: { disk: Disk; clock: Clock },
): Promise<CommitLog> {
  const { folder, segmentBytes } = options;
  const segments = new Segments({ folder: join(folder, 'log'), segmentBytes }, modules.disk);
  segments.shape(segment.start, segment.end - segment.start);
  segments.close();
  const from = { position: segment.start, epoch: 0 };
  const { log } = await CommitLog.open({ ...options, following: true }, modules, from, () => {});
  return log;
}
