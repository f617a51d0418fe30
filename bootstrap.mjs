// Makes a fresh clone ready, then runs a command on Node 24: `node bootstrap.mjs COMMAND [ARG ...]`.
// COMMAND is `generate` (only get ready), `node`, or a tool from node_modules/.bin. Runs on any Node from
// version 20 on, installs what the lockfile says, and generates from the schemas what they have changed.

import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const NODE_MAJOR_MIN = 24;
const root = dirname(fileURLToPath(import.meta.url));
const bin = join(root, 'node_modules', '.bin');

function digestOf(files) {
  const hash = createHash('sha256');
  for (const file of files)
    hash
      .update(file)
      .update('\0')
      .update(readFileSync(join(root, file)))
      .update('\0');
  return hash.digest('hex');
}

function upToDate(stampFile, digest) {
  return existsSync(stampFile) && readFileSync(stampFile, 'utf8') === digest;
}

function run(command, args, env = process.env) {
  const windows = process.platform === 'win32';
  const result = spawnSync(command, args, {
    cwd: root,
    env,
    stdio: ['ignore', 2, 2],
    shell: windows,
  });
  if (result.status !== 0) {
    console.error(`\n${command} ${args.join(' ')} failed; mend what it says above and try again`);
    process.exit(result.status ?? 1);
  }
}

function install() {
  const manifests = ['package.json', 'package-lock.json'].concat(
    ['proto', 'services', 'sdk'].flatMap((folder) =>
      (folder === 'proto'
        ? [folder]
        : readdirSync(join(root, folder)).map((name) => `${folder}/${name}`)
      )
        .map((path) => `${path}/package.json`)
        .filter((path) => existsSync(join(root, path))),
    ),
  );
  const stamp = join(root, 'node_modules', '.ternmq-installed');
  const digest = digestOf(manifests);
  if (upToDate(stamp, digest)) return;
  console.error('installing packages …');
  run('npm', ['install', '--no-audit', '--no-fund', '--loglevel=error']);
  // npm writes the lockfile anew when it completes it for this platform.
  writeFileSync(stamp, digestOf(manifests));
}

function generate() {
  const schemas = readdirSync(join(root, 'proto'), { recursive: true })
    .map(String)
    .filter(
      (path) => (path.endsWith('.proto') || path === 'buf.gen.yaml') && !path.startsWith('gen'),
    )
    .sort()
    .map((path) => `proto/${path.replaceAll('\\', '/')}`);
  const gen = join(root, 'proto', 'gen');
  const stamp = join(gen, '.generated');
  const digest = digestOf([...schemas, 'buf.yaml', 'package.json']);
  if (upToDate(stamp, digest)) return;
  console.error('generating from the schemas …');
  rmSync(gen, { recursive: true, force: true });
  mkdirSync(gen, { recursive: true });
  const env = {
    ...process.env,
    PATH: `${bin}${process.platform === 'win32' ? ';' : ':'}${process.env.PATH}`,
  };
  run(join(bin, 'buf'), ['generate', '--template', 'proto/buf.gen.yaml'], env);
  run(
    join(bin, 'buf'),
    ['build', '--exclude-source-info', '-o', 'proto/gen/descriptors.binpb'],
    env,
  );
  writeFileSync(stamp, digest);
}

install();
generate();

const [command, ...args] = process.argv.slice(2);
if (command !== undefined && command !== 'generate') {
  const ownNode = Number(process.versions.node.split('.')[0]) >= NODE_MAJOR_MIN;
  const node = ownNode ? process.execPath : join(bin, 'node');
  const tools = {
    vitest: 'vitest/vitest.mjs',
    tsc: 'typescript/bin/tsc',
    biome: '@biomejs/biome/bin/biome',
  };
  const script = tools[command] === undefined ? [] : [join(root, 'node_modules', tools[command])];
  const child = spawn(node, ['--conditions=source', ...script, ...args], {
    stdio: 'inherit',
    env: {
      ...process.env,
      PATH: `${bin}${process.platform === 'win32' ? ';' : ':'}${process.env.PATH}`,
      NODE_COMPILE_CACHE:
        process.env.NODE_COMPILE_CACHE ?? join(root, 'node_modules', '.cache', 'node'),
    },
  });
  // A terminal sends its signals to both processes; these come from elsewhere.
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'])
    process.on(signal, () => child.kill(signal));
  child.on('exit', (code, signal) => process.exit(code ?? (signal === null ? 1 : 128)));
}
