// Where a server's certificate comes from: given files, which are read again when they change, or one that the server has
// signed itself and keeps in a folder.

import { X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import { createSecureContext } from 'node:tls';
import type { Clock, Timer } from '../clock.ts';
import type { Disk } from '../disk.ts';
import { TernError } from '../errors.ts';
import type { Logger } from '../logger.ts';
import type { Random } from '../random.ts';
import { type Certificate, selfSigned } from './self-signed.ts';

/** How often given files are looked at. */
const LOOK_MS = 5000;
/** One of its own is made anew so long before it ends. */
const RENEW_BEFORE_MS = 30 * 24 * 3_600_000;

/** What certificates are read and made with. */
export interface CertificateModules {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** A server's certificate, as it is now. */
export interface CertificateSource {
  /** Resolves when there is one; the same object until it changes. */
  current(): Promise<Certificate>;
  /** Looks at no files any more. */
  close(): void;
}

/**
 * Reads a certificate and its key, PEM, and again when they change; what is then wrong with them is logged, and the former
 * ones stay. Throws FAILED_PRECONDITION (CERTIFICATE_UNUSABLE).
 */
export function certificateFiles(
  certificateFile: string,
  keyFile: string,
  { disk, clock, logger }: CertificateModules,
): CertificateSource {
  let known = readFiles(certificateFile, keyFile, disk);
  const timer: Timer = clock.every(LOOK_MS, () => {
    try {
      const found = readFiles(certificateFile, keyFile, disk);
      if (found.certificate.equals(known.certificate) && found.key.equals(known.key)) return;
      known = found;
      logger.info(
        { certificateFile },
        'the certificate has changed; new connections get the new one',
      );
    } catch (error) {
      logger.warn(
        { error, certificateFile },
        'the certificate cannot be used; the former one stays',
      );
    }
  });
  return { current: () => Promise.resolve(known), close: () => timer.cancel() };
}

function readFiles(certificateFile: string, keyFile: string, disk: Disk): Certificate {
  const certificate = disk.readSmall(certificateFile);
  const key = disk.readSmall(keyFile);
  try {
    if (certificate === undefined) throw new Error(`there is no file ${certificateFile}`);
    if (key === undefined) throw new Error(`there is no file ${keyFile}`);
    createSecureContext({ cert: certificate, key });
    return { certificate, key };
  } catch (cause) {
    throw new TernError(
      'FAILED_PRECONDITION',
      'CERTIFICATE_UNUSABLE',
      `Cannot use the certificate ${certificateFile} with the key ${keyFile}: ${(cause as Error).message}. Both are PEM files, and belong together.`,
      { cause },
    );
  }
}

/**
 * A certificate that the server signs itself, made when the first connection asks for it, and kept in a folder.
 *
 * @param hosts names and addresses that it stands for
 */
export function ownCertificate(
  folder: string,
  hosts: readonly string[],
  modules: CertificateModules,
): CertificateSource {
  let known: Promise<Certificate> | undefined;
  return {
    current() {
      known ??= keptOrNew(folder, hosts, modules).catch((error: unknown) => {
        known = undefined;
        throw error;
      });
      return known;
    },
    close() {},
  };
}

async function keptOrNew(
  folder: string,
  hosts: readonly string[],
  modules: CertificateModules,
): Promise<Certificate> {
  const { disk, clock, logger } = modules;
  const certificateFile = join(folder, 'certificate.pem');
  const keyFile = join(folder, 'key.pem');
  const certificate = disk.readSmall(certificateFile);
  const key = disk.readSmall(keyFile);
  if (certificate !== undefined && key !== undefined && holds(certificate, key, clock.nowMs())) {
    return { certificate, key };
  }
  const made = await selfSigned(hosts, modules);
  disk.makeFolder(folder);
  disk.replaceSmall(keyFile, made.key, { secret: true });
  disk.replaceSmall(certificateFile, made.certificate);
  logger.info({ certificateFile, hosts }, 'made a certificate for encrypted connections');
  return made;
}

/** Do a kept certificate and its key belong together, and hold for a while? */
function holds(certificate: Buffer, key: Buffer, nowMs: number): boolean {
  try {
    createSecureContext({ cert: certificate, key });
    return Date.parse(new X509Certificate(certificate).validTo) - nowMs > RENEW_BEFORE_MS;
  } catch {
    return false;
  }
}
