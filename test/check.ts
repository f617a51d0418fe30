// What must hold of the source besides its tests: `npm run check`. One line for each check, with its
// output when it fails; closes with `N passed, N failed`, and exits with 1 when any failed.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { formatViolations, RULES } from './support/architecture.ts';
import { readSources } from './support/source-file.ts';

/** What became of one check. */
type Outcome =
  | { readonly state: 'ok' }
  | { readonly state: 'failed'; readonly output: string }
  | { readonly state: 'skipped'; readonly reason: string };

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const CHECK_SECONDS_MAX = 300;

interface Finished {
  readonly ok: boolean;
  readonly output: string;
}

function run(command: string, args: readonly string[]): Finished {
  const result = spawnSync(command, args, {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    shell: process.platform === 'win32',
    maxBuffer: 64 * 1024 * 1024,
    timeout: CHECK_SECONDS_MAX * 1000,
  });
  const output = `${result.stdout ?? ''}${result.stderr ?? ''}${result.error?.message ?? ''}`;
  return { ok: result.status === 0, output: output.trimEnd() };
}

function tool(command: string, ...args: string[]): Outcome {
  const { ok, output } = run(command, args);
  return ok ? { state: 'ok' } : { state: 'failed', output };
}

/** Runs a tool that npm installed as a script, on the Node that runs this. */
function script(path: string, ...args: string[]): Outcome {
  return tool(process.execPath, join(root, 'node_modules', path), ...args);
}

/**
 * Compares the schemas with those before their last change: with the last commit that touched them when
 * they differ from it, else with the one before.
 */
function breaking(): Outcome {
  const inRepository = run('git', ['rev-parse', '--git-dir']);
  if (!inRepository.ok)
    return { state: 'skipped', reason: `no git history: ${inRepository.output}` };
  const changed = !run('git', ['diff', '--quiet', 'HEAD', '--', 'proto', 'buf.yaml']).ok;
  const commits = run('git', ['log', '-2', '--format=%H', '--', 'proto', 'buf.yaml']);
  const base = commits.output.split('\n')[changed ? 0 : 1];
  if (!commits.ok || base === undefined || base === '') {
    const shallow = run('git', ['rev-parse', '--is-shallow-repository']).output === 'true';
    const reason = shallow ? 'the clone is shallow' : 'no earlier commit has schemas';
    return { state: 'skipped', reason };
  }
  const folder = mkdtempSync(join(tmpdir(), 'ternmq-breaking-'));
  try {
    const archive = join(folder, 'schemas.tar');
    const packed = run('git', ['archive', '-o', archive, base, 'buf.yaml', 'proto']);
    if (!packed.ok) return { state: 'failed', output: packed.output };
    const unpacked = run('tar', ['-xf', archive, '-C', folder]);
    if (!unpacked.ok) return { state: 'failed', output: unpacked.output };
    return tool('buf', 'breaking', '--against', folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function importRules(): Outcome {
  const sources = readSources(root);
  const broken = Object.entries(RULES)
    .map(([name, rule]) => ({ name, places: formatViolations(rule(sources)) }))
    .filter(({ places }) => places !== '');
  if (broken.length === 0) return { state: 'ok' };
  const output = broken.map(({ name, places }) => `${name}:\n${places}`).join('\n');
  return { state: 'failed', output };
}

const checks: readonly [string, () => Outcome][] = [
  ['types', () => script('typescript/bin/tsc', '--noEmit', '-p', '.')],
  ['lint and format', () => script('@biomejs/biome/bin/biome', 'ci', '--colors=off', '.')],
  ['schema lint', () => tool('buf', 'lint')],
  ['schema format', () => tool('buf', 'format', '--diff', '--exit-code')],
  ['schema compatibility', breaking],
  ['import rules', importRules],
];

const counts = { ok: 0, failed: 0, skipped: 0 };
for (const [name, check] of checks) {
  const outcome = check();
  counts[outcome.state]++;
  const reason = outcome.state === 'skipped' ? ` (${outcome.reason})` : '';
  console.log(`${outcome.state.padEnd(8)} ${name}${reason}`);
  if (outcome.state === 'failed') console.log(outcome.output.replace(/^/gm, '    '));
}
const skipped = counts.skipped === 0 ? '' : `, ${counts.skipped} skipped`;
console.log(`${counts.ok} passed, ${counts.failed} failed${skipped}`);
process.exitCode = counts.failed === 0 ? 0 : 1;
