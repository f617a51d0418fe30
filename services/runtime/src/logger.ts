// Structured logs through pino. One named child per part, nothing per message. They go to standard error:
// standard output belongs to what a command was asked for.

import { createRequire } from 'node:module';
import { type DestinationStream, destination, type Logger, pino } from 'pino';

export type { Logger };

/** From the least to the most talkative. */
export const LOG_LEVELS = ['silent', 'fatal', 'error', 'warn', 'info', 'debug', 'trace'] as const;

/** How much is logged. */
export type LogLevel = (typeof LOG_LEVELS)[number];

/** How logs look. */
export interface LoggerOptions {
  /** Least important level that is written. Default: info. */
  readonly level?: LogLevel;
  /** `json` one object a line, `text` for people. Default: text on a terminal, json elsewhere. */
  readonly format?: 'json' | 'text';
  /** Fields that every line carries, for example the broker's name. */
  readonly fields?: Readonly<Record<string, string | number>>;
  /** Where lines go. Default: standard error, written in the background. */
  readonly destination?: DestinationStream;
}

const STANDARD_ERROR = 2;

/** Lines that wait for a reader that does not read; beyond it they are dropped, never the service. */
const BUFFERED_BYTES_MAX = 4 * 1024 * 1024;

/** The logger of a process. `logger.child({ part: 'log' })` makes that of one part. */
export function createLogger(options: LoggerOptions = {}): Logger {
  const level = options.level ?? 'info';
  const format = options.format ?? (process.stderr.isTTY ? 'text' : 'json');
  const sink =
    options.destination ??
    destination({ fd: STANDARD_ERROR, sync: false, maxLength: BUFFERED_BYTES_MAX });
  const settings = {
    level,
    base: { ...options.fields },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    serializers: { error: pino.stdSerializers.errWithCause },
  };
  return format === 'json' ? pino(settings, sink) : pino(settings, readable(sink));
}

/** Turns lines for programs into lines for people on their way to the sink. */
function readable(sink: DestinationStream): DestinationStream {
  // Loaded here because it costs start-up time that a service without a terminal need not pay.
  const { prettyFactory } = createRequire(import.meta.url)(
    'pino-pretty',
  ) as typeof import('pino-pretty');
  const format = prettyFactory({
    colorize: process.stderr.isTTY === true && process.env.NO_COLOR === undefined,
    translateTime: 'SYS:HH:MM:ss.l',
    messageFormat: '{if part}{part}: {end}{msg}',
    ignore: 'part,pid,hostname',
    errorLikeObjectKeys: ['error', 'err'],
    singleLine: true,
  });
  return { write: (line) => sink.write(format(line)) };
}
