// Sends a file line by line. Lines travel in batches, some of them at the same time.

import { systemClock } from '@ternmq/runtime';
import type { OutgoingMessage, Producer } from '@ternmq/sdk';
import { showProgress } from '../../progress.ts';
import { type LineFormat, messageOfJson } from './line-message.ts';

const BATCH_MESSAGES = 512;
const BATCH_BYTES = 1 << 20;
const BATCHES_IN_FLIGHT = 16;
const FAILURES_TOLD = 3;

/** What became of the lines of a file. */
export interface SentLines {
  /** Messages that are stored. */
  messages: number;
  /** Lines that are no message, or were refused. */
  failed: number;
  /** Empty lines. */
  skipped: number;
  seconds: number;
}

/** What is sent. */
export interface LinesToSend {
  readonly topic: string;
  readonly lines: AsyncIterable<readonly Buffer[]>;
  readonly format: LineFormat;
  /** What all messages have, unless a line says otherwise. */
  readonly common: Omit<OutgoingMessage, 'body'>;
  readonly deadlineMs: number;
}

/** Sends every line; tells of the first failures. */
export async function sendLines(
  producer: Pick<Producer, 'sendBatch'>,
  { topic, lines, format, common, deadlineMs }: LinesToSend,
  warn: (text: string) => void,
): Promise<{ sent: SentLines; firstError: Error | undefined }> {
  const sent: SentLines = { messages: 0, failed: 0, skipped: 0, seconds: 0 };
  let firstError: Error | undefined;
  const startMs = systemClock.monotonicMs();
  const progress = showProgress('messages', () => sent.messages);

  const fail = (line: number, error: Error): void => {
    firstError ??= error;
    if (sent.failed++ < FAILURES_TOLD) warn(`line ${line}: ${error.message}\n`);
  };
  const inFlight = new Set<Promise<void>>();
  let batch: { line: number; message: OutgoingMessage }[] = [];
  let batchBytes = 0;
  const flush = async (): Promise<void> => {
    const sending = batch;
    batch = [];
    batchBytes = 0;
    const done = producer
      .sendBatch(
        topic,
        sending.map(({ message }) => message),
        { deadlineMs },
      )
      .then((outcomes) => {
        outcomes.forEach((outcome, index) => {
          if (outcome.status === 'stored') sent.messages++;
          else fail(sending[index]?.line ?? 0, outcome.error);
        });
        inFlight.delete(done);
      });
    inFlight.add(done);
    if (inFlight.size >= BATCHES_IN_FLIGHT) await Promise.race(inFlight);
  };

  try {
    let line = 0;
    for await (const some of lines) {
      for (const bytes of some) {
        line++;
        if (bytes.length === 0) {
          sent.skipped++;
          continue;
        }
        try {
          const own = format === 'json' ? messageOfJson(bytes.toString('utf8')) : { body: bytes };
          batch.push({ line, message: { ...common, ...own } });
        } catch (error) {
          fail(line, error as Error);
          continue;
        }
        batchBytes += bytes.length;
        if (batch.length >= BATCH_MESSAGES || batchBytes >= BATCH_BYTES) await flush();
      }
    }
    if (batch.length > 0) await flush();
    await Promise.all(inFlight);
  } finally {
    progress.stop();
  }
  sent.seconds = (systemClock.monotonicMs() - startMs) / 1000;
  return { sent, firstError };
}
