// `npm run build`: the packages as they are published, each in its folder `dist`. Nothing in a clone needs them.

import { spawnSync } from 'node:child_process';
import { copyFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Each behind those that it imports. */
const PACKAGES = [
  'proto',
  'services/runtime',
  'services/nameserver',
  'services/broker',
  'sdk/typescript',
  'sdk/cli',
];
const root = dirname(fileURLToPath(import.meta.url));
const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');

for (const folder of PACKAGES) {
  rmSync(join(root, folder, 'dist'), { recursive: true, force: true });
  const args = [tsc, '-p', join(root, folder, 'tsconfig.build.json')];
  const { status } = spawnSync(process.execPath, args, { stdio: 'inherit' });
  if (status !== 0) {
    // Half a package must not be packed.
    rmSync(join(root, folder, 'dist'), { recursive: true, force: true });
    process.exit(status ?? 1);
  }
  // npm takes the licence from the package's own folder.
  copyFileSync(join(root, 'LICENSE'), join(root, folder, 'LICENSE'));
}
