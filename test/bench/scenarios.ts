// What is measured. The floors are those of the design, for 1 KiB or 128 B messages, one broker, one client process.

/** One measurement: a load, and how the broker answers. */
export interface Scenario {
  readonly name: string;
  readonly flush: 'sync' | 'async';
  readonly load: 'produce' | 'consume' | 'e2e';
  readonly size: number;
  readonly batch: number;
  readonly inFlight: number;
  /** Messages to send or drain; a load without it runs for the given time. */
  readonly messages?: number;
  /** Messages per second, for latency; as fast as possible without it. */
  readonly rate?: number;
  /** Messages per second that must be reached, where the machine is as fast as the one it was set on. */
  readonly floor?: number;
  /** What Redis is asked for beside it. */
  readonly redis?: { readonly appendfsync: 'always' | 'everysec'; readonly pipeline: number };
}

const KIB = 1024;

/** All measurements, in the order in which they run. */
export const SCENARIOS: readonly Scenario[] = [
  {
    name: 'produce-async-64',
    ...{ flush: 'async', load: 'produce', size: KIB, batch: 64, inFlight: 64 },
    floor: 220_000,
    redis: { appendfsync: 'everysec', pipeline: 64 },
  },
  {
    name: 'produce-sync-64',
    ...{ flush: 'sync', load: 'produce', size: KIB, batch: 64, inFlight: 64 },
    floor: 180_000,
    redis: { appendfsync: 'always', pipeline: 64 },
  },
  {
    name: 'produce-async-8',
    ...{ flush: 'async', load: 'produce', size: KIB, batch: 8, inFlight: 256 },
    floor: 120_000,
  },
  {
    name: 'produce-sync-1',
    ...{ flush: 'sync', load: 'produce', size: KIB, batch: 1, inFlight: 512 },
    floor: 35_000,
  },
  {
    name: 'produce-sync-128b',
    ...{ flush: 'sync', load: 'produce', size: 128, batch: 256, inFlight: 64 },
    floor: 500_000,
  },
  {
    name: 'consume-backlog',
    ...{ flush: 'sync', load: 'consume', size: KIB, batch: 64, inFlight: 64 },
    messages: 500_000,
    floor: 300_000,
  },
  {
    name: 'together-sync-64',
    ...{ flush: 'sync', load: 'e2e', size: KIB, batch: 64, inFlight: 64 },
    floor: 120_000,
  },
  {
    name: 'e2e-async-1000',
    ...{ flush: 'async', load: 'e2e', size: KIB, batch: 1, inFlight: 64, rate: 1000 },
  },
  {
    name: 'e2e-sync-1000',
    ...{ flush: 'sync', load: 'e2e', size: KIB, batch: 1, inFlight: 64, rate: 1000 },
  },
];
