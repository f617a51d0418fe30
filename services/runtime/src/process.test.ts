import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

interface Outcome {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Runs a program that has runUntilSignal, createLogger, and `hold` to keep it alive and to release it. */
function run(body: string): { child: ChildProcessWithoutNullStreams; outcome: Promise<Outcome> } {
  const source = (name: string): string => JSON.stringify(import.meta.resolve(name));
  const program = `
    import { runUntilSignal } from ${source('./process.ts')};
    import { createLogger } from ${source('./logger.ts')};
    const logger = createLogger();
    let timer;
    const hold = () => { timer = setInterval(() => {}, 1e6); };
    const release = () => clearInterval(timer);
    const say = (word) => process.stdout.write(word + '\\n');
    ${body}`;
  const child = spawn(
    process.execPath,
    ['--conditions=source', '--input-type=module', '--eval', program],
    { cwd: fileURLToPath(new URL('.', import.meta.url)) },
  );
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (bytes) => {
    stdout += bytes;
  });
  child.stderr.on('data', (bytes) => {
    stderr += bytes;
  });
  const outcome = once(child, 'close').then(([code]) => ({ code, stdout, stderr }));
  return { child, outcome };
}

test('stops in order after a signal and exits with 0', async () => {
  const { child, outcome } = run(`await runUntilSignal({
    start: async () => { hold(); say('started'); },
    stop: async () => { release(); say('stopped'); },
    logger,
  });`);
  child.stdout.once('data', () => child.kill('SIGTERM'));
  expect(await outcome).toMatchObject({
    code: 0,
    stdout: 'started\nstopped\n',
    stderr: expect.stringContaining('stopping after SIGTERM'),
  });
});

test('exits even when something is left open, and says so', async () => {
  const { child, outcome } = run(`await runUntilSignal({
    start: async () => { hold(); say('started'); },
    stop: async () => {},
    logger,
  });`);
  child.stdout.once('data', () => child.kill('SIGINT'));
  expect(await outcome).toMatchObject({
    code: 0,
    stderr: expect.stringContaining('something was left open'),
  });
});

test('leaves at once at the second signal', async () => {
  const { child, outcome } = run(`await runUntilSignal({
    start: async () => { hold(); say('started'); },
    stop: () => { say('stopping'); return new Promise(() => {}); },
    logger,
  });`);
  child.stdout.on('data', () => child.kill('SIGTERM'));
  expect(await outcome).toMatchObject({ code: 143, stdout: 'started\nstopping\n' });
});

test('leaves with 1 when stopping takes too long', async () => {
  const { child, outcome } = run(`await runUntilSignal({
    start: async () => { hold(); say('started'); },
    stop: () => new Promise(() => {}),
    logger,
    graceMs: 50,
  });`);
  child.stdout.once('data', () => child.kill('SIGTERM'));
  expect(await outcome).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('did not stop within 50 ms'),
  });
});

test('stops what has started when the start fails, and exits with 1', async () => {
  const { outcome } = run(`await runUntilSignal({
    start: async () => { hold(); throw new Error('no data directory'); },
    stop: async () => { release(); say('stopped'); },
    logger,
  });`);
  expect(await outcome).toMatchObject({
    code: 1,
    stdout: 'stopped\n',
    stderr: expect.stringContaining('no data directory'),
  });
});

test('exits with 1 at once after a fault that nothing handled', async () => {
  const { outcome } = run(`await runUntilSignal({
    start: async () => { hold(); Promise.reject(new Error('a bug')); },
    stop: async () => say('stopped'),
    logger,
  });`);
  expect(await outcome).toMatchObject({
    code: 1,
    stdout: '',
    stderr: expect.stringContaining('a bug'),
  });
});
