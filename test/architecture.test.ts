// The architecture's rules on the source, and a canary for each: a planted violation that it must find.

import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import {
  ambient,
  borders,
  brokerFolders,
  fileShape,
  formatViolations,
  importCycles,
  nothingLeftToDo,
  packageImports,
  RULES,
  type Rule,
  relativeImports,
  testImports,
  testsBesideSources,
} from './support/architecture.ts';
import { readSources, type SourceFile } from './support/source-file.ts';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const sources = readSources(root);

describe('in the source', () => {
  test.each(Object.entries(RULES))('%s', (_, rule) => {
    expect(formatViolations(rule(sources))).toBe('');
  });

  test('there is something to judge', () => {
    expect(sources.length).toBeGreaterThan(20);
    expect(sources.some(({ path }) => path.startsWith('services/broker/src/log/'))).toBe(true);
  });
});

const MANIFESTS: readonly SourceFile[] = sources.filter(({ path }) =>
  path.endsWith('package.json'),
);

interface Plant {
  readonly rule: Rule;
  /** What is wrong. */
  readonly name: string;
  /** File by path; one of them is to be found. */
  readonly files: Readonly<Record<string, string>>;
}

const BROKEN: readonly Plant[] = [
  {
    rule: packageImports,
    name: 'a package that package.json does not name',
    files: { 'services/broker/src/a.ts': "import { x } from 'left-pad';" },
  },
  {
    rule: packageImports,
    name: 'the SDK importing a service, in a type',
    files: { 'sdk/typescript/src/a.ts': "import type { Broker } from '@ternmq/broker';" },
  },
  {
    rule: packageImports,
    name: 'the broker importing the SDK, as a re-export',
    files: { 'services/broker/src/a.ts': "export * from '@ternmq/sdk';" },
  },
  {
    rule: packageImports,
    name: 'the command loading the broker before it is asked for',
    files: { 'sdk/cli/src/commands/start.ts': "import { Broker } from '@ternmq/broker';" },
  },
  {
    rule: packageImports,
    name: 'a command that is none of the starting ones loading the broker',
    files: { 'sdk/cli/src/commands/topic.ts': "await import('@ternmq/broker');" },
  },
  {
    rule: packageImports,
    name: 'an import that is computed',
    files: { 'services/broker/src/a.ts': 'await import(name);' },
  },
  {
    rule: relativeImports,
    name: 'a relative import without its ending',
    files: { 'services/broker/src/a.ts': "import { x } from './b';" },
  },
  {
    rule: relativeImports,
    name: 'a relative import into another package',
    files: { 'services/broker/src/a.ts': "import { x } from '../../runtime/src/clock.ts';" },
  },
  {
    rule: testImports,
    name: 'a source that imports a test',
    files: { 'services/broker/src/a.ts': "import { x } from './a.test.ts';" },
  },
  {
    rule: brokerFolders,
    name: 'log/ importing state/',
    files: { 'services/broker/src/log/a.ts': "import { x } from '../state/b.ts';" },
  },
  {
    rule: brokerFolders,
    name: 'delivery/ importing grpc/',
    files: { 'services/broker/src/delivery/a.ts': "import type { X } from '../grpc/b.ts';" },
  },
  {
    rule: brokerFolders,
    name: 'state/ importing what builds it',
    files: { 'services/broker/src/state/a.ts': "import { Broker } from '../broker.ts';" },
  },
  {
    rule: brokerFolders,
    name: 'grpc/ importing what builds it',
    files: { 'services/broker/src/grpc/a.ts': "import { Broker } from '../broker.ts';" },
  },
  {
    rule: brokerFolders,
    name: 'a folder that has no place',
    files: { 'services/broker/src/extra/a.ts': "import { x } from '../log/b.ts';" },
  },
  {
    rule: borders,
    name: 'lmdb outside of state/',
    files: { 'services/broker/src/delivery/a.ts': "import { open } from 'lmdb';" },
  },
  {
    rule: borders,
    name: 'gRPC in delivery/',
    files: { 'services/broker/src/delivery/a.ts': "import { status } from '@grpc/grpc-js';" },
  },
  {
    rule: borders,
    name: 'protobuf in log/',
    files: {
      'services/broker/src/log/a.ts': "import { X } from '@ternmq/proto/gen/ternmq/log/v1/log_pb';",
    },
  },
  {
    rule: borders,
    name: 'generated types in the SDK outside of transport/',
    files: {
      'sdk/typescript/src/a.ts': "import type { X } from '@ternmq/proto/gen/ternmq/x_pb';",
    },
  },
  {
    rule: importCycles,
    name: 'three files in a circle',
    files: {
      'services/broker/src/c.ts': "import './a.ts';",
      'services/broker/src/a.ts': "import './b.ts';",
      'services/broker/src/b.ts': "import './c.ts';",
    },
  },
  ...[
    'const t = Date.now();',
    'const t = new Date();',
    'setTimeout(run, 5);',
    'setInterval(run, 5);',
    'const t = performance.now();',
    'const t = process.hrtime.bigint();',
    'const r = Math.random();',
    "import { readFileSync } from 'node:fs';",
    "import { readFile } from 'fs/promises';",
    "import { setTimeout as sleep } from 'node:timers/promises';",
    "const fs = await import('node:fs');",
  ].map((text) => ({
    rule: ambient,
    name: text,
    files: { 'services/broker/src/delivery/a.ts': text },
  })),
  {
    rule: ambient,
    name: 'a timer in the SDK outside of its clock',
    files: { 'sdk/typescript/src/producer.ts': 'setTimeout(() => {}, 1);' },
  },
  {
    rule: fileShape,
    name: 'a file of 601 lines',
    files: { 'services/broker/src/a.ts': '\n'.repeat(601) },
  },
  {
    rule: fileShape,
    name: 'a file in camel case',
    files: { 'services/broker/src/commitLog.ts': '' },
  },
  {
    rule: fileShape,
    name: 'a drawer',
    files: { 'services/broker/src/utils.ts': '' },
  },
  {
    rule: testsBesideSources,
    name: 'a test without its source',
    files: { 'services/broker/src/log/a.test.ts': '' },
  },
  {
    rule: nothingLeftToDo,
    name: 'a note of what is left to do',
    files: { 'services/broker/src/a.ts': `const a = 1; // ${'TO'}DO: b` },
  },
];

const HEALTHY: Readonly<Record<string, string>> = {
  'services/broker/src/log/segment.ts': "import type { Disk } from '@ternmq/runtime';",
  'services/broker/src/state/store.ts': "import { open } from 'lmdb'; import '../log/segment.ts';",
  'services/broker/src/state/store.test.ts':
    "import { test } from 'vitest'; import { rmSync } from 'node:fs'; import './store.ts';",
  'services/broker/src/grpc/send.ts':
    "import { status } from '@grpc/grpc-js'; import '../disk-guard.ts';",
  'services/broker/src/broker.ts': "import './grpc/send.ts'; import './state/store.ts';",
  'services/runtime/src/clock.ts': 'export const now = () => Date.now();',
  'sdk/typescript/src/clock.ts': 'setTimeout(() => {}, 1);',
  'sdk/typescript/src/transport/call.ts': "import { Client } from '@grpc/grpc-js';",
  'sdk/cli/bin/tern.js': 'await import(source);',
  'sdk/cli/src/commands/start.ts':
    "import type { Broker } from '@ternmq/broker'; await import('@ternmq/broker');",
  // A comment that names Date.now() and 'node:fs' is no use of them.
  'services/broker/src/delivery/lease.ts':
    "// Date.now() from 'node:fs'\nconst text = 'setTimeout(x)'; clock.setTimeout(1);",
};

function filesOf(files: Readonly<Record<string, string>>): SourceFile[] {
  return [...MANIFESTS, ...Object.entries(files).map(([path, text]) => ({ path, text }))];
}

describe('a rule', () => {
  test.each(BROKEN)('finds $name', ({ rule, files }) => {
    const found = rule(filesOf(files)).map(({ path }) => path);
    expect(found).not.toEqual([]);
    for (const path of found) expect(Object.keys(files)).toContain(path);
  });

  test.each(Object.entries(RULES))('accepts a healthy tree: %s', (_, rule) => {
    expect(formatViolations(rule(filesOf(HEALTHY)))).toBe('');
  });

  test('names the line', () => {
    const files = { 'services/broker/src/log/a.ts': "\n\nimport { x } from '../state/b.ts';" };
    expect(formatViolations(brokerFolders(filesOf(files)))).toBe(
      'services/broker/src/log/a.ts:3 log/ imports state/b.ts; it may import nothing of the broker',
    );
  });
});
