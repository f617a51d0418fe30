// What every TernMQ process stands on. One line per part.

export * from './address.ts';
export * from './clock.ts';
export * from './config.ts';
export * from './disk.ts';
export * from './errors.ts';
export * from './grpc/client.ts';
export * from './grpc/in-process.ts';
export type { TlsSettings } from './grpc/mixed-port.ts';
export * from './grpc/server.ts';
export * from './grpc/status.ts';
export * from './grpc/unary.ts';
export * from './logger.ts';
export * from './metrics.ts';
export * from './monitoring.ts';
export * from './process.ts';
export * from './process-metrics.ts';
export * from './random.ts';
export * from './tls/certificates.ts';
export * from './units.ts';
