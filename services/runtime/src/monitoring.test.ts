import { connect } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { Registry } from './metrics.ts';
import { Monitoring } from './monitoring.ts';

let monitoring: Monitoring | undefined;
let reasons: string[] = [];

async function listen(): Promise<(path: string, method?: string) => Promise<Response>> {
  const registry = new Registry();
  registry.counter('in_total', 'In').cell().value = 3;
  monitoring = await Monitoring.listen(
    { host: '127.0.0.1', port: 0 },
    { registry, notReady: () => reasons },
  );
  const base = `http://127.0.0.1:${monitoring.port}`;
  return (path, method = 'GET') => fetch(base + path, { method });
}

afterEach(async () => {
  await monitoring?.close();
  await monitoring?.close();
});

test('shows metrics in the Prometheus text format', async () => {
  const get = await listen();
  const response = await get('/metrics?x=1');
  expect(response.headers.get('content-type')).toContain('version=0.0.4');
  expect(await response.text()).toContain('\nin_total 3\n');
});

test('is alive at once, and ready exactly when nothing speaks against it', async () => {
  const get = await listen();
  expect((await get('/healthz')).status).toBe(200);
  reasons = ['The broker has not registered yet.'];
  const notReady = await get('/readyz');
  expect([notReady.status, await notReady.text()]).toEqual([503, `${reasons[0]}\n`]);
  reasons = [];
  expect((await get('/readyz')).status).toBe(200);
});

test('answers what it does not have, and survives a request target that is no path', async () => {
  const get = await listen();
  expect((await get('/other')).status).toBe(404);
  expect((await get('/metrics', 'POST')).status).toBe(405);
  const answer = await new Promise<string>((resolve, reject) => {
    const socket = connect(monitoring?.port ?? 0, '127.0.0.1', () => {
      socket.write('GET // HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n');
    });
    socket.on('error', reject).once('data', (bytes) => resolve(bytes.toString()));
  });
  expect(answer).toContain(' 404 ');
});

test('says what to do when its port is taken', async () => {
  await listen();
  const second = Monitoring.listen(
    { host: '127.0.0.1', port: monitoring?.port ?? 0 },
    { registry: new Registry(), notReady: () => [] },
  );
  await expect(second).rejects.toThrow('Another process listens on 127.0.0.1:');
});
