import { expect, test } from 'vitest';
import { startAnnouncement } from './start-announcement.ts';

const PLACES = {
  nameserver: '127.0.0.1:9876',
  broker: '127.0.0.1:10911',
  metrics: '127.0.0.1:5557',
  data: './data',
};

test('addresses and three commands are printed', () => {
  const text = startAnnouncement(PLACES, 'table', {});
  for (const part of Object.values(PLACES)) expect(text).toContain(part);
  expect(text.match(/^ {2}tern .*$/gm)).toHaveLength(3);
  expect(text).not.toContain('--nameserver');
});

test('the commands say where the name server is when that is not where they look, and use npx in a clone', () => {
  const places = { ...PLACES, nameserver: '127.0.0.1:4000' };
  const text = startAnnouncement(places, 'table', { npm_execpath: '/usr/lib/npm/bin/npm-cli.js' });
  expect(text.match(/^ {2}npx tern .* --nameserver 127\.0\.0\.1:4000$/gm)).toHaveLength(3);
});

test('as JSON it is the places in one line', () => {
  expect(JSON.parse(startAnnouncement(PLACES, 'json', {}))).toEqual(PLACES);
});
