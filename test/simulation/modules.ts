// Loaded before everything else (`node --import`): the product's code finds the simulated gRPC and chance where it asks
// for the real ones. With `--canary NAME`, a known bug is planted on the way.

import { registerHooks } from 'node:module';
import { CANARIES } from './canaries.ts';

const REPLACED: Readonly<Record<string, string>> = {
  '@grpc/grpc-js': new URL('./grpc.ts', import.meta.url).href,
  'node:crypto': new URL('./crypto.ts', import.meta.url).href,
};
const ROOT = new URL('../../', import.meta.url).href;
const PRODUCT = ['services/', 'sdk/', 'proto/', 'test/support/'].map((part) => ROOT + part);

const at = process.argv.indexOf('--canary');
const canary = at < 0 ? undefined : CANARIES[process.argv[at + 1] ?? ''];

registerHooks({
  resolve(specifier, context, next) {
    const replacement = REPLACED[specifier];
    const asked = context.parentURL ?? '';
    const ours = PRODUCT.some((part) => asked.startsWith(part)) && !asked.includes('node_modules');
    return replacement === undefined || !ours
      ? next(specifier, context)
      : { url: replacement, shortCircuit: true };
  },
  load(url, context, next) {
    const loaded = next(url, context);
    if (canary === undefined || url !== ROOT + canary.file) return loaded;
    const source = String(loaded.source);
    if (source.split(canary.find).length !== 2) {
      throw new Error(`${canary.file} does not have exactly once: ${canary.find}`);
    }
    return { ...loaded, source: source.replace(canary.find, () => canary.replace) };
  },
});
