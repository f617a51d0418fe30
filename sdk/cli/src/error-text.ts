// What a person reads when a command fails.

import { codeOf } from './exit-code.ts';

const CAUSES_MAX = 10;

/** One line: the sentence, and the code in brackets. */
export function errorLine(error: unknown): string {
  const sentence = (error instanceof Error ? error.message : String(error)).replaceAll(/\s+/g, ' ');
  const code = codeOf(error);
  return `tern: ${sentence.trim()}${code === undefined ? '' : ` [${code}]`}\n`;
}

/** The stacks of an error and of what led to it, for `--verbose`. */
export function causeChain(error: unknown): string {
  let text = '';
  let cause: unknown = error;
  for (let depth = 0; cause !== undefined && cause !== null && depth < CAUSES_MAX; depth++) {
    const stack = cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
    text += `${depth === 0 ? '' : 'caused by: '}${stack}\n`;
    cause = cause instanceof Error ? cause.cause : undefined;
  }
  return text;
}
