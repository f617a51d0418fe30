import { expect, test } from 'vitest';
import { createLogger } from './logger.ts';

function capture(format: 'json' | 'text'): {
  lines: string[];
  logger: ReturnType<typeof createLogger>;
} {
  const lines: string[] = [];
  const destination = { write: (line: string) => void lines.push(line) };
  return { lines, logger: createLogger({ format, fields: { broker: 'broker-a' }, destination }) };
}

test('writes one JSON object a line with level, part, fields and the error with its causes', () => {
  const { lines, logger } = capture('json');
  const error = new Error('outer', { cause: new Error('inner') });
  logger.child({ part: 'log' }).error({ error }, 'failed');
  logger.debug('not written by default');
  expect(lines).toHaveLength(1);
  const line = JSON.parse(lines[0] ?? '');
  expect(line).toMatchObject({ level: 'error', part: 'log', broker: 'broker-a', msg: 'failed' });
  expect(line.error.message).toBe('outer');
  expect(line.error.cause.message).toBe('inner');
  expect(new Date(line.time).getFullYear()).toBeGreaterThan(2000);
});

test('writes a line for people with the part in front', () => {
  const { lines, logger } = capture('text');
  logger.child({ part: 'log' }).info('opened');
  expect(lines.join('')).toMatch(/INFO.*: log: opened/);
});
