import { expect, test } from 'vitest';
import { Registry } from './metrics.ts';
import { registerProcessMetrics } from './process-metrics.ts';

function shown(registry: Registry, name: string): string[] {
  return registry
    .render()
    .split('\n')
    .filter((line) => line.startsWith(name));
}

test('shows counters with help, type and escaped labels', () => {
  const registry = new Registry();
  const counter = registry.counter('in_total', 'Messages\nin \\ all', ['topic']);
  const cell = counter.cell({ topic: 'a"b\\c\nd' });
  cell.value += 2;
  expect(counter.cell({ topic: 'a"b\\c\nd' })).toBe(cell);
  expect(registry.render()).toContain(
    '# HELP in_total Messages\\nin \\\\ all\n# TYPE in_total counter\nin_total{topic="a\\"b\\\\c\\nd"} 2\n',
  );
});

test('shows a counter without labels from zero', () => {
  const registry = new Registry();
  registry.counter('out_total', 'Out');
  expect(shown(registry, 'out_total')).toEqual(['out_total 0']);
});

test('prepares before it shows, and shows what there is when that fails', async () => {
  const registry = new Registry();
  let age = 1;
  registry.gauge('age', 'Age', [], (show) => show(age));
  registry.prepare(async () => {
    await Promise.resolve();
    age = 2;
  });
  registry.prepare(() => Promise.reject(new Error('the disk failed')));
  expect(await registry.show()).toContain('\nage 2\n');
});

test('forgets the series of a subject that is gone', () => {
  const registry = new Registry();
  const counter = registry.counter('in_total', 'In', ['topic']);
  counter.cell({ topic: 'a' }).value = 1;
  counter.remove({ topic: 'a' });
  expect(shown(registry, 'in_total')).toEqual([]);
});

test('reads gauges only when shown', () => {
  const registry = new Registry();
  let size = 1;
  registry.gauge('size', 'Size', ['part'], (show) => {
    show(size, { part: 'log' });
    show(Number.POSITIVE_INFINITY, { part: 'rest' });
  });
  size = 5;
  expect(shown(registry, 'size')).toEqual(['size{part="log"} 5', 'size{part="rest"} +Inf']);
});

test('counts histogram values cumulatively, a value on a bound below it', () => {
  const registry = new Registry();
  const cell = registry.histogram('latency', 'Latency', [1, 5], ['code']).cell({ code: 'OK' });
  for (const value of [0.5, 1, 3, 100]) cell.observe(value);
  expect(shown(registry, 'latency')).toEqual([
    'latency_bucket{code="OK",le="1"} 2',
    'latency_bucket{code="OK",le="5"} 3',
    'latency_bucket{code="OK",le="+Inf"} 4',
    'latency_sum{code="OK"} 104.5',
    'latency_count{code="OK"} 4',
  ]);
});

test('refuses series beyond the bound, tells so, and still counts what is known', () => {
  const registry = new Registry(2);
  const counter = registry.counter('in_total', 'In', ['topic']);
  for (const topic of ['a', 'b', 'c', 'd']) counter.cell({ topic }).value += 1;
  counter.cell({ topic: 'a' }).value += 1;
  registry.gauge('size', 'Size', ['topic'], (show) => {
    for (const topic of ['a', 'b', 'c']) show(1, { topic });
  });
  expect(shown(registry, 'in_total')).toEqual(['in_total{topic="a"} 2', 'in_total{topic="b"} 1']);
  expect(shown(registry, 'size')).toHaveLength(2);
  expect(shown(registry, 'ternmq_metrics_series_refused_total')).toContain(
    'ternmq_metrics_series_refused_total{instrument="in_total"} 2',
  );
});

test('refuses names that Prometheus would refuse, and the same name twice', () => {
  const registry = new Registry();
  expect(() => registry.counter('in-total', 'In')).toThrow('no metric name');
  expect(() => registry.counter('in_total', 'In', ['le-ss'])).toThrow('no label name');
  expect(() => registry.histogram('h', 'H', [5, 1])).toThrow('do not ascend');
  registry.counter('in_total', 'In');
  expect(() => registry.counter('in_total', 'In')).toThrow('two metrics');
  expect(() => registry.counter('x_total', 'X', ['topic']).cell()).toThrow(
    'label topic is missing',
  );
});

test('shows what the process itself costs', () => {
  const registry = new Registry();
  registerProcessMetrics(registry);
  for (const name of [
    'process_cpu_seconds_total',
    'process_resident_memory_bytes',
    'process_start_time_seconds',
    'nodejs_eventloop_lag_p99_seconds',
  ]) {
    const [line = ''] = shown(registry, name);
    expect(Number(line.split(' ')[1]), name).toBeGreaterThanOrEqual(0);
  }
});
