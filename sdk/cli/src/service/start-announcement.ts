// What `tern start` prints when clients can send.

import { basename } from 'node:path';
import { jsonLine, type OutputFormat } from '../output.ts';
import { VERSION } from '../version.ts';

const DEFAULT_NAMESERVER = '127.0.0.1:9876';

/** Where everything is, `host:port` each. */
export interface StartPlaces {
  readonly nameserver: string;
  readonly broker: string;
  /** For clients of RocketMQ 5; absent when they are not served. */
  readonly rocketmq?: string | undefined;
  readonly metrics: string;
  /** The data folder. */
  readonly data: string;
}

/** Addresses and what to try next; as JSON the addresses alone. */
export function startAnnouncement(
  places: StartPlaces,
  format: OutputFormat,
  env: Readonly<Record<string, string | undefined>> = process.env,
): string {
  const { nameserver, broker, rocketmq, metrics, data } = places;
  if (format === 'json') return jsonLine(places);
  // Started by npm it is a clone, whose commands npx finds.
  const tern = basename(env.npm_execpath ?? '').startsWith('np') ? 'npx tern' : 'tern';
  const where = nameserver === DEFAULT_NAMESERVER ? '' : ` --nameserver ${nameserver}`;
  return `TernMQ ${VERSION} is ready; its data is in ${data}

  name server  ${nameserver}
  broker       ${broker}
${rocketmq === undefined ? '' : `  RocketMQ 5   ${rocketmq}\n`}  metrics      http://${metrics}/metrics

Try next, in another terminal:

  ${tern} message send --topic hello --body 'Hello, world'${where}
  ${tern} message tail --topic hello --from begin${where}
  ${tern} cluster info${where}

`;
}
