// A certificate that a server signs for itself, for clients that encrypt and do not ask who signed. Node has no way to make
// one, so node-forge does; it is loaded only then.

import { generateKeyPair } from 'node:crypto';
import { isIP } from 'node:net';
import { promisify } from 'node:util';
import type { Clock } from '../clock.ts';
import type { Random } from '../random.ts';

/** A certificate with its key, both PEM. */
export interface Certificate {
  readonly certificate: Buffer;
  readonly key: Buffer;
}

const KEY_BITS = 2048;
const YEARS = 10;
const YEAR_MS = 365 * 24 * 3_600_000;
const HOUR_MS = 3_600_000;
const DNS_NAME = 2;
const IP_ADDRESS = 7;

/**
 * Makes a certificate that holds for ten years.
 *
 * @param hosts names and addresses that it stands for; at least one
 */
export async function selfSigned(
  hosts: readonly string[],
  { clock, random }: { readonly clock: Clock; readonly random: Random },
): Promise<Certificate> {
  const [{ default: forge }, { privateKey: key }] = await Promise.all([
    import('node-forge'),
    promisify(generateKeyPair)('rsa', {
      modulusLength: KEY_BITS,
      publicKeyEncoding: { type: 'spki', format: 'pem' },
      privateKeyEncoding: { type: 'pkcs1', format: 'pem' },
    }),
  ]);
  const privateKey = forge.pki.privateKeyFromPem(key);
  const certificate = forge.pki.createCertificate();
  certificate.publicKey = forge.pki.setRsaPublicKey(privateKey.n, privateKey.e);
  // Positive, as the standard asks for.
  certificate.serialNumber = `01${random.bytes(15).toString('hex')}`;
  certificate.validity.notBefore = new Date(clock.nowMs() - HOUR_MS);
  certificate.validity.notAfter = new Date(clock.nowMs() + YEARS * YEAR_MS);
  const name = [{ name: 'commonName', value: hosts[0] ?? 'localhost' }];
  certificate.setSubject(name);
  certificate.setIssuer(name);
  certificate.setExtensions([
    { name: 'basicConstraints', cA: true },
    { name: 'extKeyUsage', serverAuth: true },
    {
      name: 'subjectAltName',
      altNames: hosts.map((host) =>
        isIP(host) === 0 ? { type: DNS_NAME, value: host } : { type: IP_ADDRESS, ip: host },
      ),
    },
  ]);
  certificate.sign(privateKey, forge.md.sha256.create());
  return {
    certificate: Buffer.from(forge.pki.certificateToPem(certificate)),
    key: Buffer.from(key),
  };
}
