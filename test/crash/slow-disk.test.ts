// The disk takes 2 MB a second while producers send as fast as they can: sends wait, the broker does not.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { BrokerService } from '@ternmq/proto/gen/ternmq/broker/v1/broker_pb';
import {
  BrokerState,
  NameServerService,
} from '@ternmq/proto/gen/ternmq/nameserver/v1/nameserver_pb';
import { expect, test } from 'vitest';
import { BrokerClient } from '../support/broker-client.ts';
import { Checker } from '../support/checker.ts';
import { ChildBroker } from '../support/child-broker.ts';
import { fullScan } from '../support/full-scan.ts';
import { readLedger } from '../support/ledger-event.ts';
import { LoadProcess } from '../support/load-process.ts';
import { MountedDisk, whyNoLoopDisk } from '../support/mounted-disk.ts';
import { faultsFound, formatReport } from '../support/report.ts';
import { skipWhen } from '../support/skip.ts';
import { SlowDevice, whyNoSlowDevice } from '../support/slow-device.ts';
import { TempDir } from '../support/temp-dir.ts';

const DISK_MIB = 2048;
const BYTES_PER_SECOND = 2_000_000;
const SLOW_MS = 20_000;
const SAMPLE_MS = 1000;
const DELAY_MS_MAX = 100;
// 64 MiB may wait for their sync; the rest is the process itself under load.
const MEMORY_MIB_MAX = 400;
// Two heartbeats.
const SILENCE_MS_MAX = 6000;
const PRODUCERS = 4;
const TOPIC = 'slow';

function memoryMiB(pid: number): number {
  const line = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(line?.[1]) / 1024;
}

/** The 99th percentile of the event loop's delay since the last time it was asked, in milliseconds. */
async function delayMs(broker: ChildBroker): Promise<number> {
  const answer = await fetch(broker.page('/metrics'), { signal: AbortSignal.timeout(5000) });
  const value = /^nodejs_eventloop_lag_p99_seconds(?:\{.*\})? (\S+)$/m.exec(
    await answer.text(),
  )?.[1];
  return Number(value) * 1000;
}

test('a disk of 2 MB/s slows sends down, and neither memory nor heartbeats suffer', async (context) => {
  skipWhen(context, whyNoLoopDisk() ?? whyNoSlowDevice());
  using disk = await MountedDisk.ext4(DISK_MIB);
  using slow = new SlowDevice(disk.device);
  await using folder = await TempDir.create('slow-disk');
  await using nameserver = await ChildBroker.start({ command: 'nameserver' });
  await using broker = await ChildBroker.start({
    command: 'broker',
    data: disk.path,
    flush: 'sync',
    nameserver: nameserver.nameserver,
  });
  using client = new BrokerClient(broker.address);
  using routes = new BrokerClient(nameserver.nameserver);
  await client.ensureTopic({ name: TOPIC, settings: { queues: 4 } });
  const ledger = join(folder.path, 'ledger');
  await using producers = await LoadProcess.start({
    role: 'produce',
    nameserver: nameserver.nameserver,
    topic: TOPIC,
    ledger,
    producers: PRODUCERS,
    bytes: 1024,
  });

  slow.add(broker.pid);
  slow.limit(BYTES_PER_SECOND);
  const samples: { delay: number; memory: number }[] = [];
  await delayMs(broker);
  for (let elapsedMs = 0; elapsedMs < SLOW_MS; elapsedMs += SAMPLE_MS) {
    await sleep(SAMPLE_MS);
    producers.expectRunning();
    samples.push({ delay: await delayMs(broker), memory: memoryMiB(broker.pid) });
    const { brokers } = await routes.call(NameServerService.method.describeCluster, {});
    expect(brokers).toHaveLength(1);
    expect(brokers[0]?.broker?.state).toBe(BrokerState.LIVE);
    expect(Number(brokers[0]?.silenceMs)).toBeLessThan(SILENCE_MS_MAX);
  }
  slow.limit(0);
  await producers.finish();

  const checker = new Checker({ producers: PRODUCERS, readers: 1 });
  checker.apply(readLedger(ledger));
  for await (const event of fullScan(client, TOPIC)) checker.apply([event]);
  const report = checker.check();
  const delays = samples.map(({ delay }) => delay);
  const memory = samples.map((sample) => sample.memory);
  console.log(
    `${formatReport(report)}\nevent loop p99 at most ${Math.max(...delays).toFixed(1)} ms, ` +
      `memory at most ${Math.max(...memory).toFixed(0)} MiB`,
  );
  expect(faultsFound(report), formatReport(report)).toEqual([]);
  expect(report.counts.ack).toBeGreaterThan(0);
  expect(Math.max(...delays)).toBeLessThan(DELAY_MS_MAX);
  expect(Math.max(...memory)).toBeLessThan(MEMORY_MIB_MAX);
  const { acceptingSends } = await client.call(BrokerService.method.describeBroker, {});
  expect(acceptingSends).toBe(true);
});
