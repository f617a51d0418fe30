// MessagingService: the table of contents. One line per RPC.

import type { Handlers } from '@ternmq/runtime';
import { queryRoute, type RouteModules } from './query-route.ts';

/** Everything that the RPCs use. */
export type MessagingModules = RouteModules;

/** Handlers of all RPCs. */
export function messagingService(modules: MessagingModules): Handlers {
  return {
    queryRoute: queryRoute(modules),
  };
}
