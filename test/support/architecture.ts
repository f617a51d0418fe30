// The rules of ARCHITECTURE.md that no compiler checks: who may import whom, where time and chance come
// from, and how files are named. Each rule is a function from the sources to its violations.

import { dirname, posix } from 'node:path';
import { type Import, parse, type SourceFile } from './source-file.ts';

/** A place that breaks a rule. */
export interface Violation {
  readonly path: string;
  readonly line: number;
  readonly message: string;
}

/** A rule: gives a violation for every place that breaks it. */
export type Rule = (files: readonly SourceFile[]) => Violation[];

const FILE_LINES_MAX = 600;

/** Which workspace packages a folder's package may import; each may also use what its package.json names. */
const PACKAGE_IMPORTS: Readonly<Record<string, readonly string[]>> = {
  proto: [],
  'services/runtime': ['@ternmq/proto'],
  'services/nameserver': ['@ternmq/proto', '@ternmq/runtime'],
  'services/broker': ['@ternmq/proto', '@ternmq/runtime'],
  'sdk/typescript': ['@ternmq/proto'],
  'sdk/cli': ['@ternmq/sdk', '@ternmq/runtime'],
};

/** Packages that a package loads only when a command needs them, and the files that may. */
const LAZY_IMPORTS = {
  folder: 'sdk/cli',
  packages: ['@ternmq/broker', '@ternmq/nameserver'],
  files: /\/commands\/(start|nameserver|broker|log)(\.ts|\/)/,
};

/**
 * Folders of the broker, lowest first, and what each may import besides itself: folders, and with `.` the
 * single files beside them, but for those that build the broker.
 */
const BROKER_FOLDERS: Readonly<Record<string, readonly string[]>> = {
  log: [],
  progress: [],
  filter: [],
  state: ['log', 'progress'],
  catalog: ['log', 'progress', 'state'],
  delivery: ['log', 'progress', 'filter', 'state', 'catalog'],
  held: ['log', 'progress', 'state', 'catalog', 'delivery'],
  timers: ['log', 'progress', 'state', 'catalog', 'delivery', 'held'],
  transactions: ['log', 'progress', 'state', 'catalog', 'delivery', 'held'],
  assignment: ['state'],
  replies: [],
  coordination: [],
  replication: ['log', 'progress', 'state', 'coordination'],
  find: ['log', 'progress', 'state', 'catalog', 'delivery'],
  grpc: [
    'log',
    'progress',
    'filter',
    'state',
    'catalog',
    'delivery',
    'held',
    'timers',
    'transactions',
    'assignment',
    'find',
    'replies',
    'replication',
    '.',
  ],
  rocketmq: ['state', 'catalog', 'grpc', '.'],
};
const BROKER_BUILDERS = new Set([
  'broker.ts',
  'roles.ts',
  'leading.ts',
  'standing-in.ts',
  'main.ts',
  'index.ts',
]);

/** Packages that only some places may import. `type` imports count too. */
const BORDERS: readonly { specifier: RegExp; within: RegExp; allowed: RegExp; why: string }[] = [
  {
    specifier: /^lmdb$/,
    within: /^services\//,
    allowed: /^services\/broker\/src\/state\//,
    why: 'only state/ knows the store behind its interface',
  },
  {
    specifier: /^@grpc\/grpc-js$/,
    within: /^services\/(broker|nameserver)\//,
    allowed:
      /\/src\/(grpc\/|rocketmq\/|registration|replication\/master-link|coordination\/|[^/]+\.test\.ts$)/,
    why: 'only grpc/, rocketmq/, registration, coordination/ and the link to a master speak gRPC',
  },
  {
    specifier: /^@ternmq\/proto|^@bufbuild\/|^@grpc\//,
    within: /^services\/broker\/src\/log\//,
    allowed: /\.test\.ts$/,
    why: 'log/ keeps bytes and knows no protobuf and no network',
  },
  {
    specifier: /^@ternmq\/proto|^@bufbuild\/|^@grpc\//,
    within: /^sdk\/typescript\/src\//,
    allowed: /\/src\/transport\/|\.test\.ts$/,
    why: 'only transport/ sees gRPC and generated types',
  },
];

/** Globals and modules through which time, chance or files come in, unless the runtime hands them out. */
const AMBIENT_USES = new Set([
  'Date.now',
  'Date()',
  'new Date()',
  'performance.now',
  'process.hrtime',
  'Math.random',
  'setTimeout',
  'setTimeout()',
  'setInterval',
  'setInterval()',
  'crypto.randomBytes',
  'crypto.randomUUID',
  'crypto.getRandomValues',
]);
const AMBIENT_MODULES = /^(node:)?(timers|perf_hooks)(\/promises)?$/;
const FILE_MODULES = /^(node:)?fs(\/promises)?$/;

function packageOf(path: string): string | undefined {
  return Object.keys(PACKAGE_IMPORTS).find((folder) => path.startsWith(`${folder}/`));
}

function isCode(file: SourceFile): boolean {
  return !file.path.endsWith('.json');
}

function isTest(path: string): boolean {
  return path.endsWith('.test.ts') || path.startsWith('test/');
}

/** `@scope/name/path` -> `@scope/name`. */
function packageName(specifier: string): string {
  return specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
}

/** The file or folder that a relative import names, from the project's root. */
function target(file: SourceFile, specifier: string): string {
  return posix.join(dirname(file.path), specifier);
}

function eachImport(
  files: readonly SourceFile[],
  judge: (file: SourceFile, one: Import) => string | undefined,
): Violation[] {
  return files.filter(isCode).flatMap((file) =>
    parse(file).imports.flatMap((one) => {
      const message = judge(file, one);
      return message === undefined ? [] : [{ path: file.path, line: one.line, message }];
    }),
  );
}

/** Packages import what they declare, and of the workspace only what lies below them. */
export const packageImports: Rule = (files) => {
  const declared = new Map<string, ReadonlySet<string>>();
  for (const file of files.filter(({ path }) => path.endsWith('package.json'))) {
    const manifest: { name?: string; dependencies?: object } = JSON.parse(file.text);
    const names = Object.keys(manifest.dependencies ?? {});
    declared.set(dirname(file.path), new Set([manifest.name ?? '', ...names]));
  }
  return eachImport(files, (file, { specifier, dynamic, typeOnly }) => {
    const folder = packageOf(file.path);
    if (folder === undefined || /^(node:|\.)/.test(specifier)) return undefined;
    if (specifier === '') {
      const launcher = file.path.includes('/bin/');
      return launcher ? undefined : 'imports what is computed, which no rule can judge; name it';
    }
    const name = packageName(specifier);
    if (isTest(file.path) && ['vitest', 'fast-check'].includes(name)) return undefined;
    if (declared.get(folder)?.has(name) !== true) {
      return `imports ${name}, which ${folder}/package.json does not name`;
    }
    const ours = name.startsWith('@ternmq/') && !file.path.includes('/examples/');
    if (!ours || PACKAGE_IMPORTS[folder]?.includes(name)) return undefined;
    const { folder: lazyFolder, packages, files: lazyFiles } = LAZY_IMPORTS;
    if (folder === lazyFolder && packages.includes(name)) {
      if (typeOnly || isTest(file.path) || (dynamic && lazyFiles.test(file.path))) return undefined;
      return `imports ${name}; load it with import() in the command that starts it`;
    }
    return `${folder} may not import ${name}`;
  });
};

/** Relative imports name a file with its ending and stay inside their package; tests may use test/support. */
export const relativeImports: Rule = (files) =>
  eachImport(files, (file, { specifier }) => {
    if (!specifier.startsWith('.')) return undefined;
    if (!/\.(ts|js|mjs|json)$/.test(specifier)) return `imports ${specifier} without its ending`;
    const folder = packageOf(file.path);
    const path = target(file, specifier);
    if (folder === undefined || path.startsWith(`${folder}/`)) return undefined;
    // What tests stand on is theirs all, wherever they lie.
    if (isTest(file.path) && path.startsWith('test/support/')) return undefined;
    return `imports ${path}, which is outside of ${folder}: use the package's name`;
  });

/** Nothing but tests imports tests. */
export const testImports: Rule = (files) =>
  eachImport(files, (file, { specifier }) => {
    if (isTest(file.path) || !specifier.startsWith('.')) return undefined;
    return isTest(target(file, specifier)) ? `imports the test ${specifier}` : undefined;
  });

/** Folders of the broker import only folders below them, and never what builds them. */
export const brokerFolders: Rule = (files) =>
  eachImport(files, (file, { specifier }) => {
    const source = 'services/broker/src/';
    if (!file.path.startsWith(source) || !specifier.startsWith('.')) return undefined;
    const [from, ...rest] = file.path.slice(source.length).split('/') as [string, ...string[]];
    if (rest.length === 0 || file.path.endsWith('.test.ts')) return undefined;
    const below = BROKER_FOLDERS[from];
    if (below === undefined) return `the folder ${from}/ has no place in the order of folders`;
    const to = target(file, specifier).slice(source.length);
    const [folder, ...inside] = to.split('/') as [string, ...string[]];
    if (folder === from) return undefined;
    if (inside.length > 0 && below.includes(folder)) return undefined;
    if (inside.length === 0 && below.includes('.') && !BROKER_BUILDERS.has(to)) return undefined;
    const may = below.length === 0 ? 'nothing of the broker' : below.join(', ');
    return `${from}/ imports ${to}; it may import ${may}`;
  });

/** Some packages are known in one place only. */
export const borders: Rule = (files) =>
  eachImport(files, (file, one) => {
    const crossed = BORDERS.find(
      ({ specifier, within, allowed }) =>
        specifier.test(one.specifier) && within.test(file.path) && !allowed.test(file.path),
    );
    return crossed && `imports ${one.specifier}: ${crossed.why}`;
  });

/** No file needs itself to be loaded. */
export const importCycles: Rule = (files) => {
  const code = files.filter(isCode);
  const edges = new Map<string, { to: string; line: number }[]>();
  for (const file of code) {
    const loaded = parse(file).imports.filter(
      ({ specifier, typeOnly, dynamic }) => specifier.startsWith('.') && !typeOnly && !dynamic,
    );
    const to = loaded.map(({ specifier, line }) => ({ to: target(file, specifier), line }));
    edges.set(file.path, to);
  }
  const violations: Violation[] = [];
  const done = new Set<string>();
  const visit = (path: string, trail: readonly string[]) => {
    for (const { to, line } of edges.get(path) ?? []) {
      const at = trail.indexOf(to);
      if (at >= 0) {
        const message = `imports in a circle: ${[...trail.slice(at), to].join(' -> ')}`;
        violations.push({ path, line, message });
      } else if (!done.has(to)) visit(to, [...trail, to]);
    }
    done.add(path);
  };
  for (const { path } of code) if (!done.has(path)) visit(path, [path]);
  return violations;
};

/** Time, chance and files come from the runtime, in the SDK from its clock. */
export const ambient: Rule = (files) =>
  files.filter(isCode).flatMap((file) => {
    const { path } = file;
    const exempt = /^services\/runtime\/|^sdk\/typescript\/src\/clock\.ts$|\/examples\//;
    if (!/^(services|sdk)\//.test(path) || exempt.test(path)) return [];
    const { imports, uses } = parse(file);
    const mayUseFiles = isTest(path) || path.startsWith('sdk/cli/');
    const violation = (name: string, line: number) => ({
      path,
      line,
      message: `uses ${name}; take the clock, the randomness or the disk as an argument`,
    });
    return [
      ...uses.filter(({ name }) => AMBIENT_USES.has(name)),
      ...imports
        .filter(
          ({ specifier, typeOnly }) =>
            AMBIENT_MODULES.test(specifier) ||
            (FILE_MODULES.test(specifier) && !mayUseFiles && !typeOnly),
        )
        .map(({ specifier, line }) => ({ name: specifier, line })),
    ].map(({ name, line }) => violation(name, line));
  });

/** Files are short, named in kebab-case for what they hold. */
export const fileShape: Rule = (files) =>
  files.filter(isCode).flatMap(({ path, text }) => {
    const violation = (message: string, line = 1) => [{ path, line, message }];
    const lines = text.split('\n').length - 1;
    const name = posix.basename(path);
    const found: Violation[] = [];
    if (lines > FILE_LINES_MAX)
      found.push(...violation(`has ${lines} lines; ${FILE_LINES_MAX} are enough for one concept`));
    if (!/^[a-z0-9]+(-[a-z0-9]+)*(\.[a-z]+)*\.(ts|js|mjs)$/.test(name))
      found.push(...violation('is not named in kebab-case'));
    if (/(^|\/)(utils?|helpers?|misc|common)(\/|\.|$)/.test(path))
      found.push(...violation('is a drawer; name it for what it holds'));
    return found;
  });

/** Unit tests lie beside the file that they test. */
export const testsBesideSources: Rule = (files) => {
  const paths = new Set(files.map(({ path }) => path));
  return files.flatMap(({ path }) => {
    if (!/^(proto|services|sdk|test\/support)\/.*\.test\.ts$/.test(path)) return [];
    const source = `${path.slice(0, path.lastIndexOf('/') + 1)}${posix.basename(path).split('.')[0]}.ts`;
    if (paths.has(source)) return [];
    return [{ path, line: 1, message: `tests ${source}, which does not exist` }];
  });
};

/** What is to be done is an issue, and no comment. */
export const nothingLeftToDo: Rule = (files) =>
  files.filter(isCode).flatMap(({ path, text }) =>
    text.split('\n').flatMap((line, index) => {
      // Written so that this file does not break its own rule.
      const mark = /\b(TO[D]O|FIX[M]E|X[X]X|HA[C]K)\b/.exec(line)?.[1];
      return mark === undefined ? [] : [{ path, line: index + 1, message: `has a ${mark}` }];
    }),
  );

/** All rules by name. */
export const RULES: Readonly<Record<string, Rule>> = {
  'packages import what they declare and what lies below them': packageImports,
  'relative imports name their file and stay in their package': relativeImports,
  'nothing but tests imports tests': testImports,
  "the broker's folders import only those below them": brokerFolders,
  'some packages are known in one place only': borders,
  'no imports in a circle': importCycles,
  'time, chance and files come from the runtime': ambient,
  'files are short and named for what they hold': fileShape,
  'unit tests lie beside their source': testsBesideSources,
  'nothing is left to do in comments': nothingLeftToDo,
};

/** `path:line message` for each. */
export function formatViolations(violations: readonly Violation[]): string {
  return violations.map(({ path, line, message }) => `${path}:${line} ${message}`).join('\n');
}
