// The project's own sources, parsed as far as rules about them need.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAst } from 'vitest/node';

/** One own source file. */
export interface SourceFile {
  /** From the project's root, with slashes. */
  readonly path: string;
  readonly text: string;
}

/** One import or re-export. */
export interface Import {
  /** What is imported; empty when it is computed. */
  readonly specifier: string;
  readonly line: number;
  /** Leaves nothing at run time. */
  readonly typeOnly: boolean;
  /** `import(…)`. */
  readonly dynamic: boolean;
}

/** A use of a global, `Date.now` or `setTimeout`. */
export interface Use {
  readonly name: string;
  readonly line: number;
}

/** What a file imports and which globals it uses. */
export interface Parsed {
  readonly imports: readonly Import[];
  readonly uses: readonly Use[];
}

const ROOTS = ['proto', 'services', 'sdk', 'test', '.ci'];
const SKIPPED = new Set(['node_modules', 'gen', 'dist', 'data']);

/** Every TypeScript and JavaScript file of the project, and the package files. */
export function readSources(root: string): SourceFile[] {
  const found: SourceFile[] = [];
  const walk = (folder: string) => {
    for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
      const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
      if (entry.isDirectory()) {
        if (!SKIPPED.has(entry.name) && (folder !== '' || ROOTS.includes(entry.name))) walk(path);
      } else if (/\.(ts|js|mjs)$/.test(entry.name) || entry.name === 'package.json') {
        found.push({ path, text: readFileSync(join(root, path), 'utf8') });
      }
    }
  };
  walk('');
  return found.sort((a, b) => (a.path < b.path ? -1 : 1));
}

interface Node {
  readonly type: string;
  readonly start: number;
  readonly [field: string]: unknown;
}

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && 'type' in value && 'start' in value;
}

function nameOf(node: unknown): string | undefined {
  return isNode(node) && node.type === 'Identifier' ? String(node.name) : undefined;
}

const parsedFiles = new WeakMap<SourceFile, Parsed>();

/** A file's imports and its uses of globals; throws on a syntax error. Parses each file once. */
export function parse(file: SourceFile): Parsed {
  const known = parsedFiles.get(file);
  if (known !== undefined) return known;
  const parsed = parseText(file);
  parsedFiles.set(file, parsed);
  return parsed;
}

function parseText(file: SourceFile): Parsed {
  const imports: Import[] = [];
  const uses: Use[] = [];
  const lineOf = (at: number) => file.text.slice(0, at).split('\n').length;
  const visit = (node: Node) => {
    const source = node.source;
    if (isNode(source) && /^(Import|Export)/.test(node.type)) {
      const specifiers = (node.specifiers ?? []) as readonly Node[];
      const kinds = [node.importKind, node.exportKind];
      const allTypes =
        specifiers.length > 0 &&
        specifiers.every((one) => [one.importKind, one.exportKind].includes('type'));
      imports.push({
        specifier: String(source.value ?? ''),
        line: lineOf(node.start),
        typeOnly: kinds.includes('type') || allTypes,
        dynamic: node.type === 'ImportExpression',
      });
    }
    if (node.type === 'MemberExpression' && node.computed !== true) {
      const name = `${nameOf(node.object)}.${nameOf(node.property)}`;
      uses.push({ name, line: lineOf(node.start) });
    }
    if (node.type === 'CallExpression' || node.type === 'NewExpression') {
      const name = nameOf(node.callee);
      const empty = (node.arguments as unknown[]).length === 0;
      const prefix = node.type === 'NewExpression' ? 'new ' : '';
      if (name !== undefined)
        uses.push({ name: `${prefix}${name}${empty ? '()' : ''}`, line: lineOf(node.start) });
    }
    for (const field of Object.values(node)) {
      if (Array.isArray(field)) field.filter(isNode).forEach(visit);
      else if (isNode(field)) visit(field);
    }
  };
  const lang = file.path.endsWith('.ts') ? 'ts' : 'js';
  visit(parseAst(file.text, { lang }) as unknown as Node);
  return { imports, uses };
}
