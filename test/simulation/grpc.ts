// The part of grpc-js that the product uses, over the simulated network.

export { connectivityState, credentials, Metadata, ServerCredentials, status } from '@grpc/grpc-js';
export { Client } from './grpc-client.ts';
export { Server } from './grpc-server.ts';
