import { expect, test } from 'vitest';
import { Child, expectSuccess } from './child-process.ts';
import { eventually } from './eventually.ts';

const WITHIN_MS = 10_000;

function node(script: string): Child {
  return new Child(process.execPath, ['-e', script]);
}

test('a child’s output and exit code are kept', async () => {
  await using child = node("console.log('out'); console.error('err'); process.exitCode = 3");
  expect(await child.exited).toEqual({ code: 3, signal: null });
  expect([child.stdout, child.stderr]).toEqual(['out\n', 'err\n']);
});

test('a killed child has ended when kill returns, and killing it again is harmless', async () => {
  await using child = node('setInterval(() => {}, 1000)');
  expect(await child.kill()).toEqual({ code: null, signal: 'SIGKILL' });
  expect(await child.kill()).toEqual({ code: null, signal: 'SIGKILL' });
  expect(() => process.kill(child.pid, 0)).toThrow('ESRCH');
});

test('a child that nobody waits for is killed when it is disposed', async () => {
  let pid = 0;
  {
    await using child = node('setInterval(() => {}, 1000)');
    pid = child.pid;
  }
  expect(() => process.kill(pid, 0)).toThrow('ESRCH');
});

test('a child is told to finish by the end of its input', async () => {
  await using child = node("process.stdin.resume().on('end', () => console.log('done'))");
  child.endInput();
  await expectSuccess(child, 'the child', WITHIN_MS);
  expect(child.stdout).toBe('done\n');
});

test('a child that fails or does not end is an error with its output', async () => {
  await using failing = node("console.error('the reason'); process.exitCode = 1");
  await expect(expectSuccess(failing, 'the child', WITHIN_MS)).rejects.toThrow(
    /the child ended with exit code 1\s+the reason/,
  );
  await using endless = node('setInterval(() => {}, 1000)');
  await expect(expectSuccess(endless, 'the child', 200)).rejects.toThrow(/SIGKILL/);
});

test('a command that does not exist is an error', async () => {
  const child = new Child('/nonexistent', []);
  await expect(child.exited).rejects.toThrow('/nonexistent could not be started');
});

test('asking eventually gives the first answer, or the last error when the time is up', async () => {
  let asked = 0;
  const answer = await eventually('three', () => (++asked < 3 ? undefined : asked), {
    withinMs: WITHIN_MS,
    everyMs: 1,
  });
  expect(answer).toBe(3);
  const never = eventually('never', () => Promise.reject(new Error('why')), {
    withinMs: 20,
    everyMs: 1,
  });
  await expect(never).rejects.toMatchObject({
    message: 'never: not within 20 ms',
    cause: new Error('why'),
  });
});
