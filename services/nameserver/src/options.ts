// The options of a name server. Each is a flag, an environment variable and a key of the configuration file.

import { defineOptions } from '@ternmq/runtime';

/** The options that say where a name server is and how it behaves; see each one's doc. */
export const NAMESERVER_OPTIONS = defineOptions({
  host: {
    kind: 'text',
    default: '127.0.0.1',
    doc: 'Address to listen on; 0.0.0.0 for all',
  },
  nameserverPort: {
    kind: 'int',
    default: 9876,
    min: 0,
    max: 65_535,
    doc: 'Port of the name server; 0 for any',
  },
  brokerTimeout: {
    kind: 'duration',
    default: 15_000,
    min: 1000,
    max: 600_000,
    doc: 'Silence after which a broker is removed from the routes',
  },
  topicsMax: {
    kind: 'int',
    default: 1_000_000,
    min: 1,
    max: 10_000_000,
    doc: 'Topics whose routes are kept; those beyond are left out',
  },
  watchersMax: {
    kind: 'int',
    default: 10_000,
    min: 1,
    max: 1_000_000,
    doc: 'Clients that may watch routes at the same time',
  },
});
