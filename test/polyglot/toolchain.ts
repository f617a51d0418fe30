// Other languages' tools: what of them is here, and what the tests install for themselves. That goes to
// node_modules/.cache, once for each set of versions; nothing outside of the project is changed.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { delimiter, join } from 'node:path';
import { ROOT } from '../support/child-broker.ts';

const INSTALL_MS_MAX = 600_000;
const CACHE = join(ROOT, 'node_modules', '.cache', 'polyglot');

/** Versions of the Go tools. */
export const GO_TOOLS = {
  'protoc-gen-go': 'google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12',
  'protoc-gen-go-grpc': 'google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2',
  grpcurl: 'github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4',
} as const;

/** Runs a command to its end; the error of one that fails has its output. */
export function run(
  command: string,
  args: readonly string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv; input?: string; withinMs?: number } = {},
): string {
  try {
    return execFileSync(command, args, {
      cwd: options.cwd ?? ROOT,
      env: options.env ?? process.env,
      input: options.input ?? '',
      encoding: 'utf8',
      stdio: ['pipe', 'pipe', 'pipe'],
      timeout: options.withinMs ?? INSTALL_MS_MAX,
      maxBuffer: 64 * 1024 * 1024,
    });
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
    throw new Error(`${command} ${args.join(' ')} failed\n${stdout}${stderr}`, { cause: error });
  }
}

/** The environment with folders in front of the path; the project's own tools are always found. */
export function withPath(...folders: string[]): NodeJS.ProcessEnv {
  const path = [...folders, join(ROOT, 'node_modules', '.bin'), process.env.PATH ?? ''];
  return { ...process.env, PATH: path.join(delimiter) };
}

/**
 * A folder that is filled once. Filling happens beside it and ends with a rename, so that a folder that
 * is there is whole.
 *
 * @param key what the content depends on
 */
function filledOnce(name: string, key: string, fill: (folder: string) => void): string {
  const digest = createHash('sha256').update(key).digest('hex').slice(0, 12);
  const folder = join(CACHE, `${name}-${digest}`);
  if (existsSync(folder)) return folder;
  mkdirSync(CACHE, { recursive: true });
  const unfinished = mkdtempSync(join(CACHE, `${name}-unfinished-`));
  try {
    fill(unfinished);
    renameSync(unfinished, folder);
  } catch (error) {
    rmSync(unfinished, { recursive: true, force: true });
    throw error;
  }
  return folder;
}

function versionOf(command: string, ...args: string[]): string | undefined {
  try {
    return run(command, args, { withinMs: 60_000 }).trim();
  } catch {
    return undefined;
  }
}

/** A toolchain that is ready, or why it is not there. */
export type Toolchain = { readonly folder: string } | { readonly missing: string };

// A machine without a network has no toolchain to offer; whatever else goes wrong is a failure.
const OFFLINE =
  /no such host|network is unreachable|connection refused|Temporary failure in name resolution|Could not resolve|i\/o timeout|NewConnectionError|TLS handshake timeout/i;

function unlessOffline(what: string, install: () => string): Toolchain {
  try {
    return { folder: install() };
  } catch (error) {
    if (error instanceof Error && OFFLINE.test(error.message)) {
      return { missing: `${what} cannot be downloaded: no network` };
    }
    throw error;
  }
}

/** Python with the packages of a folder's requirements.txt, such as grpcio and grpcio-tools: the folder of its commands. */
export function python(program = 'python'): Toolchain {
  const requirements = join(ROOT, 'test/polyglot', program, 'requirements.txt');
  const version = versionOf('python3', '--version');
  if (version === undefined) return { missing: 'python3 is not installed' };
  if (versionOf('python3', '-m', 'venv', '--help') === undefined) {
    return { missing: 'the venv module of python3 is not installed' };
  }
  return unlessOffline('grpcio', () => {
    const folder = filledOnce('python', version + readFileSync(requirements, 'utf8'), (venv) => {
      run('python3', ['-m', 'venv', venv]);
      // Called as a module: its command names the folder that it was made in, which is renamed.
      const pip = ['-m', 'pip', 'install', '--quiet', '--no-compile', '--only-binary=:all:'];
      run(join(venv, 'bin', 'python'), [...pip, '-r', requirements]);
    });
    return join(folder, 'bin');
  });
}

/** The environment that Go works in: its caches lie with the project's. */
export function goEnvironment(...path: string[]): NodeJS.ProcessEnv {
  return {
    ...withPath(...path),
    GOPATH: join(CACHE, 'go'),
    GOCACHE: join(CACHE, 'go-build'),
    // Without this nobody but root can remove the folder again.
    GOFLAGS: `${process.env.GOFLAGS ?? ''} -modcacherw`.trim(),
  };
}

/** The version of Go; or why it is not fit for a program's go.mod. */
function goVersion(program: string): { readonly version: string } | { readonly missing: string } {
  const version = versionOf('go', 'env', 'GOVERSION');
  if (version === undefined) return { missing: 'go is not installed' };
  const goMod = readFileSync(join(ROOT, 'test/polyglot', program, 'go.mod'), 'utf8');
  const needed = /^go (\d+)\.(\d+)/m.exec(goMod);
  const found = /^go(\d+)\.(\d+)/.exec(version);
  if (needed === null || found === null) throw new Error(`cannot compare ${version} with go.mod`);
  const number = ([, major, minor]: RegExpExecArray) => Number(major) * 1000 + Number(minor);
  if (number(found) >= number(needed)) return { version };
  return { missing: `Go ${needed[1]}.${needed[2]} is needed and ${version} installed` };
}

/** A program written in Go, built: the folder with `client`. */
export function goProgram(program: string): Toolchain {
  const found = goVersion(program);
  if ('missing' in found) return found;
  const source = join(ROOT, 'test/polyglot', program);
  const files = ['go.mod', 'go.sum', 'main.go'].map((file) => readFileSync(join(source, file)));
  return unlessOffline('the modules of a Go program', () =>
    filledOnce('go-program', found.version + Buffer.concat(files).toString(), (folder) => {
      run('go', ['build', '-o', join(folder, 'client'), '.'], {
        cwd: source,
        env: goEnvironment(),
      });
    }),
  );
}

/** A program written in Java, compiled beside the packages of its pom.xml: the folder of all of it. */
export function javaProgram(program: string): Toolchain {
  const version = versionOf('javac', '-version');
  if (version === undefined) return { missing: 'javac is not installed' };
  if (versionOf('mvn', '--version') === undefined) return { missing: 'maven is not installed' };
  const source = join(ROOT, 'test/polyglot', program);
  const files = ['pom.xml', 'Main.java'].map((file) => readFileSync(join(source, file), 'utf8'));
  return unlessOffline('the packages of a Java program', () =>
    filledOnce('java-program', version + files.join(''), (folder) => {
      const copy = ['dependency:copy-dependencies', `-DoutputDirectory=${folder}`];
      run('mvn', ['-q', '-B', '-f', join(source, 'pom.xml'), ...copy]);
      run('javac', ['-cp', `${folder}/*`, '-d', folder, join(source, 'Main.java')]);
    }),
  );
}

/** Tools written in Go: the folder of their commands. */
export function goTools(...tools: (keyof typeof GO_TOOLS)[]): Toolchain {
  const found = goVersion('go');
  if ('missing' in found) return found;
  const { version } = found;
  return unlessOffline(tools.join(' and '), () => {
    const packages = tools.map((tool) => GO_TOOLS[tool]);
    return filledOnce(`go-tools`, version + packages.join(), (folder) => {
      const env = { ...goEnvironment(), GOBIN: folder };
      // Each has versions of its own of what it needs.
      for (const one of packages) run('go', ['install', one], { env });
    });
  });
}

/** Generates stubs of the broker's schemas into a folder, with a template of a language's folder. */
export function generateStubs(language: string, folder: string, env: NodeJS.ProcessEnv): void {
  const template = join('test', 'polyglot', language, 'buf.gen.yaml');
  const schemas = ['broker', 'message'].flatMap((name) => ['--path', `proto/ternmq/${name}`]);
  run('buf', ['generate', '--template', template, ...schemas, '-o', folder], { env });
}

/** Copies a language's files to a folder. */
export function copyProgram(language: string, folder: string): void {
  cpSync(join(ROOT, 'test', 'polyglot', language), folder, { recursive: true });
}
