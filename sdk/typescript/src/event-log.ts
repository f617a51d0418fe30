// Events as log lines.

import type { ClientEvent, EventListener } from './events.ts';

/** Takes log lines: pino and other structured loggers fit, and so does `console`. */
export interface Logger {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** A listener that writes a line for every event, with the name of the client. */
export function logEvents(logger: Logger, clientId: string): EventListener {
  return (event) => {
    const { level, message, fields } = lineOf(event);
    logger[level]({ clientId, ...fields }, message);
  };
}

function lineOf(event: ClientEvent): { level: keyof Logger; message: string; fields: object } {
  switch (event.type) {
    case 'connected': {
      const { address } = event;
      return { level: 'info', message: `connected to ${address}`, fields: { address } };
    }
    case 'disconnected': {
      const { address, error: err } = event;
      const message = `lost the connection to ${address}; it is made again when it is needed`;
      return { level: 'warn', message, fields: { address, err } };
    }
    case 'routeChanged': {
      const { topic, queues } = event;
      return {
        level: 'info',
        message: `topic ${topic} has ${queues} queues`,
        fields: { topic, queues },
      };
    }
    case 'waiting': {
      const { topic, reason } = event;
      return { level: 'warn', message: `waiting for topic ${topic}: ${reason}`, fields: { topic } };
    }
    case 'sendFailed': {
      const { topic, error: err } = event;
      const message = `a message to ${topic} is lost that was sent one-way`;
      return { level: 'error', message, fields: { topic, err } };
    }
    case 'settleFailed': {
      const { topic, error: err } = event;
      const message = `messages of ${topic} could not be settled, and may come again`;
      return { level: 'warn', message, fields: { topic, err } };
    }
    case 'commitFailed': {
      const { topic, error: err } = event;
      const message = `offsets of ${topic} could not be committed; it is tried again`;
      return { level: 'warn', message, fields: { topic, err } };
    }
    case 'handlerFailed': {
      const { topic, error: err } = event;
      const message = `the handler has thrown; its message of ${topic} comes again`;
      return { level: 'warn', message, fields: { topic, err } };
    }
    default:
      return event satisfies never;
  }
}
