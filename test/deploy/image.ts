// What deploy/Containerfile makes, without a container engine: the first stage's copies and commands in a folder, and
// the command that the image runs. The second stage only moves that folder.

import { cpSync, mkdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { ROOT } from '../support/child-broker.ts';
import { Child, expectSuccess } from '../support/child-process.ts';

const BUILD_MS_MAX = 240_000;
/** As Containerfile.dockerignore. */
const IGNORED = new Set(['node_modules', 'dist', 'gen']);

/** An image that was built. */
export interface Image {
  /** What lies at /opt/ternmq in it. */
  readonly folder: string;
  /** What it runs, in front of a service's command. */
  readonly entrypoint: readonly string[];
}

/** The instructions of the file: continuations joined, comments left out. */
function instructions(): { readonly word: string; readonly rest: string }[] {
  const text = readFileSync(join(ROOT, 'deploy/Containerfile'), 'utf8');
  return text
    .replaceAll(/^#.*\n/gm, '')
    .replaceAll('\\\n', ' ')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [, word = '', rest = ''] = /^(\S+)\s+(.*)$/.exec(line) ?? [];
      return { word, rest };
    });
}

/** Builds the image into a folder. Throws when a command of it fails. */
export async function buildImage(folder: string): Promise<Image> {
  mkdirSync(folder);
  let stage = 0;
  let entrypoint: string[] = [];
  for (const { word, rest } of instructions()) {
    if (word === 'FROM') stage++;
    else if (word === 'ENTRYPOINT') entrypoint = JSON.parse(rest);
    else if (stage === 1 && word === 'COPY') {
      const sources = rest.split(' ');
      const target = sources.pop() as string;
      for (const source of sources) {
        const to = join(folder, target.endsWith('/') ? join(target, basename(source)) : target);
        const filter = (path: string) => !IGNORED.has(basename(path));
        cpSync(join(ROOT, source), to, { recursive: true, filter });
      }
    } else if (stage === 1 && word === 'RUN') {
      await using child = new Child('sh', ['-c', rest], { cwd: folder });
      child.endInput();
      await expectSuccess(child, rest, BUILD_MS_MAX);
    }
  }
  return { folder, entrypoint };
}
