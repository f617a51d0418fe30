// How a command ends: the exit codes, and which errors lead to which.

import { CommanderError } from 'commander';

/** Exit codes; scripts rely on them. */
export const ExitCode = {
  OK: 0,
  ERROR: 1,
  USAGE: 2,
  PARTIAL: 3,
  NOT_FOUND: 4,
  DENIED: 5,
  UNAVAILABLE: 6,
} as const;

/** The command line asks for something that makes no sense. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'UsageError';
  }
}

/** A part of the work failed and was told of; the rest is done. */
export class PartialFailure extends Error {
  readonly code = 'PARTIAL';

  constructor(message: string) {
    super(message);
    this.name = 'PartialFailure';
  }
}

const USAGE = new Set(['INVALID_OPTION', 'UNKNOWN_OPTION', 'BAD_OPTION']);
const DENIED = new Set(['PERMISSION_DENIED', 'UNAUTHENTICATED']);
const UNAVAILABLE = new Set([
  'UNAVAILABLE',
  'DEADLINE_EXCEEDED',
  'NAMESERVER_UNREACHABLE',
  'BROKER_UNREACHABLE',
  'NO_BROKER',
  'OUTCOME_UNKNOWN',
]);

/** The stable name of an error's cause, when it has one. */
export function codeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null) return undefined;
  const { reason, code } = error as { reason?: unknown; code?: unknown };
  if (typeof reason === 'string') return reason;
  return typeof code === 'string' ? code : undefined;
}

/** The exit code of a command that ended with this error. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? ExitCode.OK : ExitCode.USAGE;
  if (error instanceof UsageError) return ExitCode.USAGE;
  const code = codeOf(error) ?? '';
  const { status, code: kind } = (error ?? {}) as { status?: unknown; code?: unknown };
  const is = (set: ReadonlySet<unknown>): boolean =>
    set.has(code) || set.has(status) || set.has(kind);
  if (is(USAGE)) return ExitCode.USAGE;
  if (code === 'PARTIAL') return ExitCode.PARTIAL;
  if ([code, status, kind].some((name) => /(^|_)NOT_FOUND$/.test(String(name)))) {
    return ExitCode.NOT_FOUND;
  }
  if (is(DENIED)) return ExitCode.DENIED;
  if (is(UNAVAILABLE)) return ExitCode.UNAVAILABLE;
  return ExitCode.ERROR;
}
