// Adds up what `.ci/run` left in a folder: per suite NAME.exit with its exit code, and NAME.json from
// vitest or NAME.txt that closes with `N passed, N failed`. Prints why tests were skipped, what failed
// without a test to its name, and the sum; exits with 1 when anything failed. Any Node from 20 on.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const folder = process.argv[2];
if (folder === undefined) throw new Error('name the folder with the results');

/** Counts of a vitest report; files that failed as a whole count as one. */
function fromVitest(name, report) {
  const tests = report.testResults.flatMap((file) => file.assertionResults);
  for (const test of tests.filter((one) => one.status === 'skipped' || one.status === 'pending')) {
    console.log(`skipped: ${name}: ${test.fullName}: ${test.meta?.skipped ?? 'no reason given'}`);
  }
  const brokenFiles = report.testResults.filter(
    (file) =>
      file.status === 'failed' && file.assertionResults.every((one) => one.status !== 'failed'),
  );
  for (const file of brokenFiles) console.log(`failed: ${name}: ${file.name}: ${file.message}`);
  return {
    passed: report.numPassedTests,
    failed: report.numFailedTests + brokenFiles.length,
    skipped: report.numPendingTests + report.numTodoTests,
  };
}

function fromLines(text) {
  const [, passed, failed, skipped] =
    /^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$/m.exec(text) ?? [];
  return {
    passed: Number(passed ?? 0),
    failed: Number(failed ?? 0),
    skipped: Number(skipped ?? 0),
  };
}

function countsOf(name) {
  const json = join(folder, `${name}.json`);
  const text = join(folder, `${name}.txt`);
  if (existsSync(json)) return fromVitest(name, JSON.parse(readFileSync(json, 'utf8')));
  if (existsSync(text)) return fromLines(readFileSync(text, 'utf8'));
  return { passed: 0, failed: 0, skipped: 0 };
}

const sum = { passed: 0, failed: 0, skipped: 0 };
for (const file of readdirSync(folder).filter((one) => one.endsWith('.exit'))) {
  const name = file.slice(0, -'.exit'.length);
  const exitCode = readFileSync(join(folder, file), 'utf8').trim();
  const counts = countsOf(name);
  if (exitCode !== '0' && counts.failed === 0) {
    console.log(`failed: ${name} ended with exit code ${exitCode}`);
    counts.failed = 1;
  }
  for (const kind of Object.keys(sum)) sum[kind] += counts[kind];
}
const skipped = sum.skipped === 0 ? '' : `, ${sum.skipped} skipped`;
console.log(`${sum.passed} passed, ${sum.failed} failed${skipped}`);
process.exitCode = sum.failed === 0 && sum.passed > 0 ? 0 : 1;
