#!/usr/bin/env node
// The command `tern`. As published it runs what was built. In a clone it runs the sources: in this process when
// its Node can, else in a child on the Node that came with the packages.

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const NODE_MAJOR_MIN = 24;
const here = fileURLToPath(import.meta.url);
const folder = dirname(dirname(here));
const root = dirname(dirname(folder));
const source = join(folder, 'src', 'main.ts');
const old = Number(process.versions.node.split('.')[0]) < NODE_MAJOR_MIN;

if (!existsSync(source) && old) {
  console.error(
    `tern: this is Node ${process.versions.node}, and tern needs Node ${NODE_MAJOR_MIN} or newer`,
  );
  process.exitCode = 1;
} else if (!existsSync(source)) {
  await import('../dist/main.js');
} else if (!existsSync(join(root, 'proto', 'gen', 'descriptors.binpb'))) {
  console.error('tern: this clone is not ready yet; run `npm run generate` in it once');
  process.exitCode = 1;
} else if (old) {
  runOnOtherNode();
} else {
  if (process.channel) dieWithWrapper();
  const { enableCompileCache, registerHooks } = await import('node:module');
  enableCompileCache(
    process.env.NODE_COMPILE_CACHE ?? join(root, 'node_modules', '.cache', 'node'),
  );
  if (!process.execArgv.includes('--conditions=source')) {
    registerHooks({
      resolve: (specifier, context, next) =>
        next(specifier, { ...context, conditions: [...context.conditions, 'source'] }),
    });
  }
  await import(pathToFileURL(source).href);
}

function runOnOtherNode() {
  const executable = process.platform === 'win32' ? 'node.exe' : 'node';
  const platform = process.platform === 'win32' ? 'win' : process.platform;
  const modules = join(root, 'node_modules');
  const node = join(modules, `node-${platform}-${process.arch}`, 'bin', executable);
  if (!existsSync(node)) {
    console.error(
      `tern: this is Node ${process.versions.node}, and a clone needs Node ${NODE_MAJOR_MIN}; ` +
        'run `npm run generate` in the clone once, or use a newer Node',
    );
    process.exitCode = 1;
    return;
  }
  const child = spawn(node, ['--conditions=source', here, ...process.argv.slice(2)], {
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
  });
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) {
    process.on(signal, () => {
      // A terminal sends Ctrl-C to the child as well; a second one would end it at once.
      if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal);
    });
  }
  child.on('exit', (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));
}

// The channel to the wrapper closes when the wrapper is gone, however it went: then nobody can stop this process
// any more, and its ports and data must be free for the next.
function dieWithWrapper() {
  process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'));
  process.channel.unref();
}
