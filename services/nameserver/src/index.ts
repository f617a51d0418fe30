// The name server: who serves which queue.

export { NameServer, type NameServerCollaborators, type NameServerOptions } from './nameserver.ts';
export { NAMESERVER_OPTIONS } from './options.ts';
