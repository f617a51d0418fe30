// An empty unary server on grpc-js: what is asked comes back. What a server could do at most.

import { Server, ServerCredentials } from '@grpc/grpc-js';

const identity = (bytes: Buffer): Buffer => bytes;
const server = new Server();
server.addService(
  {
    sendMessage: {
      path: '/apache.rocketmq.v2.MessagingService/SendMessage',
      requestStream: false,
      responseStream: false,
      requestSerialize: identity,
      requestDeserialize: identity,
      responseSerialize: identity,
      responseDeserialize: identity,
    },
  },
  {
    sendMessage(call: { request: Buffer }, callback: (error: null, answer: Buffer) => void): void {
      callback(null, call.request);
    },
  },
);
server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) => {
  if (error !== null) throw error;
  process.stdout.write(`${port}\n`);
});
