// The pieces of the Prometheus text format, version 0.0.4.

import { assert } from './errors.ts';

/** Label values by label name. */
export type Labels = Readonly<Record<string, string | number | boolean>>;

const METRIC_NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const LABEL_NAME = /^[a-zA-Z_][a-zA-Z0-9_]*$/;

/** Throws AssertionFailed when Prometheus would refuse a name. */
export function assertNames(metric: string, labels: readonly string[]): void {
  assert(METRIC_NAME.test(metric), `${metric} is no metric name`);
  for (const label of labels) assert(LABEL_NAME.test(label), `${label} is no label name`);
}

/** Labels as they are written: `topic="a",group="b"`. Unambiguous, so it also serves as their key. */
export function labelText(names: readonly string[], labels: Labels): string {
  let text = '';
  for (const name of names) {
    const value = labels[name];
    assert(value !== undefined, `a value for the label ${name} is missing`);
    text += `${text === '' ? '' : ','}${name}="${escapeLabel(String(value))}"`;
  }
  return text;
}

/** The two lines before an instrument's samples. */
export function headLines(name: string, help: string, type: string): string {
  const text = help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
  return `# HELP ${name} ${text}\n# TYPE ${name} ${type}`;
}

/** One sample; `labels` as labelText writes them. */
export function sampleLine(name: string, labels: string, value: number): string {
  return labels === '' ? `${name} ${number(value)}` : `${name}{${labels}} ${number(value)}`;
}

function escapeLabel(value: string): string {
  if (!/[\\"\n]/.test(value)) return value;
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}

function number(value: number): string {
  if (value === Infinity) return '+Inf';
  if (value === -Infinity) return '-Inf';
  return String(value);
}
