// The options of a broker. Each is a flag, an environment variable and a key of the configuration file.

import { defineOptions, type OptionValues } from '@ternmq/runtime';
import { LOG_DEFAULTS } from './log/log-options.ts';

const HOUR_MS = 3_600_000;

/** Room for a few records of the largest size. */
export const SEGMENT_BYTES_MIN: number = 16 << 20;

/** The options that say where a broker is and how it behaves; see each one's doc. */
export const BROKER_OPTIONS = defineOptions({
  name: { kind: 'text', default: 'broker-a', doc: 'Name of the broker group' },
  id: {
    kind: 'int',
    default: 0,
    min: 0,
    max: 1000,
    doc: 'Member of the broker group; 0 is the master',
  },
  cluster: { kind: 'text', default: 'ternmq', doc: 'Name of the cluster, for people' },
  data: {
    kind: 'text',
    default: './data',
    doc: 'Folder of the data; created when it does not exist',
  },
  host: {
    kind: 'text',
    default: '127.0.0.1',
    doc: 'Address to listen on; 0.0.0.0 for all, and then set --advertise as well',
  },
  advertise: {
    kind: 'text',
    doc: 'Host name or address that clients reach this broker at [the --host]',
  },
  brokerPort: {
    kind: 'int',
    default: 10911,
    min: 0,
    max: 65535,
    doc: 'Port of the broker; 0 for any',
  },
  rocketmq: {
    kind: 'boolean',
    default: true,
    doc: 'Serve clients of RocketMQ 5',
  },
  rocketmqPort: {
    kind: 'int',
    default: 8081,
    min: 0,
    max: 65535,
    doc: 'Port for clients of RocketMQ 5; 0 for any',
  },
  rocketmqAdvertise: {
    kind: 'text',
    doc: 'host:port that clients of RocketMQ 5 are told to reach this broker at [what they connected to]',
  },
  rocketmqTls: {
    kind: 'choice',
    choices: ['on', 'off', 'required'],
    default: 'on',
    doc: 'Take encrypted connections on --rocketmq-port beside plain ones (on), no plain ones (required), or none (off)',
  },
  tlsCertificate: {
    kind: 'text',
    doc: 'File with the certificate for encrypted connections, PEM; read again when it changes [one that the broker signs itself, in the data folder]',
  },
  tlsKey: {
    kind: 'text',
    doc: 'File with the key of --tls-certificate, PEM',
  },
  metricsPort: {
    kind: 'int',
    default: 5557,
    min: 0,
    max: 65535,
    doc: 'Port of /metrics, /healthz and /readyz; 0 for any',
  },
  nameserver: {
    kind: 'addresses',
    default: ['127.0.0.1:9876'],
    doc: 'Name servers, host:port, separated by commas',
  },
  flush: {
    kind: 'choice',
    choices: ['sync', 'async'],
    default: LOG_DEFAULTS.flushMode,
    doc: 'Answer producers after fdatasync (sync) or after the page cache (async: a power failure loses up to --flush-interval)',
  },
  flushInterval: {
    kind: 'duration',
    default: LOG_DEFAULTS.flushIntervalMs,
    min: 1,
    max: 10_000,
    doc: 'With --flush async: longest time until what was written is durable',
  },
  autoCreateTopics: {
    kind: 'boolean',
    default: false,
    doc: 'Create a topic when the first message for it arrives',
  },
  autoCreateGroups: {
    kind: 'boolean',
    default: true,
    doc: 'Create a consumer group when its first consumer comes',
  },
  queues: {
    kind: 'int',
    default: 4,
    min: 1,
    max: 1024,
    doc: 'Queues of a topic that does not say',
  },
  retention: {
    kind: 'duration',
    default: 72 * HOUR_MS,
    min: 1000,
    doc: 'How long messages are kept at least, where a topic does not say',
  },
  retentionBytes: {
    kind: 'bytes',
    min: 1 << 20,
    doc: 'Size of the log above which the oldest segments are deleted [no limit but the disk]',
  },
  retentionInterval: {
    kind: 'duration',
    default: 10_000,
    min: 100,
    doc: 'Pause between two looks for what is to be deleted',
  },
  memberExpiry: {
    kind: 'duration',
    default: 7 * 24 * HOUR_MS,
    min: 2 * HOUR_MS,
    doc: 'How long a broadcasting member is remembered that does not come back; at least the retention of its topic',
  },
  delayMax: {
    kind: 'duration',
    default: 40 * 24 * HOUR_MS,
    min: 1000,
    max: 366 * 24 * HOUR_MS,
    doc: 'Longest time ahead that a message may be delayed',
  },
  transactionFirstCheck: {
    kind: 'duration',
    default: 6000,
    min: 1000,
    max: HOUR_MS,
    doc: 'When a producer is first asked for the outcome of a transaction that nobody decides; every pause is twice the last',
  },
  transactionCheckPauseMax: {
    kind: 'duration',
    default: 300_000,
    min: 1000,
    max: 24 * HOUR_MS,
    doc: 'Longest pause between two such questions',
  },
  transactionChecks: {
    kind: 'int',
    default: 15,
    min: 1,
    max: 1000,
    doc: 'Questions after which a transaction is rolled back',
  },
  transactionMax: {
    kind: 'duration',
    default: 24 * HOUR_MS,
    min: 1000,
    doc: 'Age at which a transaction is rolled back, asked or not',
  },
  election: {
    kind: 'choice',
    choices: ['fixed', 'etcd'],
    default: 'fixed',
    doc: 'Who leads the broker group: member 0 for ever (fixed), or who is elected through etcd (etcd)',
  },
  etcd: {
    kind: 'addresses',
    default: ['127.0.0.1:2379'],
    doc: 'With --election etcd: its members, host:port, separated by commas',
  },
  electionLease: {
    kind: 'duration',
    default: 3000,
    min: 1000,
    max: 60_000,
    doc: 'With --election etcd: how long a leadership outlives its master, and how long sends wait for a slave whose connection is lost, or that says nothing (3s at least); etcd rounds it up to seconds',
  },
  acknowledge: {
    kind: 'choice',
    choices: ['in-sync', 'local', 'async'],
    default: 'in-sync',
    doc: 'Answer producers when every in-sync member of the group has the message on its disk (in-sync), this broker alone as --flush says (local: a machine that is lost takes messages with it), or its page cache (async: a loss of power does, too); a topic may say otherwise',
  },
  minInSync: {
    kind: 'int',
    min: 1,
    max: 100,
    doc: 'Members that must be in sync, the master included, for messages to be taken [2, or 1 for a broker without slaves]',
  },
  replicaLagMax: {
    kind: 'duration',
    default: 10_000,
    min: 100,
    doc: 'How long a slave may lack what its master has before it counts no more, where members are elected',
  },
  replicaLagBytesMax: {
    kind: 'bytes',
    default: 256 << 20,
    min: 1 << 20,
    doc: 'How many bytes a slave may lack before it counts no more, where members are elected',
  },
  standInAfter: {
    kind: 'duration',
    default: 10_000,
    min: 0,
    doc: 'With --election fixed: how long the master is gone before a slave serves consumers in its place; 0 for never',
  },
  pullFromSlaveBytes: {
    kind: 'bytes',
    default: 2 ** 30,
    min: 0,
    doc: 'How far behind the end of the log a reader by offset is before a slave that is in sync reads for it; 0 for never',
  },
  segmentSize: {
    kind: 'bytes',
    default: LOG_DEFAULTS.segmentBytes,
    min: SEGMENT_BYTES_MIN,
    max: 4 * 2 ** 30,
    doc: 'Size of a segment file of the log, the unit of deletion; smaller on small disks',
  },
} as const);

/** The values of a broker's options. */
export type BrokerOptions = OptionValues<typeof BROKER_OPTIONS>;
